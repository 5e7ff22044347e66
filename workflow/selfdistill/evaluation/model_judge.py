"""Asks a model at an address whether responses say what their references say: the second grader `judge`.

It reads question, reference and response, and no picture. Its verdicts stand beside those of the task's own grader and
decide nothing; they are another model's, and as good as that is.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from selfdistill.critics.prompts import without_turns
from selfdistill.critics.request import Critique, Request
from selfdistill.critics.server import ServerCritic
from selfdistill.errors import UserError
from selfdistill.study.critic_settings import CriticSettings
from selfdistill.tasks.schema import Problem

#: As `tasks.<name>.second_grader` calls it.
JUDGE = "judge"
_QUESTION = """You compare the final answer of a response with a reference answer. The question may be about a picture,
which you are not shown and do not need.

Question:
{problem}

Reference answer:
{answer}

Response:
=== Response begins ===
{response}
=== Response ends ===

Only the final answer counts, not how it was found. It is right if it means what the reference means: the same option,
number or text, however it is written. Do not answer the question yourself.
End with the line "Verdict: right" or "Verdict: wrong"."""
_END = 4000  # characters of a response that are shown, its last ones
#: Failures that say nothing of a response; with a larger share of them nobody is asked any more.
_LATER, _MOST_LOST = ("unreachable", "timeout"), 0.2


class _Question:
    """Holds what the judge is asked: a `critics.prompts.Question`."""

    shown_gold = True
    decides = (JUDGE, _QUESTION, _END)

    @staticmethod
    def message(request: Request) -> str:
        problem, response = request.problem, without_turns(request.response[-_END:]).strip("\n")
        return _QUESTION.format(problem=problem.problem.rstrip(), answer=problem.answer, response=response)


class ModelJudge:
    """A judge at an address (`tasks.<name>.judge`)."""

    def __init__(self, settings: Mapping[str, Any]):
        """Send nothing yet.

        Args:
            settings: url, model, and maybe key_variable, max_tokens, thinking, timeout and in_flight, each as
                `critic` has it.

        Raises:
            UserError: as `ServerCritic`.
        """
        how = CriticSettings(**{"kind": "server", "thinking": None, "send_rollouts": True, **settings})
        self._where = f"judge.url {how.url}"
        self._server = ServerCritic(how, url=how.url, model=how.model, asking=_Question(), where=JUDGE)

    def verdicts(
        self, responses: Sequence[str], problems: Sequence[Problem], report: Callable[[str], None]
    ) -> list[bool | None]:
        """Return whether it calls each response right; one of which it says nothing, or refuses to, is not.

        Nothing is lost where it cannot be reached any more, or too seldom to go on asking: responses that it did not
        judge have None.

        Args:
            responses, problems: row by row. An empty response is wrong, and nobody is asked.
            report: takes one line, where there are answers without a verdict.
        """
        rows = [row for row, response in enumerate(responses) if response.strip()]
        answers: dict[int, Critique] = {}

        def arrived(number: int, answer: Critique) -> None:
            answers[rows[number]] = answer
            lost = [each for each in answers.values() if each.reason in _LATER]
            if len(lost) > _MOST_LOST * len(rows):
                raise UserError(f"{self._where}: {lost[0].reason}: {lost[0].detail}")

        try:
            self._server.critiques([Request(problems[row], responses[row]) for row in rows], arrived)
        except UserError as error:
            report(f"judge: asked no further ({error})")
        judged = {row: answer for row, answer in answers.items() if answer.reason not in _LATER}
        if len(judged) < len(rows):
            report(f"judge: {len(rows) - len(judged)} of {len(rows)} responses were not judged, and have no verdict")
        if silent := Counter(each.reason for each in judged.values() if not each.verdict):
            told = ", ".join(f"{count} {reason}" for reason, count in silent.items())
            report(
                f"judge: no verdict on {sum(silent.values())} of {len(rows)} responses ({told}), which count as wrong"
            )
        found: list[bool | None] = [False] * len(responses)
        for row in rows:
            found[row] = judged[row].verdict == "right" if row in judged else None
        return found

    def try_out(self, problem: Problem) -> None:
        """Ask once, before anything is drawn. Raises UserError where nobody answers."""
        [answer] = self._server.critiques([Request(problem, f"\\boxed{{{problem.answer}}}")])
        if answer.reason in _LATER:
            raise UserError(
                f"{self._where}: does not answer ({answer.reason}: {answer.detail}); see that it does, and start "
                "again, or leave second_grader out"
            )
