"""Counts skipped updates, words them for progress lines, and ends a run that has only such."""

from collections.abc import Iterable, Mapping
from typing import Any

from selfdistill.errors import UserError
from selfdistill.runs.metrics import NONFINITE, SKIPPED

#: It is in the metrics of a step that made at least one update.
_MADE = "actor/grad_norm"
#: Steps in a row, all of whose updates were not finite, after which a run is given up before its end.
PATIENCE = 10


class UpdateWatch:
    """Ends a run whose updates are not finite (NaN or infinity in the gradient) from some step on for good.

    Such an update is skipped, and one alone is no reason to end: the next batch may be in order. A run is given up
    after PATIENCE steps whose updates were all not finite, and at its end where it could publish nothing but the
    weights of an earlier step: where its last two updates or more were not finite, or where it made no update at all
    and one or more were not finite. Steps without any update to be made (no token carried a loss) say nothing.
    """

    def __init__(self, before: Iterable[Mapping[str, Any]] = ()):
        """`before`: metrics of the steps up to the checkpoint that a run goes on from, so that it ends as otherwise."""
        self._first: int | None = None  # the first step since the last update that was made
        self._last, self._steps, self._updates, self._any_made = 0, 0, 0, False
        for metrics in before:
            self._count(metrics["step"], metrics)

    def see(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Count a training step. Raises UserError where the run is to be given up."""
        self._count(step, metrics)
        if self._steps >= PATIENCE:
            raise self._error()

    def finish(self) -> None:
        """Raises UserError where the run has learned nothing from some step on to its end."""
        if self._updates > 1 or (self._updates and not self._any_made):
            raise self._error()

    def _count(self, step: int, metrics: Mapping[str, Any]) -> None:
        if metrics.get(_MADE) is not None:
            self._first, self._steps, self._updates, self._any_made = None, 0, 0, True
        elif nonfinite := metrics.get(NONFINITE):
            self._first = step if self._first is None else self._first
            self._last, self._steps, self._updates = step, self._steps + 1, self._updates + int(nonfinite)

    def _error(self) -> UserError:
        return UserError(
            f"step {self._first}: from here on no update was finite ({self._updates} in a row, to step {self._last}), "
            "so the run learned nothing more and is not published; lower optimizer.learning_rate, or look for what "
            "makes the loss overflow (objective, base model): started again as it is, it ends alike"
        )


def skipped_text(metrics: Mapping[str, Any]) -> str:
    """Returns what a line of progress says of updates that a step skipped; nothing where it made all of them."""
    skipped, nonfinite = int(metrics.get(SKIPPED) or 0), int(metrics.get(NONFINITE) or 0)
    if not skipped:
        return ""
    text = f"skipped {skipped} {'update' if skipped == 1 else 'updates'}"
    return f"{text} ({nonfinite} not finite)" if nonfinite else text
