"""Generates problems by kind, on the training or the evaluation side of a hash split.

The split is decided by a problem's hash alone. Warm start, training and evaluation all ask here, so no problem can be
seen in training and asked in evaluation, in whatever order, number or place problems are generated.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from selfdistill.errors import UserError
from selfdistill.tasks import (
    arithmetic,
    cells,
    chain_critique,
    chain_feedback,
    critic_prompts,
    earlier_attempts,
    knights,
    program_grader,
    programs,
    sums,
    wrong_facts,
)
from selfdistill.tasks.contexts import CRITIQUE, SECTIONS
from selfdistill.tasks.prompts import Hint

EVALUATION_SHARE = 0.2


class Exercise(Protocol):
    """A generated problem with its solution: a chain or a puzzle."""

    @property
    def answer(self) -> str:
        """Returns the right answer, as it stands in the box."""

    @property
    def canonical(self) -> str:
        """Returns what makes two exercises the same problem; puzzles that differ in names only agree."""

    def text(self) -> str:
        """Return the question, as the student reads it."""

    def reference(self, rng: np.random.Generator) -> Hint:
        """Return a right worked solution."""

    def mistake(self, rng: np.random.Generator) -> Hint:
        """Return a wrong worked solution, with its answer."""


class HalvedExercise(Exercise, Protocol):
    """An exercise whose answer is a list of tests, half of which may be held back."""

    @property
    def searched_answer(self) -> str:
        """Returns the half that is not held back."""


#: (rng, size) -> exercise; a size is the number of operations of a chain, of people of a puzzle, of digits of a sum, of
#: moves of a walk (none: the colour of one cell). Counting cells has one size.
Maker = Callable[[np.random.Generator, int], Exercise]


class Kind(NamedTuple):
    """A kind of exercise.

    Attributes:
        make: its generator.
        ability: the dataset schema's word for it.
        sizes: those that it can have.
        phrases: what the toy's tokenizer keeps whole for it, behind its other tokens.
        pictures: whether its exercises have `pictures`, the files that a question shows at its marks.
        halved: whether its exercises have tests of which a training set holds half (`HalvedExercise`): it then asks the
            questions of the benchmarks, as SDPO's LiveCodeBench does (arXiv 2601.20802).
    """

    make: Maker
    ability: str
    sizes: range
    phrases: Sequence[str] = ()
    pictures: bool = False
    halved: bool = False


_OF_CHAINS = (*SECTIONS.phrases, *chain_feedback.PHRASES)
_OF_CRITIQUES = (*CRITIQUE.phrases, *critic_prompts.PHRASES, *chain_critique.PHRASES)
_OF_PROGRAMS = tuple(  # two of these ask in the same words
    dict.fromkeys((*SECTIONS.phrases, *earlier_attempts.PHRASES, *programs.PHRASES, *program_grader.PHRASES))
)

_KINDS = {
    "arithmetic": Kind(arithmetic.generate, "math", range(1, 1001)),
    "knights": Kind(knights.generate, "logic", range(2, len(knights.NAMES) + 1)),
    "sums": Kind(sums.generate, "math", range(1, 3)),
    "wrong_facts": Kind(wrong_facts.generate, "math", range(2, 21), _OF_CHAINS),
    "programs": Kind(programs.generate, "code", range(1, 6), _OF_PROGRAMS, halved=True),
    "clean_facts": Kind(wrong_facts.generate_clean, "math", range(2, 21), _OF_CHAINS),
    # Chains as of arithmetic; a warm start on them shows critiques, read or written.
    "critiqued": Kind(arithmetic.generate, "math", range(1, 1001), _OF_CRITIQUES),
    "critic": Kind(arithmetic.generate, "math", range(1, 1001), _OF_CRITIQUES),
    "cells": Kind(cells.generate, "vision", range(21), cells.PHRASES, pictures=True),
    "cell_count": Kind(cells.generate_count, "vision", range(1, 2), cells.PHRASES, pictures=True),
}


def exercise_kind(name: str) -> Kind:
    """Return the kind of that name. Raises UserError for an unknown one."""
    if name not in _KINDS:
        raise UserError(f"unknown exercise {name!r}: a generator's exercise must be one of {', '.join(_KINDS)}")
    return _KINDS[name]


def is_training(exercise: Exercise) -> bool:
    """Returns whether an exercise may be trained on; the others are for evaluation."""
    digest = hashlib.sha256(exercise.canonical.encode()).digest()
    return int.from_bytes(digest[:8], "big") >= EVALUATION_SHARE * 2**64
