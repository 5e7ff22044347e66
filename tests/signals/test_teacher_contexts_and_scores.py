import pytest
import torch

from selfdistill.sampling.chat import encode_chat
from selfdistill.signals.hints import Assignment, HintSettings
from selfdistill.signals.scoring import ContextBuilder, TeacherContexts, score_contexts
from selfdistill.tasks.prompts import FRAMINGS, Hint, teacher_prompt

PROBLEM = "Start with 3, then add 4. What is the result modulo 10?"


def hinted(correct, *wrong):
    return Assignment(correct=correct, wrong=tuple(wrong))


def build(tokenizer, assignments, problems=None, **options):
    builder = ContextBuilder(tokenizer, HintSettings("self_rollout", **options))
    return builder.build(problems or [PROBLEM] * len(assignments), assignments)


# ---------------------------------------------------------------------------------------------------------- contexts


@pytest.mark.parametrize("framing", sorted(FRAMINGS))
@pytest.mark.parametrize("mode", ["solution_answer", "answer_only"])
def test_contexts_are_identical_but_for_the_hint(tokenizer, mode, framing):
    """Correct hints in ones, wrong ones in twos and fives: with the digits covered up, all contexts are one."""
    assignments = [hinted(Hint("1+1=1; " * 3, "1"), Hint("2+2=2; " * 3, "2"), Hint("5+5=5; " * 3, "5"))]
    contexts = build(tokenizer, assignments, mode=mode, framing=framing)
    digits = set(tokenizer.convert_tokens_to_ids(["1", "2", "5"]))
    every = [contexts.correct[0], *contexts.wrong[0]]
    assert len(set(map(tuple, every))) == 3
    covered = {tuple("digit" if i in digits else i for i in context) for context in every}
    assert len(covered) == 1


@pytest.mark.parametrize("mode", ["solution_answer", "answer_only"])
def test_a_context_is_the_teacher_prompt_in_the_chat_template(tokenizer, mode):
    hint = Hint("3+4=7. ", "7")
    contexts = build(tokenizer, [hinted(hint)], mode=mode, framing="terse")
    assert contexts.correct == [encode_chat(tokenizer, teacher_prompt(PROBLEM, hint, mode=mode, framing="terse"))]
    assert contexts.wrong == [[]]
    assert contexts.truncated_share == 0


def test_rows_without_hints_have_no_context(tokenizer):
    contexts = build(tokenizer, [Assignment(reason="lone_correct"), hinted(Hint("1", "1"), Hint("2", "2"))])
    assert contexts.correct[0] is None
    assert contexts.wrong[0] == []
    assert len(contexts.wrong[1]) == 1


def test_each_row_reads_its_own_problem(tokenizer):
    other = "Start with 9, then add 4. What is the result modulo 10?"
    hint = Hint("1+1=2. ", "2")
    contexts = build(tokenizer, [hinted(hint), hinted(hint)], [PROBLEM, other])
    assert contexts.correct == [encode_chat(tokenizer, teacher_prompt(p, hint)) for p in (PROBLEM, other)]
    with pytest.raises(ValueError, match="zip"):
        build(tokenizer, [hinted(hint)], [PROBLEM, other])


@pytest.mark.parametrize("budget", [1, 5, 11])
def test_truncation_takes_the_beginning_of_the_hint_and_nothing_of_the_template(tokenizer, budget):
    """The same budget for correct and wrong hints."""
    right, wrong = Hint("123456789012", "7"), Hint("987654321098", "8")
    contexts = build(tokenizer, [hinted(right, wrong)], max_tokens=budget)
    for context, hint in ((contexts.correct[0], right), (contexts.wrong[0][0], wrong)):
        kept = Hint(hint.solution[len(hint.solution) - (budget - 1) :], hint.answer)  # the answer takes one token
        assert context == encode_chat(tokenizer, teacher_prompt(PROBLEM, kept))
    template = len(ContextBuilder(tokenizer, HintSettings()).template_ids())
    problem = len(tokenizer(PROBLEM).input_ids)
    assert len(contexts.correct[0]) == template + problem + budget
    assert contexts.truncated_share == 1


def test_a_hint_of_just_the_budget_is_whole(tokenizer):
    contexts = build(tokenizer, [hinted(Hint("1234", "4"), Hint("12345", "5"))], max_tokens=5)
    assert contexts.correct[0] == encode_chat(tokenizer, teacher_prompt(PROBLEM, Hint("1234", "4")))
    assert contexts.truncated_share == 0.5


def test_what_truncation_leaves_is_the_end_of_the_text_itself(tokenizer):
    """Characters that the vocabulary lacks are neither dropped nor rewritten in what is kept."""
    solution = "1234é5?67"
    for budget, kept in ((6, "4é5?67"), (5, "é5?67"), (3, "?67"), (1, "7")):
        context = build(tokenizer, [hinted(Hint(solution, "7"))], max_tokens=budget + 1).correct[0]
        assert context == encode_chat(tokenizer, teacher_prompt(PROBLEM, Hint(kept, "7")))


def test_a_solution_that_is_not_shown_cannot_be_truncated(tokenizer):
    contexts = build(tokenizer, [hinted(Hint("123456", "6"), Hint("654321", "1"))], mode="answer_only", max_tokens=2)
    assert contexts.truncated_share == 0


def test_an_overlong_answer_keeps_to_the_budget_too(tokenizer):
    """A wrong rollout can box anything, up to its whole length."""
    for mode in ("solution_answer", "answer_only"):
        contexts = build(tokenizer, [hinted(Hint("123", "9876543210"))], mode=mode, max_tokens=4)
        kept = teacher_prompt(PROBLEM, Hint("", "9876"), mode=mode)
        assert contexts.correct[0] == encode_chat(tokenizer, kept)
        assert contexts.truncated_share == 1


def test_control_tokens_spelt_out_in_a_hint_do_not_reach_the_template(tokenizer):
    end = tokenizer.eos_token
    contexts = build(tokenizer, [hinted(Hint(f"12{end}3", f"3{end}"))])
    assert contexts.correct[0] == encode_chat(tokenizer, teacher_prompt(PROBLEM, Hint("123", "3")))


def test_the_template_alone(tokenizer):
    ids = ContextBuilder(tokenizer, HintSettings()).template_ids()
    assert ids == encode_chat(tokenizer, teacher_prompt("", Hint("", "")))


# ------------------------------------------------------------------------------------------------------------ scores

PAD = 0
CONTEXTS = TeacherContexts(
    correct=[[5, 6, 7], [8, 9, 10, 11, 12, 13], None, [20]],
    wrong=[[[30, 31], [32, 33, 34, 35]], [[40]], [], [[50, 51], [52], [53, 54, 55]]],
    truncated_share=0.0,
)
RESPONSES = [[21, PAD, 22, 23], [24], [25, 26], [PAD, 27, 28, PAD, PAD, 29]]


def one_forward(model, context, response, temperature=1.0):
    """Log-probs of a response, one at a time, from a forward of this row alone."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*context, *response]])).logits[0].double() / temperature
    before = len(context)
    return torch.stack([logits[before + t - 1].softmax(-1)[token].log() for t, token in enumerate(response)])


def forwarded_rows(model, call):
    rows = []
    hook = model.register_forward_pre_hook(lambda m, a, k: rows.extend(k["input_ids"].tolist()), with_kwargs=True)
    try:
        return call(), rows
    finally:
        hook.remove()


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.5])
@pytest.mark.parametrize("budget", [1, 30, 10**6])
def test_scores_are_those_of_single_forwards(model, budget, temperature):
    """Ragged hints, a row without any, pad tokens inside responses."""
    scores = score_contexts(model, CONTEXTS, RESPONSES, 8, budget, temperature)
    assert scores.correct_logprobs.shape == (4, 8)
    assert scores.wrong_logprobs.shape == (4, 3, 8)
    assert scores.hinted.tolist() == [True, True, False, True]
    assert scores.wrong_mask.tolist() == [[True, True, False], [True, False, False], [False] * 3, [True] * 3]
    filled = torch.zeros(4, 8, dtype=torch.bool)
    for i, response in enumerate(RESPONSES):
        found = [(CONTEXTS.correct[i], scores.correct_logprobs[i])] if scores.hinted[i] else []
        found += list(zip(CONTEXTS.wrong[i], scores.wrong_logprobs[i], strict=False))
        for context, logprobs in found:
            expected = one_forward(model, context, response, temperature)
            torch.testing.assert_close(logprobs[: len(response)].double(), expected, rtol=0, atol=1e-5)
            filled[i, : len(response)] = True
    assert not scores.correct_logprobs[~filled].any()
    assert not scores.wrong_logprobs[~scores.wrong_mask].any()
    assert not scores.wrong_logprobs.transpose(1, 2)[~filled].any()
    assert not scores.correct_logprobs.requires_grad


def test_shifting_a_target_by_one_token_changes_the_result(model):
    """Were a row read one column off, the comparison above would see it."""
    scores = score_contexts(model, CONTEXTS, RESPONSES, 8, 10**6)
    for i in (0, 3):
        response, context = RESPONSES[i], CONTEXTS.correct[i]
        shifted = one_forward(model, [*context, response[0]], [*response[1:], 4])
        assert (scores.correct_logprobs[i, : len(response)].double() - shifted).abs().max() > 1e-2
        later = one_forward(model, context, [4, *response])[1:]
        assert (scores.correct_logprobs[i, : len(response)].double() - later).abs().max() > 1e-2


def test_a_row_does_not_depend_on_its_neighbours(model):
    scores = score_contexts(model, CONTEXTS, RESPONSES, 8, 10**6)
    for i in range(4):
        row = TeacherContexts(CONTEXTS.correct[i : i + 1], CONTEXTS.wrong[i : i + 1], 0.0)
        alone = score_contexts(model, row, RESPONSES[i : i + 1], 8, 10**6)
        torch.testing.assert_close(alone.correct_logprobs[0], scores.correct_logprobs[i], rtol=0, atol=1e-5)
        slots = alone.wrong_logprobs.shape[1]
        torch.testing.assert_close(alone.wrong_logprobs[0], scores.wrong_logprobs[i, :slots], rtol=0, atol=1e-5)


def test_nothing_is_scored_twice(model):
    """A context that serves two slots of a row, or two equal responses, is forwarded once; another response is not."""
    contexts = TeacherContexts(
        correct=[[5, 6], [5, 6], [5, 6], None],
        wrong=[[[7], [7], [5, 6]], [[7]], [[7]], []],
        truncated_share=0.0,
    )
    responses = [[20, 21], [20, 21], [22], [23]]
    scores, rows = forwarded_rows(model, lambda: score_contexts(model, contexts, responses, 2, 10**6))
    assert len(rows) == 4
    assert scores.tokens_forwarded == 4 + 3 + 3 + 2
    assert torch.equal(scores.wrong_logprobs[0, 0], scores.wrong_logprobs[0, 1])
    assert torch.equal(scores.wrong_logprobs[0, 2], scores.correct_logprobs[0])
    assert torch.equal(scores.correct_logprobs[0], scores.correct_logprobs[1])
    expected = one_forward(model, [5, 6], [22])
    torch.testing.assert_close(scores.correct_logprobs[2, :1].double(), expected, rtol=0, atol=1e-5)


def test_without_any_hint_nothing_is_forwarded(model):
    contexts = TeacherContexts([None, None], [[], []], 0.0)
    scores, rows = forwarded_rows(model, lambda: score_contexts(model, contexts, [[4], [5, 6]], 2, 100))
    assert not rows
    assert scores.correct_logprobs.shape == (2, 2)
    assert scores.wrong_logprobs.shape == (2, 0, 2)
    assert not scores.hinted.any()
    assert scores.tokens_forwarded == 0


def test_contexts_without_wrong_hints_leave_no_slots(model):
    contexts = TeacherContexts([[5], [6, 7]], [[], []], 0.0)
    scores = score_contexts(model, contexts, [[8], [9, 10]], 2, 100)
    assert scores.wrong_logprobs.shape == (2, 0, 2)
    assert scores.wrong_mask.shape == (2, 0)
    assert scores.hinted.all()
