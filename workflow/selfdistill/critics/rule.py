"""Implements critics without a model: the bare verdict, the dataset's solution, and a toy task's own rule."""

from collections.abc import Callable, Sequence

from selfdistill.critics.findings import written
from selfdistill.critics.request import Critique, Request
from selfdistill.study.critic_settings import CriticSettings
from selfdistill.study.critique_modes import FIXED
from selfdistill.tasks import chain_critique
from selfdistill.tasks.boxed import last_boxed
from selfdistill.tasks.chain_feedback import WRONG
from selfdistill.tasks.contexts import Hint
from selfdistill.tasks.demonstrations import response_of

#: What praise is without a critic's words.
RIGHT = "The final answer is right."
#: Critiques that hold the right answer on purpose.
_TELLING = ("gold", "answer")


class RuleCritic:
    """A function of the task; it writes in no time and never fails."""

    def __init__(self, settings: CriticSettings, grader: str):
        """Take a mode of `study.critique_modes`.

        Args:
            settings: of the run; the mode must be one of the grader's (CriticSettings.check).
            grader: of the task.
        """
        self._mode, self._grader = settings.mode, grader

    @property
    def identity(self) -> str:
        """Says which rule answers and in which mode, for the cache's keys."""
        return f"rule {self._grader} {self._mode}"

    def critiques(
        self, requests: Sequence[Request], arrived: Callable[[int, Critique], None] = lambda number, critique: None
    ) -> list[Critique]:
        """Write what the rule says of each request. Raises UserError where it cannot read a problem."""
        found = []
        for number, request in enumerate(requests):
            text = self._text(request)
            told = {"tokens": len(text.split()), "seconds": 0.0, "truncated": False}
            found.append(written(request, text, shown_gold=self._mode in _TELLING, **told))
            arrived(number, found[-1])
        return found

    def _text(self, request: Request) -> str:
        if self._mode in FIXED:
            if request.correct:
                return RIGHT
            return WRONG if self._mode == "verdict" else solution_of(request)
        return chain_critique.critique(request.problem, request.response, self._mode, truncated=request.truncated)


def solution_of(request: Request) -> str:
    """The dataset's solution as a response, with its answer in a box; the boxed answer alone where it has none."""
    problem = request.problem
    if last_boxed(problem.solution) is not None:
        return problem.solution
    solution = "" if problem.solution.strip() == problem.answer.strip() else problem.solution
    return response_of(Hint(solution, problem.answer))
