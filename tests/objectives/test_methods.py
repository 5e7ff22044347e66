import dataclasses
import math
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill.errors import UserError
from selfdistill.objectives.aggregation import token_weights
from selfdistill.objectives.batch import Batch, Student, Targets, TokenLoss
from selfdistill.objectives.methods import METHODS, build_method, micro_batch_loss, rows_read

# Every method as published, and with each of its switches turned; three ids of the seven make the tail worth having.
FAMILY = {
    "grpo": [{}],
    "opsd": [
        {},
        {"beta": 0.5},
        {"beta": 1.0, "token_clip": None},
        {"tail": False},
        {"top_k": 0},
        {"full_distribution": False},
    ],
    "sdpo": [{}, {"alpha": 0.0}, {"tail": False}, {"top_k": 0}, {"full_distribution": False, "alpha": 1.0}],
    "sdpo_official": [
        {},
        {"level": "token", "alpha": 1.0},
        {"level": "sequence", "alpha": 1.0, "grpo_share": 0.5},
        {"tail": False, "grpo_share": 0.9},
        {"top_k": 0},
        {"alpha": 1.0, "advantage_bound": 0.3},
    ],
    "srpo": [{}, {"routing": "advantage_sign"}, {"entropy_beta": 0.0}, {"tail": False}, {"top_k": 0}],
    "rlsd": [{}, {"form": "minimum"}, {"lam_decay_steps": 0, "lam": 1.0}],
    "rlcsd": [
        {},
        {"one_sided": True},
        {"anchor": False},
        {"single_path": True},
        {"eta": 0.5, "tau": 1.3, "zero_advantage": "shifts"},
    ],
    "opsd_ectr": [
        {},
        {"cw_tau": 0.0, "beta": 0.5},
        {"token_clip": None},
        {"tail": False},
        {"top_k": 0, "log_w_floor": None, "cw_from": "wrong"},
    ],
    "rlsd_ectr": [{}],
    "rlsd_add": [{}],
    "opd": [{}, {"extrapolation": 1.25}, {"task_weight": 0.5, "advantage_clip": 0.3}, {"advantage_clip": None}],
    "opd_divergence": [{}, {"beta": 0.0, "chooser": "student"}, {"beta": 0.5, "tail": False}, {"top_k": 0}],
    "rlsd_hybrid": [{}],
}
EVERY_METHOD = [(name, switches) for name, every in FAMILY.items() for switches in every]
DISTILLED = [case for case in EVERY_METHOD if case[0] in ("opsd", "sdpo", "opsd_ectr", "opd_divergence")]
KL = 0.1


def built(name, switches):
    few = {"top_k": 3} if "top_k" in {field.name for field in dataclasses.fields(METHODS[name])} else {}
    return build_method(name, few | switches)


def test_every_method_and_every_switch_is_in_the_family():
    """A switch is a field of two or a few values, or that None turns off; it is turned at least once above."""
    assert FAMILY.keys() == METHODS.keys()
    for name, kind in METHODS.items():
        turned = {key for switches in FAMILY[name] for key in switches}
        switches = {
            f.name for f in dataclasses.fields(kind) if isinstance(f.default, bool | str) or "None" in str(f.type)
        }
        assert switches <= turned, name


def in_parts(method, case, aggregation, parts, widths):
    """Loss, gradient by the logits, and watched sums over micro-batches, as a trainer goes about it."""
    leaf = case.logits.clone().requires_grad_()
    targets = method.targets(case.batch, aggregation)
    kl_weights = KL * token_weights(case.batch.token_mask, aggregation, case.batch.rollouts)
    total, sums = 0.0, {}
    for rows, width in zip(parts, widths, strict=True):
        index = torch.tensor(rows, dtype=torch.long)
        part = case.at(leaf).part(index, width)
        loss, watched = micro_batch_loss(
            method, part.student(), part.batch, targets.rows(index).narrowed(width), kl_weights[index, :width]
        )
        loss.backward()
        total += float(loss.detach())
        for key, (value, count) in watched.items():
            before = sums.get(key, (0.0, 0))
            sums[key] = before[0] + value, before[1] + count
    flat = {f"{key} {what}": x for key, pair in sums.items() for what, x in zip(("sum", "tokens"), pair, strict=True)}
    return total, leaf.grad, targets.metrics | flat


def at_once(method, case, aggregation):
    rows, width = case.tokens.shape
    return in_parts(method, case, aggregation, [list(range(rows))], [width])


@pytest.mark.parametrize("aggregation", ["tokens", "rollouts"])
@pytest.mark.parametrize(("name", "switches"), EVERY_METHOD, ids=str)
@given(seed=st.integers(0, 10**6), rows=st.integers(1, 8), cuts=st.sets(st.integers(1, 7)))
@settings(deadline=None, max_examples=10)
def test_the_loss_does_not_know_of_micro_batches(random_case, agree, name, switches, aggregation, seed, rows, cuts):
    method = built(name, switches)
    case = random_case(seed, method.needs, rows=rows).with_bonus()
    order = np.random.default_rng(seed).permutation(rows).tolist()
    edges = [0, *sorted(cut for cut in cuts if cut < rows), rows]
    parts = [order[begin:end] for begin, end in pairwise(edges)]
    lengths = case.batch.response_mask.sum(dim=1)
    widths = [int(lengths[torch.tensor(part)].max()) for part in parts]
    agree(in_parts(method, case, aggregation, parts, widths), at_once(method, case, aggregation))


@pytest.mark.parametrize("step", [1, 40, 51])
@pytest.mark.parametrize(("name", "switches"), EVERY_METHOD, ids=str)
def test_a_teacher_that_nobody_reads_changes_nothing(random_case, agree, name, switches, step):
    """Without the hints of such rollouts, as a trainer leaves them out, loss and gradient are the same."""
    method, unread = built(name, switches), 0
    for seed in range(5):
        case = random_case(seed, method.needs)
        advantages = case.batch.advantages.clone()
        advantages[::2] = 0.0
        case = case.changed(advantages=advantages, step=step)
        read = rows_read(method, advantages, step)
        unread += int((~read).sum())
        hinted = case.batch.hinted
        left_out = case if hinted is None else case.changed(hinted=hinted & read)
        found, expected = at_once(method, left_out, "tokens"), at_once(method, case, "tokens")
        agree(found[:2], expected[:2])
    scaled = name in ("rlsd", "rlsd_ectr")
    decays = scaled and "lam_decay_steps" not in switches
    routed = switches.get("routing") == "advantage_sign"
    assert bool(unread) == (scaled or routed or (name == "rlsd_add" and step == 51))
    if decays or name == "rlsd_add":
        assert rows_read(method, torch.ones(2), step).any() == (step < 51)


@pytest.mark.parametrize("aggregation", ["tokens", "rollouts"])
@pytest.mark.parametrize(("name", "switches"), EVERY_METHOD, ids=str)
def test_nor_of_the_order_of_rows(random_case, agree, name, switches, aggregation):
    method = built(name, switches)
    for seed in range(5):
        case = random_case(seed, method.needs)
        order = torch.from_numpy(np.random.default_rng(seed).permutation(6))
        loss, gradient, logged = at_once(method, case.part(order), aggregation)
        agree((loss, gradient[order.argsort()], logged), at_once(method, case, aggregation))


@pytest.mark.parametrize("aggregation", ["tokens", "rollouts"])
@pytest.mark.parametrize(("name", "switches"), EVERY_METHOD, ids=str)
def test_nor_of_padding_on_the_right(random_case, agree, name, switches, aggregation):
    method = built(name, switches)
    for seed in range(5):
        case = random_case(seed, method.needs)
        wider = random_case(seed + 1, method.needs, width=9)
        padded = {}
        for field in dataclasses.fields(case.batch):
            narrow, wide = getattr(case.batch, field.name), getattr(wider.batch, field.name)
            if torch.is_tensor(narrow) and narrow.shape != wide.shape:
                axis = next(axis for axis, size in enumerate(wide.shape) if size != narrow.shape[axis])
                extra = wide.narrow(axis, 6, 3)
                padded[field.name] = torch.cat(
                    [narrow, extra.nan_to_num() if extra.is_floating_point() else extra], axis
                )
        padded["response_mask"][:, 6:] = False
        more = case.changed(**padded).at(torch.cat([case.logits, wider.logits[:, 6:]], dim=1))
        more = dataclasses.replace(more, tokens=torch.cat([case.tokens, wider.tokens[:, 6:]], dim=1))
        loss, gradient, logged = at_once(method, more, aggregation)
        assert not gradient[:, 6:].any()
        agree((loss, gradient[:, :6], logged), at_once(method, case, aggregation))


@pytest.mark.parametrize("aggregation", ["tokens", "rollouts"])
@pytest.mark.parametrize(("name", "switches"), EVERY_METHOD, ids=str)
def test_rows_that_left_count_nowhere(random_case, agree, name, switches, aggregation):
    method = built(name, switches)
    for seed in range(8):
        case = random_case(seed, method.needs)
        kept = case.batch.kept.nonzero()[:, 0]
        loss, gradient, logged = at_once(method, case, aggregation)
        assert not gradient[~case.batch.kept].any()
        agree((loss, gradient[kept], logged), at_once(method, case.part(kept), aggregation))
        without = case.part(kept).changed(kept=None)
        agree((loss, gradient[kept], logged), at_once(method, without, aggregation))


@pytest.mark.parametrize(("name", "switches"), EVERY_METHOD, ids=str)
def test_only_tokens_that_count_have_a_gradient(random_case, name, switches):
    method = built(name, switches)
    distils, moved = (name, switches) in DISTILLED, 0
    for seed in range(8):
        case = random_case(seed, method.needs).changed(reference_logprobs=None)
        gradient = at_once(method, case, "tokens")[1]
        assert not gradient[~(case.batch.hinted_mask if distils else case.batch.token_mask)].any()
        moved += bool(gradient.any())
    assert moved >= 5  # in some cases the few tokens that count have a zero advantage, or are clipped


@pytest.mark.parametrize(("name", "switches"), EVERY_METHOD, ids=str)
def test_it_reads_no_more_than_it_says_it_needs(random_case, agree, name, switches):
    method = built(name, switches)
    needs = method.needs
    unasked = {"importance": False, "reference_logprobs": False, "current_logprobs": needs.current_logprobs}
    unasked |= {"correct_logprobs": needs.teacher, "hinted": needs.teacher}
    unasked |= {"teacher_reference_logprobs": needs.reference}
    unasked |= {"wrong_logprobs": needs.wrong_hints, "wrong_mask": needs.wrong_hints}
    unasked |= {"correct_support": needs.support, "wrong_support": needs.support and needs.wrong_hints}
    unasked |= {"teacher_entropy": needs.teacher_entropy}
    case = random_case(1, needs).changed(importance=None, reference_logprobs=None)
    bare = case.changed(**{name: None for name, asked in unasked.items() if not asked})
    agree(at_once(method, bare, "tokens"), at_once(method, case, "tokens"))


@pytest.mark.parametrize(("name", "switches"), EVERY_METHOD, ids=str)
def test_float32_gives_what_float64_gives(random_case, agree, name, switches):
    method = built(name, switches)
    for seed in range(3):
        case = random_case(seed, method.needs)
        narrow = case.to(torch.float32)
        student = narrow.student()
        targets = method.targets(narrow.batch, "tokens")
        assert targets.advantages.dtype == targets.weights.dtype == torch.float32
        found = method.token_loss(student, narrow.batch, targets)
        assert {found.values.dtype} | {values.dtype for values, _ in found.watched.values()} == {torch.float32}
        loss, gradient, logged = at_once(method, narrow, "tokens")
        agree((loss, gradient.double(), logged), at_once(method, case, "tokens"), tolerance=2e-4)


def edge_cases(case):
    """Spec 13, at the level of objectives: what may come in, and whether it can move the student at all."""
    batch = case.batch
    nobody, everybody = torch.zeros(6, dtype=torch.bool), torch.ones(6, dtype=torch.bool)
    zero = torch.zeros_like(batch.advantages)
    return {
        "empty responses": case.changed(response_mask=torch.zeros_like(batch.response_mask)),
        "no columns": case.part(torch.arange(6), 0),
        "no rows": case.part(torch.tensor([], dtype=torch.long)),
        "one token": case.changed(response_mask=torch.arange(36).view(6, 6) == 6, kept=everybody, hinted=everybody),
        "nobody kept": case.changed(kept=nobody),
        "nobody hinted": case.changed(hinted=nobody, wrong_mask=torch.zeros_like(batch.wrong_mask)),
        "all correct": case.changed(correct=everybody, advantages=zero),
        "all wrong": case.changed(correct=nobody, advantages=zero),
        "nobody kept or hinted": case.changed(kept=nobody, hinted=nobody),
    }


@pytest.mark.parametrize("aggregation", ["tokens", "rollouts"])
@pytest.mark.parametrize(("name", "switches"), EVERY_METHOD, ids=str)
def test_edge_cases_are_finite_and_empty_ones_zero(random_case, name, switches, aggregation):
    method = built(name, switches)
    for seed in range(3):
        for label, case in edge_cases(random_case(seed, method.needs)).items():
            loss, gradient, logged = at_once(method, case.changed(reference_logprobs=None), aggregation)
            assert math.isfinite(loss), label
            assert gradient.isfinite().all(), label
            assert all(math.isfinite(value) for value in logged.values()), label
            if not case.batch.token_mask.any():
                assert loss == 0, label
                assert not gradient.any(), label
                assert not any(value for key, value in logged.items() if key != "signal/lam"), label


@pytest.mark.parametrize("aggregation", ["tokens", "rollouts"])
@pytest.mark.parametrize(("name", "switches"), DISTILLED, ids=str)
def test_distillation_with_nobody_hinted_is_zero(random_case, name, switches, aggregation):
    method = built(name, switches)
    case = edge_cases(random_case(0, method.needs))["nobody hinted"].changed(reference_logprobs=None)
    loss, gradient, logged = at_once(method, case, aggregation)
    assert loss == 0
    assert not gradient.any()
    assert not any(logged.values())


@pytest.mark.parametrize("aggregation", ["tokens", "rollouts"])
@pytest.mark.parametrize("outcome", ["all correct", "all wrong"])
@pytest.mark.parametrize(
    ("name", "switches"),
    [
        case
        for case in EVERY_METHOD
        if case[0] in ("grpo", "rlsd", "rlsd_ectr", "rlcsd") and not case[1].keys() & {"anchor", "zero_advantage"}
    ],
    ids=str,
)
def test_without_advantage_what_only_modulates_it_is_silent(random_case, name, switches, outcome, aggregation):
    """Of the others, distillation does not look at advantages, and additive forms speak without one."""
    method = built(name, switches)
    for seed in range(3):
        case = edge_cases(random_case(seed, method.needs))[outcome].changed(reference_logprobs=None)
        loss, gradient, _ = at_once(method, case, aggregation)
        assert loss == 0
        assert not gradient.any()


@pytest.mark.parametrize(("name", "switches"), EVERY_METHOD, ids=str)
def test_targets_carry_no_gradient_and_have_the_batchs_shape(random_case, name, switches):
    method = built(name, switches)
    batch = random_case(5, method.needs).batch
    targets = method.targets(batch, "tokens")
    assert not targets.advantages.requires_grad
    assert not targets.weights.requires_grad
    assert targets.advantages.shape == targets.weights.shape == batch.response_mask.shape
    assert all(type(value) is float for value in targets.metrics.values())


@pytest.mark.parametrize(("name", "switches"), EVERY_METHOD, ids=str)
def test_importance_and_kl_enter_token_by_token(random_case, name, switches):
    """Sum of weight x importance x token loss, plus kl coefficient x mean k3, minus the entropy's share, in loops."""
    method = built(name, switches)
    case = random_case(2, method.needs).with_bonus()
    batch, student = case.batch, case.student()
    targets = method.targets(batch, "tokens")
    kl_weights = KL * token_weights(batch.token_mask, "tokens", batch.rollouts)
    plain = method.token_loss(student, batch, targets).values
    expected, bare = 0.0, 0.0
    for i, t in case.places():
        share = float(targets.weights[i, t]) * float(plain[i, t])
        gap = float(batch.reference_logprobs[i, t] - student.logprobs[i, t])
        bare += share
        expected += share * float(batch.importance[i, t]) + float(kl_weights[i, t]) * (math.exp(gap) - gap - 1)
        entropy = -sum(p * math.log(p) for p in case.logits[i, t].softmax(dim=-1).tolist())
        expected -= float(batch.entropy_weights[i, t]) * entropy
    found, sums = micro_batch_loss(method, student, batch, targets, kl_weights)
    assert float(found) == pytest.approx(expected, rel=1e-9)
    without = batch.extended(importance=None, reference_logprobs=None, entropy_weights=None)
    found, same = micro_batch_loss(method, student, without, targets, kl_weights)
    assert float(found) == pytest.approx(bare, rel=1e-9)
    assert same == sums


def test_watched_values_are_summed_over_their_mask_alone():
    values = torch.tensor([[1.0, math.nan, 4.0], [2.0, math.inf, 8.0]])
    mask = torch.tensor([[True, False, True], [False, False, True]])

    class Watching:
        def token_loss(self, student, batch, targets):
            return TokenLoss(student.logprobs, {"a": (values, mask), "b": (values, mask & False)})

    weights = torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.0, 2.0]])
    batch = Batch(torch.ones(2, 3, dtype=torch.bool), torch.zeros(2), torch.zeros(2, 3))
    targets = Targets(torch.zeros(2, 3), weights, {})
    student = Student(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
    loss, sums = micro_batch_loss(Watching(), student, batch, targets, torch.full((2, 3), math.nan))
    assert float(loss) == 12.5
    assert sums == {"a": (13.0, 3), "b": (0.0, 0)}


@pytest.mark.parametrize("name", sorted(METHODS))
def test_build_method_sets_what_it_is_given(name):
    field = next(f for f in dataclasses.fields(METHODS[name]) if isinstance(f.default, float))
    assert build_method(name, {}) == METHODS[name]()
    assert getattr(build_method(name, {field.name: 0.125}), field.name) == 0.125


def test_an_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"'grop'.*grpo.*rlcsd.*package\.module:Class"):
        build_method("grop", {})


def test_unknown_settings_are_refused_with_the_known_ones():
    with pytest.raises(
        UserError,
        match=r"method grpo: objective: unknown key 'tau'; .* \(valid: epsilon_low, epsilon_high, dual_clip\)",
    ):
        build_method("grpo", {"tau": 1.0, "epsilon_low": 0.1, "lamda": 2.0})


OWN = """
from dataclasses import dataclass, field
from typing import ClassVar

from selfdistill.objectives.batch import Needs, TokenLoss
from selfdistill.objectives.grpo import GRPO


@dataclass(frozen=True)
class Bold(GRPO):
    boldness: float = 2.0

    def token_loss(self, student, batch, targets):
        return TokenLoss(self.boldness * super().token_loss(student, batch, targets).values)


@dataclass(frozen=True)
class Strict(GRPO):
    strictness: float = field(kw_only=True)
    notes: list[str] = field(default_factory=list, kw_only=True)
    derived: float = field(init=False)


@dataclass(frozen=True)
class Silent:
    needs: ClassVar[Needs] = Needs()


class Undecorated:
    pass


settled = Bold()
number = 3
"""


@pytest.fixture
def own_package(tmp_path, monkeypatch):
    package = tmp_path / "research_of_mine"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "bold.py").write_text(OWN)
    (package / "needy.py").write_text("import a_library_that_is_not_there\n")
    (package / "broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("research_of_mine", "research_of_mine.bold", "research_of_mine.needy", "research_of_mine.broken"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("own_package")
def test_a_class_of_ones_own_is_built_and_trained_like_any_other(random_case, agree):
    method = build_method("research_of_mine.bold:Bold", {"boldness": 3.0, "epsilon_low": 0.1})
    assert (method.boldness, method.epsilon_low, method.dual_clip) == (3.0, 0.1, 3.0)
    case = random_case(0, method.needs).changed(reference_logprobs=None)
    loss, gradient, _ = at_once(method, case, "tokens")
    plain, slope, _ = at_once(build_method("grpo", {"epsilon_low": 0.1}), case, "tokens")
    agree((loss, gradient), (3 * plain, 3 * slope))


@pytest.mark.usefixtures("own_package")
@pytest.mark.parametrize(
    ("implementation", "message"),
    [
        ("research_of_mine.bald:Bold", r"'research_of_mine.bald:Bold' cannot be imported: .*research_of_mine\.bald"),
        ("research_of_mine.bold:Bald", r"'research_of_mine.bold:Bald' cannot be imported: .*Bald"),
        ("research_of_mine.needy:Bold", r"cannot be imported: .*a_library_that_is_not_there"),
        ("research_of_mine.broken:Bold", r"cannot be imported: ZeroDivisionError"),
        ("research_of_mine.bold:Silent", r"'research_of_mine.bold:Silent' lacks targets, token_loss"),
        ("research_of_mine.bold:Undecorated", r"'research_of_mine.bold:Undecorated' is no dataclass"),
        ("research_of_mine.bold:number", r"is no dataclass"),
        ("research_of_mine.bold:settled", r"is no dataclass"),
        ("research_of_mine.bold", r"unknown method 'research_of_mine.bold'"),
        ("research_of_mine/bold.py:Bold", r"unknown method"),
        ("research_of_mine..bold:Bold", r"unknown method"),
        (".bold:Bold", r"unknown method"),
        ("research_of_mine.bold:Bold.needs", r"unknown method"),
        ("research_of_mine.bold:Bold ", r"unknown method"),
        (":Bold", r"unknown method"),
    ],
)
def test_what_is_no_class_of_ones_own_is_refused(implementation, message):
    with pytest.raises(UserError, match=message):
        build_method(implementation, {})


@pytest.mark.usefixtures("own_package")
def test_unknown_settings_of_ones_own_class_are_refused():
    with pytest.raises(
        UserError, match=r"research_of_mine.bold:Bold: objective: unknown key 'lam'; .*valid: epsilon_low.*boldness"
    ):
        build_method("research_of_mine.bold:Bold", {"lam": 1.0})


@pytest.mark.usefixtures("own_package")
def test_a_setting_without_default_must_be_given():
    built_so = build_method("research_of_mine.bold:Strict", {"strictness": 2.0})
    assert (built_so.strictness, built_so.notes) == (2.0, [])
    with pytest.raises(UserError, match=r"research_of_mine.bold:Strict.*strictness"):
        build_method("research_of_mine.bold:Strict", {})
    with pytest.raises(UserError, match=r"unknown key 'derived'; .*valid: .*notes"):
        build_method("research_of_mine.bold:Strict", {"strictness": 2.0, "derived": 1.0})
