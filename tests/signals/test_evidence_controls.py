"""Controls of evidence against loops over single tokens."""

import numpy as np
import pytest
import torch

from selfdistill.methods.catalogue import shipped
from selfdistill.objectives.batch import Batch
from selfdistill.objectives.contrast import contrastive_evidence
from selfdistill.objectives.methods import build_method
from selfdistill.signals.evidence_controls import controlled_scores, misaligned, moved, permutation
from selfdistill.signals.teacher_scores import TeacherScores
from selfdistill.study.control_settings import ControlSettings

LENGTHS, HINTS = [5, 3, 0, 4], [2, 1, 0, 2]
KEY = (0, "control", 1, 0)


@pytest.fixture
def scored():
    """Scores of four rollouts of up to six tokens, the third without hints, and their batch."""
    rng = torch.Generator().manual_seed(0)
    width, most = 6, 2
    mask = torch.arange(width) < torch.tensor(LENGTHS)[:, None]
    wrong_mask = torch.arange(most) < torch.tensor(HINTS)[:, None]
    hinted = wrong_mask.any(dim=1)
    drawn = [-torch.rand(4, k, width, generator=rng) for k in (1, 1, most)]
    keep = mask & hinted[:, None]
    scores = TeacherScores(drawn[0][:, 0] * keep, drawn[2] * keep[:, None], wrong_mask, hinted, 0, 0)
    batch = Batch(mask, torch.tensor([1.0, -1.0, 0.0, 1.0]), drawn[1][:, 0] * mask, hinted=hinted)
    return scores, batch


def evidence(scores, batch):
    """What a contrast and what a student's own measure see, on hinted tokens."""
    mask = batch.response_mask & scores.hinted[:, None]
    contrast = contrastive_evidence(scores.correct_logprobs, scores.wrong_logprobs, scores.wrong_mask)
    return [each[mask].double() for each in (contrast, scores.correct_logprobs - batch.old_logprobs)], mask


def controlled(scored, **controls):
    return controlled_scores(*scored, ControlSettings(**controls), KEY)


def test_nothing_changes_without_controls(scored):
    assert controlled(scored) is scored[0]


@pytest.mark.parametrize("within", [True, False])
def test_evidence_is_permuted_and_comes_back_by_the_inverse(scored, within):
    name = "permuted_in_rollouts" if within else "permuted_in_batch"
    changed = controlled(scored, evidence=name)
    (contrast, student), mask = evidence(*scored)
    (contrast_after, student_after), _ = evidence(changed, scored[1])
    order = permutation(mask, within_rows=within, key=KEY)
    assert sorted(order.tolist()) == list(range(int(mask.sum())))
    assert order.tolist() != sorted(order.tolist())
    for before, after in ((contrast, contrast_after), (student, student_after)):
        for token, source in enumerate(order.tolist()):
            assert float(after[token]) == pytest.approx(float(before[source]), abs=1e-6)
    rows = mask.nonzero()[:, 0]
    assert torch.equal(rows[order], rows) == within
    inverse = torch.argsort(order)
    values = torch.randn(mask.shape)
    assert torch.equal(moved(moved(values, mask, order), mask, inverse), values)


def test_each_row_has_an_order_of_its_own_and_each_step_others(scored):
    mask = torch.ones(2, 30, dtype=torch.bool)
    order = permutation(mask, within_rows=True, key=KEY)
    assert order[:30].tolist() != (order[30:] - 30).tolist()
    assert order.tolist() != permutation(mask, within_rows=True, key=(0, "control", 2, 0)).tolist()


def test_random_signs_keep_sizes(scored):
    (before, student), _ = evidence(*scored)
    (after, student_after), _ = evidence(controlled(scored, random_signs=True), scored[1])
    assert torch.allclose(before.abs(), after.abs(), atol=1e-6)
    assert torch.allclose(student.abs(), student_after.abs(), atol=1e-6)
    assert 0 < int((before.sign() != after.sign()).sum()) < len(before)


def test_noise_has_the_size_of_the_evidence():
    rng = torch.Generator().manual_seed(1)
    mask = torch.ones(40, 100, dtype=torch.bool)
    wrong_mask, hinted = torch.ones(40, 1, dtype=torch.bool), torch.ones(40, dtype=torch.bool)
    correct, wrong = -torch.rand(40, 100, generator=rng) * 3, -torch.rand(40, 1, 100, generator=rng)
    scores = TeacherScores(correct, wrong, wrong_mask, hinted, 0, 0)
    batch = Batch(mask, torch.zeros(40), torch.zeros(40, 100))
    (before, _), _ = evidence(scores, batch)
    (after, _), _ = evidence(controlled_scores(scores, batch, ControlSettings(evidence="noise"), KEY), batch)
    size = float(before.square().mean().sqrt())
    assert float(after.square().mean().sqrt()) == pytest.approx(size, rel=0.05)
    assert abs(float(after.mean())) < 0.05 * size
    assert abs(float(np.corrcoef(before, after)[0, 1])) < 0.05


@pytest.mark.parametrize("controls", [{"evidence": "permuted_in_batch"}, {"random_signs": True}, {"evidence": "noise"}])
def test_rows_without_hints_padding_and_masked_hints_stay(scored, controls):
    scores, batch = scored
    changed = controlled(scored, **controls)
    mask = batch.response_mask & scores.hinted[:, None]
    assert torch.equal(changed.correct_logprobs[~mask], scores.correct_logprobs[~mask])
    outside = ~(mask[:, None] & scores.wrong_mask[..., None])
    assert torch.equal(changed.wrong_logprobs[outside], scores.wrong_logprobs[outside])
    assert torch.equal(changed.hinted, scores.hinted)


def test_misaligned_scores_are_those_of_later_tokens(scored):
    scores, batch = scored
    changed = misaligned(scores, batch.response_mask, rows=2)
    width = batch.response_mask.shape[1]
    for begin in (0, 2):
        longest = max(LENGTHS[begin : begin + 2])
        for row in range(begin, begin + 2):
            for token in range(width):
                source = token + width - longest
                there = token < longest and source < LENGTHS[row]
                expected = float(scores.correct_logprobs[row, source]) if there else 0.0
                assert float(changed.correct_logprobs[row, token]) == expected
                for slot in range(HINTS[row]):
                    expected = float(scores.wrong_logprobs[row, slot, source]) if there else 0.0
                    assert float(changed.wrong_logprobs[row, slot, token]) == expected
    whole = batch.response_mask[:1].expand(4, -1) | True
    full = misaligned(scores, whole, rows=2)  # every micro-batch has a row as long as the longest: nothing moves
    assert torch.equal(full.correct_logprobs, scores.correct_logprobs)


def test_methods_that_say_that_they_read_evidence_do():
    """What planning refuses controls by is what the losses ask for."""
    for name, kind in shipped().items():
        needs = build_method(name, {}).needs
        assert kind.reads_evidence == (needs.correct_hint and needs.support is None), name
