import math
from dataclasses import replace

import pytest
import torch

from selfdistill.objectives.aggregation import AGGREGATIONS
from selfdistill.objectives.batch import Batch
from selfdistill.objectives.grpo import GRPO
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
]


def global_loss(method, batch, logprobs, aggregation):
    """Loss of the whole batch at once, and its gradient by the log-probs."""
    leaf = logprobs.clone().requires_grad_()
    targets = method.targets(batch, aggregation)
    loss = (targets.weights * method.token_loss(leaf, batch, targets)).sum()
    return float(loss.detach()), torch.autograd.grad(loss, leaf)[0]


def slow_signal(method, batch, i, t):
    """Residual of one token, from probabilities; zero in a row without hints."""
    if not batch.hinted[i]:
        return 0.0
    if method.one_sided:
        against = math.exp(batch.current_logprobs[i, t])
    else:
        real = [k for k in range(batch.wrong_mask.shape[1]) if batch.wrong_mask[i, k]]
        against = sum(math.exp(batch.wrong_logprobs[i, k, t]) for k in real) / len(real)
    evidence = math.log(math.exp(batch.correct_logprobs[i, t]) / against)
    residual = method.beta * method.lam * math.tanh(evidence / method.tau)
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
    return 0.0


def slow_loss(slow_surrogate, method, batch, logprobs, aggregation):
    kept = [i for i in range(len(batch.kept)) if batch.kept[i]]
    tokens = [(i, t) for i in kept for t in range(int(batch.response_mask[i].sum()))]
    residuals = {place: slow_signal(method, batch, *place) for place in tokens}
    selected = {place for place in tokens if abs(residuals[place]) > method.delta}
    if method.single_path:
        paths = [(1.0, tokens)]
    else:
        paths = [(1.0, [p for p in tokens if p not in selected]), (method.eta, [p for p in tokens if p in selected])]
    total, gradient = 0.0, torch.zeros_like(logprobs)
    for factor, path in paths:
        for i, t in path:
            if aggregation == "tokens":
                share = factor / len(path)
            else:
                share = factor / sum(row == i for row, _ in path) / len(kept)
            advantage = slow_advantage(method, float(batch.advantages[i]), residuals[i, t])
            pair = float(logprobs[i, t]), float(batch.old_logprobs[i, t])
            value, slope = slow_surrogate(*pair, advantage, method.epsilon, method.epsilon, None)
            total += share * value
            gradient[i, t] += share * slope
    return total, gradient


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("method", SWITCHES, ids=str)
def test_agrees_with_loops(random_batch, even_batch, slow_surrogate, method, aggregation):
    for seed in range(6):
        for make, tolerance in ((even_batch, 1e-9), (random_batch, 1e-6)):  # 1e-6: float32 weights 1/3, 1/5, ...
            batch, logprobs = make(seed)
            found, gradient = global_loss(method, batch, logprobs, aggregation)
            expected, slope = slow_loss(slow_surrogate, method, batch, logprobs, aggregation)
            assert found == pytest.approx(expected, rel=tolerance, abs=tolerance)
            torch.testing.assert_close(gradient, slope, rtol=tolerance, atol=tolerance)


def test_targets_of_every_token_agree_with_loops(random_batch):
    for seed in range(6):
        batch, _ = random_batch(seed)
        targets = RLCSD(beta=8.0).targets(batch, "tokens")
        for i, row in enumerate(batch.token_mask.tolist()):
            for t, inside in enumerate(row):
                residual = slow_signal(RLCSD(beta=8.0), batch, i, t) if inside else 0.0
                expected = slow_advantage(RLCSD(), float(batch.advantages[i]), residual)
                assert float(targets.advantages[i, t]) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("off", [{"lam": 0.0}, {"beta": 0.0}])
def test_without_lambda_or_beta_it_is_the_plain_clipped_surrogate(random_batch, aggregation, off):
    method = RLCSD(**off, eta=0.3)
    for seed in range(10):
        batch, logprobs = random_batch(seed)
        loss, gradient = global_loss(method, batch, logprobs, aggregation)
        plain, slope = global_loss(GRPO(dual_clip=1e12), batch, logprobs, aggregation)
        assert loss == plain
        assert torch.equal(gradient, slope)
        assert method.targets(batch, aggregation).metrics["signal/selected_share"] == 0


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
def test_equal_hints_give_no_signal_and_no_selected_token(hints):
    batch = simple_batch(1.0, 0.0, hints)
    targets = RLCSD().targets(batch, "tokens")
    assert torch.equal(targets.advantages, torch.ones(2, 3, dtype=torch.float64))
    assert targets.metrics["signal/selected_share"] == 0
    assert targets.metrics["signal/evidence_abs_mean"] == pytest.approx(0, abs=1e-12)
    loss, _ = global_loss(RLCSD(), batch, batch.old_logprobs, "tokens")
    assert loss == pytest.approx(-1.0, rel=1e-6)


def test_one_wrong_hint_is_the_plain_difference(random_batch):
    batch, _ = random_batch(3, hints=1)
    for i in batch.hinted.nonzero()[:, 0].tolist():
        for t in range(int(batch.token_mask[i].sum())):
            evidence = float(batch.correct_logprobs[i, t] - batch.wrong_logprobs[i, 0, t])
            expected = slow_advantage(RLCSD(), float(batch.advantages[i]), 0.5 * math.tanh(evidence / 0.02))
            found = RLCSD().targets(batch, "tokens").advantages[i, t]
            assert float(found) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize(("evidence", "share"), [(0.0, 0.0), (5.0, 1.0), (-5.0, 1.0)])
def test_an_empty_path_contributes_nothing(evidence, share, aggregation):
    batch = simple_batch(2.0, evidence)
    method = RLCSD(eta=0.25)
    loss, gradient = global_loss(method, batch, batch.old_logprobs, aggregation)
    shifted = 2.0 + 0.5 * math.copysign(share, evidence)
    assert loss == pytest.approx(-shifted * (0.25 if share else 1.0), rel=1e-6)
    assert gradient.isfinite().all()
    assert method.targets(batch, aggregation).metrics["signal/selected_share"] == share


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("method", SWITCHES, ids=str)
def test_an_empty_batch_is_zero_and_finite(method, aggregation):
    batch = simple_batch(1.0, 0.1, current_logprobs=torch.zeros(2, 3, dtype=torch.float64))
    logprobs = batch.old_logprobs
    nobody = torch.zeros(2, dtype=torch.bool)
    for empty in (
        batch.extended(response_mask=torch.zeros_like(batch.response_mask)),
        batch.extended(kept=nobody),
        batch.narrowed(0),
    ):
        loss, gradient = global_loss(method, empty, logprobs[:, : empty.response_mask.shape[1]], aggregation)
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
    assert targets.metrics["signal/evidence_mean"] == 0


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


def test_one_sided_compares_with_the_student_and_ignores_wrong_hints():
    batch = simple_batch(1.0, 7.0)
    batch = batch.extended(current_logprobs=batch.correct_logprobs + 0.01, wrong_logprobs=None, wrong_mask=None)
    targets = RLCSD(one_sided=True).targets(batch, "tokens")
    expected = 1 - 0.5 * math.tanh(0.5)
    torch.testing.assert_close(targets.advantages, torch.full((2, 3), expected, dtype=torch.float64))


def test_single_path_is_one_mean_over_all_tokens():
    batch = simple_batch(1.0, 5.0, rows=2, tokens=4)
    batch.wrong_logprobs[0] = batch.correct_logprobs[0]  # the first row has no contrast: nothing selected there
    two, one = RLCSD(), RLCSD(single_path=True)
    assert global_loss(two, batch, batch.old_logprobs, "tokens")[0] == pytest.approx(-1.0 - 1.5, rel=1e-6)
    assert global_loss(one, batch, batch.old_logprobs, "tokens")[0] == pytest.approx(-(1.0 + 1.5) / 2, rel=1e-6)


def test_selection_begins_beyond_delta():
    edge = 0.02 * math.atanh(0.02 / 0.5)  # where |r| reaches delta
    for evidence, selected in ((0.999 * edge, 0), (1.001 * edge, 1), (-0.999 * edge, 0), (-1.001 * edge, 1)):
        metrics = RLCSD().targets(simple_batch(1.0, evidence), "tokens").metrics
        assert metrics["signal/selected_share"] == selected


def test_metrics_are_means_over_the_right_tokens():
    batch = simple_batch(1.0, 5.0, rows=4, tokens=2)
    batch.wrong_logprobs[1] = batch.correct_logprobs[1] + 3.0
    batch = batch.extended(hinted=torch.tensor([True, True, False, True]), kept=torch.tensor([True, True, True, False]))
    metrics = RLCSD().targets(batch, "tokens").metrics
    assert metrics["signal/evidence_mean"] == pytest.approx((5.0 - 3.0) / 2)
    assert metrics["signal/evidence_abs_mean"] == pytest.approx((5.0 + 3.0) / 2)
    assert metrics["signal/selected_share"] == pytest.approx(2 / 3)
    assert metrics["signal/residual_mean"] == pytest.approx(0.0, abs=1e-9)
    assert metrics["signal/sign_clamped_share"] == 0


def test_what_it_needs():
    assert vars(RLCSD().needs) == {
        "correct_hint": True,
        "wrong_hints": True,
        "mixed_groups": True,
        "current_logprobs": False,
    }
    one_sided = replace(RLCSD(), one_sided=True).needs
    assert (one_sided.wrong_hints, one_sided.current_logprobs) == (False, True)
