"""Asks the critic about a step's graded rollouts, but not about those whose teacher no loss reads."""

from collections.abc import Sequence

from torch import Tensor

from selfdistill.critics.request import Request
from selfdistill.critics.step_critiques import CritiquedSteps, StepCritiques
from selfdistill.objectives.methods import Method, rows_read
from selfdistill.training.rollouts import StepRollouts


def step_critiques(
    critic: CritiquedSteps, rollouts: StepRollouts, advantages: Tensor, method: Method, number: int
) -> StepCritiques:
    """Ask a critic about the rollouts of a step.

    Args:
        critic: of the run.
        rollouts: of the step.
        advantages: (B,) of the rollouts.
        method: says whose teacher is read (`rows_read`).
        number: of the step.

    Raises:
        UserError: as `CritiquedSteps.of_step`.
    """
    read = rows_read(method, advantages, number).tolist()
    unread = [_unread(bool(reads), float(a)) for reads, a in zip(read, advantages, strict=True)]
    return critic.of_step(number, requests_of(rollouts), unread)


def requests_of(rollouts: StepRollouts) -> list[Request]:
    """Return the rollouts of a step as a critic reads them."""
    count = len(rollouts.responses)
    scores: Sequence[float | None] = [None] * count if rollouts.scores is None else rollouts.scores
    columns = (rollouts.problems, rollouts.texts, map(bool, rollouts.correct), scores, map(bool, rollouts.truncated))
    return [Request(*row) for row in zip(*columns, strict=True)]


def _unread(read: bool, advantage: float) -> str | None:
    if read:
        return None
    return "zero_advantage" if advantage == 0 else "not_read"
