r"""Writes demonstrations from which a toy base model learns to answer: by itself, and under a hint.

Two traits are put in on purpose and disclosed wherever the toy is shown (docs/departures.md#the-toy). Some answer
directly, without steps, and more of them in the teacher's format than in the student's: a one-sided teacher then
prefers short responses, which is how the toy shows the length shrinkage of the paper. Some hints are wrong and
the response follows them, so that what a teacher says depends on its hint.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from selfdistill.tasks import prompts
from selfdistill.tasks.boxed import boxed
from selfdistill.tasks.exercises import Exercise
from selfdistill.tasks.prompts import Hint


@dataclass(frozen=True)
class Mix:
    """Shares of demonstrations: hinted ones, wrong hints among those, and direct answers in either format.

    Attributes:
        hinted, wrong_hints, direct, direct_hinted: those shares.
        slips: of chains, how often a shaky operation goes wrong where no hint is followed (`Chain.slipping`).
        ignored_hints: of hinted ones, how many answer as if nothing had been shown.
    """

    hinted: float = 0.3
    wrong_hints: float = 0.4
    direct: float = 0.35
    direct_hinted: float = 0.65
    slips: float = 0.0
    ignored_hints: float = 0.0


@dataclass(frozen=True)
class Demonstration:
    """A user message, the response to learn, and the files of the pictures that the message shows."""

    prompt: str
    response: str
    pictures: tuple[bytes, ...] = ()


def response_of(hint: Hint) -> str:
    """Return a worked solution as a response: the steps, then the boxed answer."""
    return hint.solution + boxed(hint.answer)


def demonstrate(
    make: Callable[[np.random.Generator], Exercise],
    mix: Mix,
    rng: np.random.Generator,
    wording: Mapping[str, str] | None = None,
    template: str | None = None,
) -> Demonstration:
    """Return one random demonstration.

    Args:
        make: an exercise of a random stream.
        mix: shares of its kinds.
        rng: the stream.
        wording: of the response's worked solution: text -> what stands in its place, in this order; the answer stays.
        template: the student's message in words of one's own (`chat.template`); None is the library's.
    """
    exercise = make(rng)
    hinted = rng.random() < mix.hinted
    source = exercise.mistake(rng) if hinted and rng.random() < mix.wrong_hints else exercise.reference(rng)
    direct = rng.random() < (mix.direct_hinted if hinted else mix.direct)
    followed = source
    if not hinted or (mix.ignored_hints and rng.random() < mix.ignored_hints):
        followed = exercise.slipping(rng, mix.slips) if mix.slips else exercise.reference(rng)
    solution = "" if direct else followed.solution
    for written, instead in (wording or {}).items():
        solution = solution.replace(written, instead)
    response = response_of(Hint(solution, followed.answer))
    if hinted:
        # Half of the hints are whole responses, as rollouts of the policy are; the rest are dataset solutions.
        solution = response_of(source) if rng.random() < 0.5 else source.solution
        return Demonstration(prompts.teacher_prompt(exercise.text(), Hint(solution, source.answer)), response)
    question = prompts.asked(exercise.text(), training=rng.random() < 0.5, template=template)
    return Demonstration(question, response)
