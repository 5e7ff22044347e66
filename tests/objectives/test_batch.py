import math
from dataclasses import fields

import pytest
import torch

from selfdistill.errors import UserError
from selfdistill.objectives.batch import Batch, Needs, Support, Targets, mean_over, means

ROWWISE = {"advantages", "correct", "hinted", "kept", "wrong_mask"}


def tensors(batch):
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return {name: value for name, value in values.items() if torch.is_tensor(value)}


def test_random_cases_fill_every_field(random_case):
    """A field that this part's tests leave out is a field that no invariance below covers."""
    batch = random_case(0).with_bonus().batch
    assert tensors(batch).keys() == {field.name for field in fields(batch)} - {"step"}
    assert batch.step > 1


@pytest.mark.parametrize("top_k", [0, 3])
def test_random_cases_are_of_one_piece(random_case, top_k):
    """Support ids, sampled log-probs and entropies come from one set of distributions, as a trainer's do."""
    full = random_case(4, Needs(correct_hint=True, support=Support("teacher", 0)))
    case = random_case(4, Needs(correct_hint=True, support=Support("teacher", top_k)))
    meant = case.batch.hinted_mask
    torch.testing.assert_close(case.tokens, full.tokens)
    teacher = full.batch.correct_support[meant]
    sampled = teacher.gather(-1, case.tokens[meant][:, None])[:, 0]
    torch.testing.assert_close(case.batch.correct_logprobs[meant], sampled)
    torch.testing.assert_close(case.batch.teacher_entropy[meant], -(teacher.exp() * teacher).sum(dim=-1))
    first = torch.stack(
        [case.batch.wrong_logprobs[i, case.batch.wrong_mask[i].nonzero()[0, 0], t] for i, t in meant.nonzero()]
    )
    torch.testing.assert_close(full.batch.wrong_support[meant].gather(-1, case.tokens[meant][:, None])[:, 0], first)
    if top_k:
        best = teacher.topk(3)
        torch.testing.assert_close(case.batch.support_ids[meant], best.indices)
        torch.testing.assert_close(case.batch.correct_support[meant], best.values)
    chosen = random_case(4, Needs(correct_hint=True, support=Support("student", 2)))
    best = chosen.logits.log_softmax(dim=-1)[meant].topk(2)
    torch.testing.assert_close(chosen.batch.support_ids[meant], best.indices)
    torch.testing.assert_close(chosen.student().support[meant], best.values)


def test_rows_takes_the_same_rows_of_every_tensor(random_case):
    batch = random_case(1).batch
    part = batch.rows(torch.tensor([4, 0, 4]))
    assert tensors(part).keys() == tensors(batch).keys()
    for name, value in tensors(part).items():
        expected = torch.stack([getattr(batch, name)[i] for i in (4, 0, 4)])
        torch.testing.assert_close(value, expected, equal_nan=True, rtol=0, atol=0)
    assert part.step == batch.step


def test_narrowed_cuts_the_token_axis_and_no_other(random_case):
    """Three hints, four ids, five rows: no two axes of one length."""
    batch = random_case(2, Needs(correct_hint=True, support=Support("teacher", 4)), rows=5, width=7, hints=3).batch
    cut = tensors(batch.narrowed(2))
    shapes = {"wrong_mask": (5, 3), "wrong_logprobs": (5, 3, 2)}
    shapes |= dict.fromkeys(("support_ids", "correct_support", "wrong_support"), (5, 2, 4))
    assert cut.keys() == tensors(batch).keys()
    for name, value in cut.items():
        assert value.shape == shapes.get(name, (5,) if name in ROWWISE else (5, 2)), name
        torch.testing.assert_close(value, getattr(batch, name)[tuple(map(slice, value.shape))], equal_nan=True)


def test_absent_tensors_stay_absent():
    batch = Batch(torch.ones(2, 3, dtype=torch.bool), torch.ones(2), torch.zeros(2, 3), step=5)
    part = batch.rows(torch.tensor([1])).narrowed(1)
    assert list(tensors(part)) == ["response_mask", "advantages", "old_logprobs"]
    assert part.step == 5


def test_extended_adds_and_replaces():
    batch = Batch(torch.ones(2, 3, dtype=torch.bool), torch.ones(2), torch.zeros(2, 3))
    more = batch.extended(advantages=torch.zeros(2), correct=torch.tensor([True, False]))
    assert (more.advantages.tolist(), more.correct.tolist()) == ([0.0, 0.0], [True, False])
    assert batch.correct is None


def test_rows_that_left_count_neither_as_tokens_nor_as_rollouts():
    mask = torch.tensor([[True, True, False], [True, False, False]])
    batch = Batch(mask, torch.ones(2), torch.zeros(2, 3))
    assert batch.rollouts == 2
    assert batch.token_mask.tolist() == mask.tolist()
    left = batch.extended(kept=torch.tensor([False, True]))
    assert left.rollouts == 1
    assert left.token_mask.tolist() == [[False] * 3, [True, False, False]]
    assert left.extended(hinted=torch.tensor([True, True])).hinted_mask.tolist() == left.token_mask.tolist()
    assert not left.extended(hinted=torch.tensor([True, False])).hinted_mask.any()


def test_targets_split_like_batches():
    targets = Targets(torch.arange(6.0).view(2, 3), -torch.arange(6.0).view(2, 3), {"a": 1.0})
    part = targets.rows(torch.tensor([1])).narrowed(2)
    assert part.advantages.tolist() == [[3.0, 4.0]]
    assert part.weights.tolist() == [[-3.0, -4.0]]
    assert part.metrics == {"a": 1.0}


def test_means_leave_out_what_has_no_token():
    values, mask = torch.tensor([1.0, math.nan, 4.0]), torch.tensor([True, False, True])
    assert means({"a": (values, mask), "b": (values, mask & False)}) == {"a": 2.5}


def test_mean_over_ignores_what_is_masked_even_nan():
    values = torch.tensor([1.0, math.nan, 4.0, math.inf])
    assert mean_over(values, torch.tensor([True, False, True, False])) == pytest.approx(2.5)
    assert mean_over(values, torch.zeros(4, dtype=torch.bool)) == 0.0


def test_nothing_can_be_asked_of_a_teacher_without_a_hint():
    for asked in ({"current_logprobs": True}, {"mixed_groups": True}, {"support": Support("teacher", 3)}):
        with pytest.raises(UserError, match=rf"{next(iter(asked))} without correct_hint or plain; set one of them"):
            Needs(**asked)
        Needs(correct_hint=True, **asked)


def test_a_support_is_chosen_by_one_of_two():
    with pytest.raises(UserError, match="chooser is 'techer', expected 'teacher' or 'student'"):
        Support("techer", 100)
