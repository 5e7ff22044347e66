import json

import pytest

from selfdistill.critics.cache import FILE, CritiqueCache, key_of
from selfdistill.critics.request import Critique, Request
from selfdistill.errors import UserError
from selfdistill.tasks.schema import Problem

LOST = Critique(reason="timeout", detail="late")


def test_what_was_put_is_there_for_the_next_process(tmp_path):
    written = Critique("über\nzwei Zeilen", "truncated", 5, 0.25, "wrong", True, True)
    cache = CritiqueCache(tmp_path)
    assert cache.get("a", 1) is None
    cache.put("a", written)
    cache.put("b", Critique("two"))
    for each in (cache, CritiqueCache(tmp_path)):
        assert (each.get("a", 1), each.get("a", 9), each.get("b", 1)) == (written, written, Critique("two"))


def test_a_failure_is_of_its_step_alone_and_comes_before_a_later_answer(tmp_path):
    cache = CritiqueCache(tmp_path)
    cache.put_failure("a", 3, LOST)
    assert (cache.get("a", 3), cache.get("a", 4)) == (LOST, None)
    cache.put("a", Critique("at last"))
    again = CritiqueCache(tmp_path)
    assert (again.get("a", 3), again.get("a", 4)) == (LOST, Critique("at last"))


def test_a_line_that_a_kill_cut_off_is_forgotten_and_written_anew(tmp_path):
    cache = CritiqueCache(tmp_path)
    cache.put("a", Critique("one"))
    cache.put("b", Critique("two"))
    cache.close()
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content[:-3])
    mended = CritiqueCache(tmp_path)
    assert (mended.get("a", 1), mended.get("b", 1)) == (Critique("one"), None)
    mended.put("b", Critique("two"))
    assert (tmp_path / FILE).read_bytes() == content
    assert mended.get("b", 1) == Critique("two")


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        '{"text": "no key"}',
        '{"key": "a", "odd": 1}',
        "[]",
        '{"key": "a", "text": 5}',
        '{"key": "a", "leak": null}',
    ],
)
def test_a_spoilt_line_is_named(tmp_path, line):
    CritiqueCache(tmp_path).put("a", Critique("one"))
    with open(tmp_path / FILE, "a") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match=rf"{FILE}, line 2: no critique .*delete the file"):
        CritiqueCache(tmp_path)


def test_the_file_holds_no_more_than_what_is_not_at_its_default(tmp_path):
    CritiqueCache(tmp_path).put("a", Critique("one", tokens=2))
    assert json.loads((tmp_path / FILE).read_text()) == {"key": "a", "text": "one", "tokens": 2}


def test_a_key_changes_with_all_that_decides_a_critique():
    def key(identity="critic", problem="p", answer="1", solution="s", response="r", step=None, **more):
        asked = Request(Problem("id", "src", problem, answer, solution, "", 0, ""), response, **more)
        return key_of(identity, asked, step)

    others = [
        key("another"),
        key(problem="q"),
        key(answer="2"),
        key(solution="t"),
        key(response="x"),
        key(step=4),
        key(correct=True),
        key(truncated=True),
    ]
    assert len({key(), *others}) == 9
    assert key() == key(score=0.5)
