"""Official SDPO in the local trainer: feedback from the grader to the record, its teacher's clock."""

from dataclasses import replace

import pytest
import torch
from registered_methods import coin, registered

from selfdistill.tasks.boxed import last_boxed
from selfdistill.tasks.graders import Graded
from selfdistill.training.step_hints import step_candidates


def told(response, problem):
    """Of the first problem nothing is ever right; what is wrong is said, but for responses of even length."""
    right = problem.index != 0 and coin(response, problem).correct
    said = "" if right or len(response) % 2 == 0 else f"{last_boxed(response)} is not {problem.answer}. "
    return Graded(last_boxed(response), right, feedback=said)


def parameters(model):
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("when", ["never", "only_without_solution", "always"])
def test_feedback_reaches_teacher_metrics_and_records(make, when):
    trainer = make(told, **registered("sdpo_official", hints={"feedback": when}, rollout={"group_size": 8}))
    rollouts = trainer.roll_out(1)
    rewards = torch.tensor(rollouts.correct).float()
    assignments, contexts, _ = trainer.training_step.hinted(rollouts, rewards, 1)
    metrics = trainer.step(1)
    said = [bool(text) for text in rollouts.feedback]
    available = sum(said) / len(said)
    read = [bool(a.hinted and a.correct.feedback) for a in assignments]
    assert metrics["hints/feedback_available_share"] == (0 if when == "never" else available)
    assert metrics["hints/feedback_used_share"] == sum(read) / len(read)
    assert metrics["hints/hinted_share"] == sum(c is not None for c in contexts.correct) / len(read)
    assert metrics["hints/success_groups_share"] < 1
    if when == "always":
        assert read == said
    elif when == "only_without_solution":
        lent = [bool(a.hinted and a.correct.solution is not None) for a in assignments]
        assert read == [s and not has for s, has in zip(said, lent, strict=True)]
        assert any(read)
        assert any(lent)
    for row in trainer.recorded:
        place = row["prompt"] * 8 + row["rollout"]
        assert row["feedback"] == rollouts.feedback[place]
        assert row.get("correct_feedback") == (rollouts.feedback[place] if read[place] else None)
        assert trainer.tokenizer.decode(contexts.correct[place]) == row["context"]
        assert row["problem"] in row["context"]


def test_shuffled_feedback_is_not_of_the_same_problem_asked_twice(make):
    trainer = make(told, **registered("sdpo_official", hints={"feedback": "always", "shuffle_feedback": True}))
    rollouts = trainer.roll_out(1)
    said = [f"said {row}" for row in range(len(rollouts.texts))]
    for distinct in (1, 2):
        problems = [rollouts.problems[0], *[rollouts.problems[-1]] * (distinct - 1)]
        size = len(said) // 4
        asked = [problems[row // size % distinct] for row in range(len(said))]  # four prompts, one or two problems
        told_of = replace(rollouts, problems=asked, feedback=said, topics=None)
        groups = step_candidates(told_of, torch.zeros(len(said)), trainer.training_step.settings, 1)
        drawn = [candidate.feedback for group in groups for candidate in group]
        assert all(text == "" or asked[said.index(text)] != own for text, own in zip(drawn, asked, strict=True))
        assert any(drawn) == (distinct == 2)


def test_feedback_would_tell_what_permuted_rewards_hide(make):
    trainer = make(told, **registered("sdpo_official", hints={"feedback": "always"}, reward={"shuffle": True}))
    metrics = trainer.step(1)
    assert (metrics["hints/feedback_available_share"], metrics["hints/feedback_used_share"]) == (0, 0)
    assert metrics["hints/solution_share"] > 0


def test_a_step_in_which_nobody_has_a_context_moves_nothing(make):
    def silent(response, problem):
        return Graded(last_boxed(response), False)

    trainer = make(silent, **registered("sdpo_official"))
    before = parameters(trainer.model)
    metrics = trainer.step(1)
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))
    assert metrics["actor/skipped_updates"] == 2
    assert metrics["hints/all_wrong_share"] == 1


@pytest.mark.parametrize("updates", [1, 4])
def test_the_average_takes_its_rate_of_the_student_once_a_step(make, updates):
    changes = {"update": {"prompts_per_update": 4 // updates}, "optimizer": {"learning_rate": 1e-3}}
    trainer = make(coin, **registered("sdpo_official", **changes))
    initial = parameters(trainer.model)
    teacher = trainer._engine._teacher
    assert all(torch.equal(a, b) for a, b in zip(initial, teacher.model.parameters(), strict=True))
    expected = initial
    for number in (1, 2):
        trainer.step(number)
        expected = [0.95 * a + 0.05 * b for a, b in zip(expected, parameters(trainer.model), strict=True)]
    for own, mean in zip(teacher.model.parameters(), expected, strict=True):
        torch.testing.assert_close(own, mean, rtol=0, atol=1e-7)
    assert any((own - first).abs().max() > 1e-5 for own, first in zip(teacher.model.parameters(), initial, strict=True))
