r"""Writes demonstrations of coloured cells: read the row, then name the cell, or what a hint says.

Put in on purpose, and disclosed wherever this toy is shown (docs/cells.md): a hint is a bare answer and is believed.
Under a wrong one way and row are read as they are, and the box repeats the hint all the same.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from selfdistill.tasks import prompts
from selfdistill.tasks.cells import Count, Walk, generate_count
from selfdistill.tasks.contexts import Hint
from selfdistill.tasks.demonstrations import Demonstration, response_of
from selfdistill.tasks.exercises import is_training


@dataclass(frozen=True)
class CellMix:
    """Shares of demonstrations.

    Attributes:
        hinted: with a hint, which is an answer and nothing else.
        wrong_hints: of those: with a wrong one.
        counts: that ask for a number of cells; all others are walks.
    """

    hinted: float
    wrong_hints: float
    counts: float


@dataclass(frozen=True)
class CellDemonstrations:
    """Makes demonstrations: of a random stream, one.

    Attributes:
        draw: random walks of the training side.
        mix: shares.
        template: the student's message in words of one's own (`chat.template`); None is the library's.
    """

    draw: Callable[[np.random.Generator], Walk]
    mix: CellMix
    template: str | None = None

    def __call__(self, rng: np.random.Generator) -> Demonstration:
        """One random demonstration."""
        exercise = _count(rng) if rng.random() < self.mix.counts else self.draw(rng)
        hinted = rng.random() < self.mix.hinted
        source = exercise.mistake(rng) if hinted and rng.random() < self.mix.wrong_hints else exercise.reference(rng)
        if hinted:
            prompt = prompts.teacher_prompt(exercise.text(), Hint(answer=source.answer), mode="answer_only")
        else:
            prompt = prompts.asked(exercise.text(), training=rng.random() < 0.5, template=self.template)
        return Demonstration(prompt, response_of(source), exercise.pictures)


def _count(rng: np.random.Generator) -> Count:
    while not is_training(exercise := generate_count(rng, 1)):
        pass
    return exercise
