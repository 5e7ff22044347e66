import math

import numpy as np
import pytest
import torch

from selfdistill.objectives.aggregation import AGGREGATIONS
from selfdistill.objectives.batch import Batch
from selfdistill.objectives.rlcsd import RLCSD

SWITCHES = [
    RLCSD(),
    RLCSD(eta=0.5, tau=1.3, delta=0.0005),
    RLCSD(one_sided=True),
    RLCSD(anchor=False),
    RLCSD(single_path=True),
    RLCSD(one_sided=True, anchor=False, single_path=True),
    RLCSD(residual_clip_low=-0.1, residual_clip_high=0.3),
    RLCSD(beta=8.0, lam=1.0),  # residuals larger than advantages: the sign clamp works
    RLCSD(beta=8.0, lam=1.0, zero_advantage="shifts"),
]


def slow_residual(method, at):
    """Residual of one token, from probabilities; zero in a row without hints."""
    if not at.hinted:
        return 0.0
    against = at.current if method.one_sided else sum(at.wrong) / len(at.wrong)
    residual = method.beta * method.lam * math.tanh(math.log(at.correct / against) / method.tau)
    return min(max(residual, method.residual_clip_low), method.residual_clip_high)


def slow_advantage(method, advantage, residual):
    if abs(residual) <= method.delta:
        return advantage
    if not method.anchor:
        return residual
    if advantage > 0:
        return max(0.0, advantage + residual)
    if advantage < 0:
        return min(0.0, advantage + residual)
    return max(0.0, residual) if method.zero_advantage == "shifts" else 0.0


def slow_rlcsd(slow, method, case, aggregation):
    places, rollouts = case.places(), int(case.batch.kept.sum())
    residuals = {place: slow_residual(method, case.token(*place)) for place in places}
    selected = [place for place in places if abs(residuals[place]) > method.delta]
    if method.single_path:
        weights = slow.shares(places, aggregation, rollouts)
    else:
        weights = slow.shares([place for place in places if place not in selected], aggregation, rollouts)
        chosen = slow.shares(selected, aggregation, rollouts)
        weights |= {place: float(np.float32(method.eta) * np.float32(share)) for place, share in chosen.items()}

    def value(at, student):
        advantage = slow_advantage(method, at.advantage, slow_residual(method, at))
        return slow.surrogate(student[at.sampled] / at.old, advantage, method.epsilon, method.epsilon)

    def evidence(at, _):
        return math.log(at.correct / (at.current if method.one_sided else sum(at.wrong) / len(at.wrong)))

    def turned(at, _):
        residual = slow_residual(method, at)
        return float(slow_advantage(method, at.advantage, residual) != at.advantage + residual)

    hinted = case.places(hinted=True)
    logged = {
        "signal/evidence_mean": (hinted, evidence),
        "signal/evidence_abs_mean": (hinted, lambda at, _: abs(evidence(at, _))),
        "signal/selected_share": (places, lambda at, _: float(abs(slow_residual(method, at)) > method.delta)),
        "signal/residual_mean": (selected, lambda at, _: slow_residual(method, at)),
    }
    if method.anchor:
        logged["signal/sign_clamped_share"] = (selected, turned)
    return *slow.loss(case, weights, value), slow.means(case, logged)


def simple_batch(advantage, evidence, hints=2, rows=2, tokens=3, **fields):
    """Rows of one advantage, and hints whose contrast is `evidence` nats on every token."""
    correct = torch.full((rows, tokens), -1.0, dtype=torch.float64)
    return Batch(
        response_mask=torch.ones(rows, tokens, dtype=torch.bool),
        advantages=torch.full((rows,), advantage, dtype=torch.float64),
        old_logprobs=correct.clone(),
        correct_logprobs=correct,
        wrong_logprobs=(correct - evidence)[:, None].repeat(1, hints, 1),
        wrong_mask=torch.ones(rows, hints, dtype=torch.bool),
        hinted=torch.ones(rows, dtype=torch.bool),
    ).extended(**fields)


@pytest.mark.parametrize("hints", [1, 2, 4])
def test_equal_hints_give_no_signal_and_no_selected_token(by_logprobs, hints):
    batch = simple_batch(1.0, 0.0, hints)
    targets = RLCSD().targets(batch, "tokens")
    assert torch.equal(targets.advantages, torch.ones(2, 3, dtype=torch.float64))
    assert targets.metrics["signal/selected_share"] == 0
    assert targets.metrics["signal/evidence_abs_mean"] == pytest.approx(0, abs=1e-12)
    loss, _ = by_logprobs(RLCSD(), batch, batch.old_logprobs, "tokens")
    assert loss == pytest.approx(-1.0, rel=1e-6)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize(("evidence", "share"), [(0.0, 0.0), (5.0, 1.0), (-5.0, 1.0)])
def test_an_empty_path_contributes_nothing(by_logprobs, evidence, share, aggregation):
    batch = simple_batch(2.0, evidence)
    method = RLCSD(eta=0.25)
    loss, gradient = by_logprobs(method, batch, batch.old_logprobs, aggregation)
    shifted = 2.0 + 0.5 * math.copysign(share, evidence)
    tokens = 3 if aggregation == "sums" else 1
    assert loss == pytest.approx(-shifted * tokens * (0.25 if share else 1.0), rel=1e-6)
    assert gradient.isfinite().all()
    assert method.targets(batch, aggregation).metrics["signal/selected_share"] == share


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("method", SWITCHES, ids=str)
def test_an_empty_batch_is_zero_and_finite(by_logprobs, method, aggregation):
    batch = simple_batch(1.0, 0.1, current_logprobs=torch.zeros(2, 3, dtype=torch.float64))
    logprobs = batch.old_logprobs
    nobody = torch.zeros(2, dtype=torch.bool)
    for empty in (
        batch.extended(response_mask=torch.zeros_like(batch.response_mask)),
        batch.extended(kept=nobody),
        batch.narrowed(0),
    ):
        loss, gradient = by_logprobs(method, empty, logprobs[:, : empty.response_mask.shape[1]], aggregation)
        assert loss == 0
        assert not gradient.any()
        assert all(math.isfinite(v) for v in method.targets(empty, aggregation).metrics.values())


@pytest.mark.parametrize("hints", [0, 2])
def test_rows_without_hints_stay_on_the_unmodulated_path(hints):
    batch = simple_batch(1.0, 5.0, hints, rows=2)
    nobody = torch.zeros(2, dtype=torch.bool)
    batch = batch.extended(hinted=nobody, wrong_mask=torch.zeros(2, hints, dtype=torch.bool))
    targets = RLCSD().targets(batch, "tokens")
    assert torch.equal(targets.advantages, torch.ones(2, 3, dtype=torch.float64))
    assert float(targets.weights.sum()) == pytest.approx(1.0)
    assert targets.metrics == {"signal/selected_share": 0.0}


def test_groups_of_one_outcome_that_left_change_no_denominator():
    mixed = simple_batch(1.0, 0.01, rows=4, kept=torch.tensor([True, True, False, False]))
    alone = mixed.rows(torch.tensor([0, 1]))
    for aggregation in AGGREGATIONS:
        weights = RLCSD().targets(mixed, aggregation).weights
        assert torch.equal(weights[:2], RLCSD().targets(alone, aggregation).weights)
        assert not weights[2:].any()


@pytest.mark.parametrize(
    ("advantage", "evidence", "expected"),
    [
        (0.3, 9.0, 0.8),
        (0.3, -9.0, 0.0),  # a correct rollout's token is never pushed down
        (-0.3, -9.0, -0.8),
        (-0.3, 9.0, 0.0),  # nor a wrong one's up
        (0.7, -9.0, 0.2),
        (0.0, 9.0, 0.0),
        (0.0, -9.0, 0.0),
    ],
)
def test_the_shift_never_turns_a_sign(advantage, evidence, expected):
    targets = RLCSD().targets(simple_batch(advantage, evidence), "tokens")
    torch.testing.assert_close(targets.advantages, torch.full((2, 3), expected, dtype=torch.float64))
    clamped = advantage + math.copysign(0.5, evidence) != pytest.approx(expected)
    assert targets.metrics["signal/sign_clamped_share"] == float(clamped)
    free = RLCSD(anchor=False).targets(simple_batch(advantage, evidence), "tokens").advantages
    torch.testing.assert_close(free, torch.full((2, 3), math.copysign(0.5, evidence), dtype=torch.float64))


def test_by_the_papers_rule_an_advantage_of_zero_is_shifted_upwards_only():
    for evidence, expected in ((9.0, 0.5), (-9.0, 0.0)):
        batch = simple_batch(0.0, evidence)
        targets = RLCSD(zero_advantage="shifts").targets(batch, "tokens")
        torch.testing.assert_close(targets.advantages, torch.full((2, 3), expected, dtype=torch.float64))
        assert targets.metrics["signal/sign_clamped_share"] == float(evidence < 0)


def test_paths_of_the_paper_are_means_within_each_rollout_and_an_empty_one_is_omitted(by_logprobs):
    """arXiv 2606.11709, the two paths: 1/G sum over rollouts of (mean over its one path + eta mean over the other)."""
    batch = simple_batch(1.0, 5.0, rows=3, tokens=4)
    batch.response_mask[0, 2:] = False  # two tokens, both selected: no unselected path
    batch.wrong_logprobs[1] = batch.correct_logprobs[1]  # four tokens, none selected
    batch.wrong_logprobs[2, :, 0] = batch.correct_logprobs[2, 0]  # one unselected, three selected
    loss, _ = by_logprobs(RLCSD(eta=0.5), batch, batch.old_logprobs, "rollouts")
    assert loss == pytest.approx(-(0.5 * 1.5 + 1.0 + (1.0 + 0.5 * 1.5)) / 3, rel=1e-6)


def test_single_path_is_one_mean_over_all_tokens(by_logprobs):
    batch = simple_batch(1.0, 5.0, rows=2, tokens=4)
    batch.wrong_logprobs[0] = batch.correct_logprobs[0]  # the first row has no contrast: nothing selected there
    two, one = RLCSD(), RLCSD(single_path=True)
    assert by_logprobs(two, batch, batch.old_logprobs, "tokens")[0] == pytest.approx(-1.0 - 1.5, rel=1e-6)
    assert by_logprobs(one, batch, batch.old_logprobs, "tokens")[0] == pytest.approx(-(1.0 + 1.5) / 2, rel=1e-6)


def test_selection_begins_beyond_delta():
    edge = 0.02 * math.atanh(0.02 / 0.5)  # where |r| reaches delta
    for evidence, selected in ((0.999 * edge, 0), (1.001 * edge, 1), (-0.999 * edge, 0), (-1.001 * edge, 1)):
        metrics = RLCSD().targets(simple_batch(1.0, evidence), "tokens").metrics
        assert metrics["signal/selected_share"] == selected
