"""Writes demonstrations of programs on digits: two pairs shown by the question, more by feedback.

Every response is the program that made the question, so the model learns to draw a program of which all that it is told
is true, as far as so small a model can; it is shown functions of the training side of the hash split only.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from selfdistill.tasks import prompts
from selfdistill.tasks.contexts import SECTIONS, Hint, Message
from selfdistill.tasks.demonstrations import Demonstration
from selfdistill.tasks.earlier_attempts import follow_up
from selfdistill.tasks.program_grader import failed_test
from selfdistill.tasks.programs import DIGITS, SHOWN, Pair, Programming


@dataclass(frozen=True)
class ProgramMix:
    """Shares of demonstrations.

    Attributes:
        feedback: that show what a teacher reads: feedback on one attempt.
        dialogue: that show feedback on earlier attempts, as a dialogue asks. All others show the question alone.
        longest: the most attempts of a dialogue; from one to so many, each as often.
    """

    feedback: float
    dialogue: float
    longest: int


@dataclass(frozen=True)
class ProgramDemonstrations:
    """Makes demonstrations: of a random stream, one.

    Attributes:
        draw: random questions of the training side.
        mix: shares.
        template: the student's message in words of one's own (`chat.template`); None is the library's.
    """

    draw: Callable[[np.random.Generator], Programming]
    mix: ProgramMix
    template: str | None = None

    def __call__(self, rng: np.random.Generator) -> Demonstration:
        """One random demonstration."""
        exercise, kind = self.draw(rng), rng.random()
        response = exercise.reference(rng).solution or ""
        asked = prompts.asked(exercise.text(), training=rng.random() < 0.5, template=self.template)
        if kind < self.mix.feedback:
            hint = Hint(feedback=self._drawn_feedback(rng, exercise.pairs))
            return Demonstration(SECTIONS.prompt(asked, exercise.text(), hint), response)
        if kind < self.mix.feedback + self.mix.dialogue:
            turns = int(rng.integers(1, self.mix.longest + 1))
            attempts = [("", self._drawn_feedback(rng, exercise.pairs)) for _ in range(turns)]
            return Demonstration(follow_up([Message("user", asked)], attempts)[-1].content, response)
        return Demonstration(asked, response)

    def _drawn_feedback(self, rng: np.random.Generator, pairs: list[Pair]) -> str:
        """Feedback on some attempt: mostly about a test that the question does not show."""
        shown = rng.random() < 0.2
        pair = pairs[int(rng.integers(SHOWN))] if shown else pairs[int(rng.integers(SHOWN, DIGITS))]
        wrong = (pair.result + int(rng.integers(1, DIGITS))) % DIGITS
        return failed_test(pair, wrong)
