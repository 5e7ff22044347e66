"""Declares what a grader returns for a response."""

from dataclasses import dataclass

from selfdistill.study.feedback_levels import DEFAULTS, check_level


@dataclass(frozen=True)
class Graded:
    """A grader's verdict.

    Attributes:
        answer: the final answer that was found in the response, or None without one.
        correct: whether it is right, which is what accuracy counts.
        score: from 0 to 1, for graders that know of halves (the share of tests that a program passes); where it is not
            given, 1 for a right answer and 0 for any other.
        feedback: what the environment says of a failure, or "".
        topic: what that is about, where two texts may be about one thing; the text itself where it is not given.
    """

    answer: str | None
    correct: bool
    score: float | None = None
    feedback: str = ""
    topic: str = ""

    def __post_init__(self) -> None:
        if self.score is None:
            object.__setattr__(self, "score", float(self.correct))
        # Feedback quotes what a program or a response says, and no file takes half a character.
        object.__setattr__(self, "feedback", self.feedback.encode("utf-8", "replace").decode())
        object.__setattr__(self, "topic", self.topic or self.feedback)

    @property
    def formatted(self) -> bool:
        """Returns whether an answer could be read at all."""
        return self.answer is not None


def feedback_level(given: str | None, grader: str) -> str:
    """Return the level of feedback that is asked for. Raises UserError where the grader has no such level."""
    check_level(grader, given, "grading.feedback")
    return DEFAULTS[grader] if given is None else given
