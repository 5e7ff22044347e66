"""Controls in whole training steps: what they leave as it is, and what they take away."""

from dataclasses import replace

import pytest
import torch
from small_run import trained_weights

from selfdistill.errors import UserError
from selfdistill.objectives.contrast import mean_wrong_logprobs
from selfdistill.signals.evidence_controls import controlled_scores, moved, permutation


def after_a_step(make, **changes):
    trainer = make(**changes)
    metrics = trainer.step(1)
    return trained_weights(trainer), metrics


@pytest.fixture(scope="module")
def steps():
    """Step by its controls, each trained once."""
    return {}


@pytest.fixture
def step(make, steps):
    def run(**controls):
        key = repr(controls)
        if key not in steps:
            steps[key] = after_a_step(make, controls=controls)
        return steps[key]

    return run


def test_permuted_evidence_is_the_same_evidence_elsewhere(step):
    """The first update's evidence: as much of it, as many tokens selected, other weights. Twice: the same run."""
    (plain, before), (changed, after) = step(), step(evidence="permuted_in_rollouts")
    for name in ("reward/mean", "hints/hinted_share", "tokens/teacher_forwarded"):
        assert before[name] == after[name]
    assert not torch.equal(plain, changed)
    assert before["signal/evidence_abs_mean"] > 0


def test_a_permuted_run_made_twice_is_the_same_run(make):
    """Its order is drawn from the seed, step and rows, and from nothing else."""
    runs = [after_a_step(make, controls={"evidence": "permuted_in_rollouts"}) for _ in range(2)]
    assert torch.equal(runs[0][0], runs[1][0])
    times = {name for name in runs[0][1] if name.startswith("timing_s/")}
    assert {k: v for k, v in runs[0][1].items() if k not in times} == {
        k: v for k, v in runs[1][1].items() if k not in times
    }


@pytest.mark.parametrize("evidence", ["permuted_in_rollouts", "permuted_in_batch"])
def test_permuting_and_permuting_back_is_the_run_without_a_control(make, step, monkeypatch, evidence):
    """The log-probs come back through sums with the student's, so up to rounding; permuted once they do not."""

    def there_and_back(scores, batch, controls, key):
        mask = batch.response_mask & scores.hinted[:, None]
        order = permutation(mask, within_rows=evidence == "permuted_in_rollouts", key=key)
        back = torch.argsort(order)
        changed = controlled_scores(scores, batch, controls, key)
        contrast = scores.wrong_mask.any(dim=1)[:, None] & mask
        mean = mean_wrong_logprobs(changed.wrong_logprobs, changed.wrong_mask)
        gaps = (changed.correct_logprobs - batch.old_logprobs, torch.where(contrast, mean - batch.old_logprobs, 0.0))
        correct, wrong = (batch.old_logprobs + moved(torch.where(mask, gap, 0.0), mask, back) for gap in gaps)
        return replace(
            changed,
            correct_logprobs=torch.where(mask, correct, scores.correct_logprobs),
            wrong_logprobs=torch.where(changed.wrong_mask[..., None] & mask[:, None], wrong[:, None], 0.0),
        )

    plain, _ = step()
    once, _ = step(evidence=evidence)
    monkeypatch.setattr("selfdistill.training.step.controlled_scores", there_and_back)
    again, _ = after_a_step(make, controls={"evidence": evidence})
    assert torch.allclose(again, plain, atol=1e-6)
    assert not torch.allclose(once, plain, atol=1e-6)


def test_empty_hints_leave_no_contrast(make, step):
    """Both sides read the same bytes, so nothing is selected: the run of a residual of nothing."""
    changed, metrics = step(empty_hints=True)
    assert metrics["signal/evidence_abs_mean"] == pytest.approx(0, abs=1e-6)
    assert metrics["signal/selected_share"] == 0
    nothing, _ = after_a_step(make, objective={"beta": 0.0})
    assert torch.allclose(changed, nothing, atol=1e-6)


@pytest.mark.parametrize(
    "controls", [{"misaligned_rows": 1}, {"wrong_hints": "other_problems"}, {"correct_hint": "wrong"}]
)
def test_each_control_changes_the_run_and_nothing_before_the_teacher(step, controls):
    (plain, before), (changed, after) = step(), step(**controls)
    assert before["reward/mean"] == after["reward/mean"]
    assert not torch.equal(plain, changed)


def test_a_control_that_a_method_cannot_have_is_refused(make):
    with pytest.raises(UserError, match=r"controls change a hinted teacher's evidence.*grpo does not read"):
        make(implementation="grpo", controls={"random_signs": True})
    with pytest.raises(UserError, match="wrong_hints is 'other_problems', but method rlsd reads no"):
        make(implementation="rlsd", controls={"wrong_hints": "other_problems"})
