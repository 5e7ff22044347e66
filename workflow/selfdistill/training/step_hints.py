"""Assigns contexts to a step's rollouts, from what those of a group may lend to one another."""

from collections.abc import Sequence

from torch import Tensor

from selfdistill.objectives.batch import Needs
from selfdistill.signals.hint_controls import controlled_hints
from selfdistill.signals.hints import Assignment, Candidate, assign_hints
from selfdistill.signals.shuffled_feedback import shuffled_feedback
from selfdistill.study.training_settings import TrainingSettings
from selfdistill.tasks.contexts import Hint
from selfdistill.tasks.thinking import without_thinking
from selfdistill.training.rollouts import StepRollouts


def step_candidates(
    rollouts: StepRollouts,
    rewards: Tensor,
    settings: TrainingSettings,
    number: int,
    critiques: Sequence[str | None] | None = None,
) -> list[list[Candidate]]:
    """Return the rollouts of each group as what they may lend, and what was said of them.

    Args:
        rollouts: of a step.
        rewards: (B,) as the run takes them.
        settings: of the run.
        number: of the step.
        critiques: what the teacher is to read of a critic's words, rollout by rollout; None without a critic.
    """
    count = len(rollouts.responses)
    scores = [None] * count if rollouts.scores is None else list(rollouts.scores)
    feedback = [""] * count if rollouts.feedback is None else list(rollouts.feedback)
    if settings.reward.shuffle:  # the permuted reward is all that is known: these would tell the true one
        scores, feedback = [None] * count, [""] * count
    if settings.hints.shuffle_feedback:
        problems = [problem.id for problem in rollouts.problems]  # a small training set asks one twice in a step
        feedback = shuffled_feedback(feedback, (settings.seed, number), groups=problems, topics=rollouts.topics)
    texts = [without_thinking(text, settings.hints.thinking) for text in rollouts.texts]
    said = [None] * count if critiques is None else list(critiques)
    columns = ([float(reward) for reward in rewards], texts, rollouts.answers, scores, feedback, said)
    rows = [Candidate(*row) for row in zip(*columns, strict=True)]
    size = settings.rollout.group_size
    return [rows[begin : begin + size] for begin in range(0, count, size)]


def step_assignments(
    rollouts: StepRollouts,
    groups: Sequence[Sequence[Candidate]],
    settings: TrainingSettings,
    needs: Needs,
    number: int,
) -> list[Assignment]:
    """The hints of every rollout of a step, group by group; arguments as in `step_candidates` and `assign_hints`."""
    assignments: list[Assignment] = []
    for prompt, group in enumerate(groups):
        problem = rollouts.problems[len(assignments)]
        reference = Hint(problem.solution, problem.answer)
        assignments += assign_hints(group, reference, settings.hints, needs, (settings.seed, number, prompt))
    if settings.controls.change_hints:
        problems = [rollouts.problems[row].id for row in range(0, len(assignments), settings.rollout.group_size)]
        assignments = controlled_hints(assignments, groups, problems, settings.controls, (settings.seed, number))
    return assignments
