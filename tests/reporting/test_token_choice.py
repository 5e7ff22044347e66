"""Which rollouts a page of tokens holds where it has no room for all."""

from collections import Counter

from selfdistill.reporting.read.runs import RunFiles
from selfdistill.reporting.tokens.choice import Candidate, choose


def candidates(models, variants, seeds=(0,), sizes=(10, 10)):
    runs = [RunFiles("sums", m, v, s, v.split("-")[0], {}) for m in models for v in variants for s in seeds]
    return [Candidate(run, number, size) for run in runs for number, size in enumerate(sizes)]


def counted(shown, *names):
    return Counter(tuple(getattr(each.run, name) for name in names) for each in shown)


def test_every_method_of_every_model_comes_before_a_second_of_any():
    offered = candidates(["a", "b", "c"], ["opsd", "opsd-own", "rlcsd", "rlcsd-gt"], seeds=(0, 1))
    shown = choose(offered, 60)
    assert counted(shown, "model", "variant", "seed") == {(m, v, 0): 1 for m in "abc" for v in ("opsd", "rlcsd")}
    assert counted(choose(offered, 120), "model", "variant", "seed") == {
        (m, v, 0): 1 for m in "abc" for v in ("opsd", "opsd-own", "rlcsd", "rlcsd-gt")
    }
    assert set(counted(choose(offered, 240), "model", "variant", "seed").values()) == {1}
    assert sorted(map(id, choose(offered, 10_000))) == sorted(map(id, offered))


def test_a_method_has_its_turn_before_the_short_rollouts_of_variants():
    offered = [*candidates("a", ["opsd", "rlcsd"]), *candidates("a", ["rlcsd-gt", "rlcsd-own"], sizes=(5, 5))]
    assert counted(choose(offered, 20), "variant") == {("opsd",): 1, ("rlcsd",): 1}


def test_the_preferred_rollout_gives_way_to_a_shorter_one_only_where_space_is_short():
    offered = candidates(["a", "b"], ["rlcsd"], sizes=(160, 90, 40))
    assert [each.number for each in choose(offered, 320)[:2]] == [0, 0]
    assert [each.number for each in choose(offered, 180)] == [1, 1]
    assert [each.number for each in choose(offered, 100)] == [2, 2]


def test_the_longest_give_way_where_not_one_of_each_fits():
    offered = [
        each for m, size in zip("abc", (40, 160, 40), strict=True) for each in candidates(m, ["rlcsd"], (0,), (size,))
    ]
    assert counted(choose(offered, 100), "model") == {("a",): 1, ("c",): 1}
    assert choose(offered, 39) == []


def test_a_page_is_filled_and_never_over_full():
    offered = candidates(["a", "b"], ["rlcsd", "opsd"], seeds=(0, 1, 2), sizes=(31, 17, 53, 29))
    for limit in range(0, 1700, 50):
        taken = sum(each.size for each in choose(offered, limit))
        assert taken <= limit
        assert taken > limit - 53 or taken == 12 * 130
