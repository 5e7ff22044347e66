"""Generated problems: their kinds, and the side of the training/evaluation split on which each falls.

The split is decided by a problem's hash alone. Warm start, training and evaluation all ask here, so no problem can be
seen in training and asked in evaluation, in whatever order, number or place problems are generated.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from selfdistill.errors import UserError
from selfdistill.tasks import arithmetic, chain_feedback, knights, sums, wrong_facts
from selfdistill.tasks.contexts import SECTIONS
from selfdistill.tasks.prompts import Hint

EVALUATION_SHARE = 0.2


class Exercise(Protocol):
    """A generated problem with its solution: a chain or a puzzle."""

    @property
    def answer(self) -> str: ...

    @property
    def canonical(self) -> str:
        """What makes two exercises the same problem; puzzles that differ in names only agree."""

    def text(self) -> str: ...

    def reference(self, rng: np.random.Generator) -> Hint:
        """A right worked solution."""

    def mistake(self, rng: np.random.Generator) -> Hint:
        """A wrong worked solution, with its answer."""


#: (rng, size) -> exercise; a size is the number of operations of a chain, of people of a puzzle, of digits of a sum.
Maker = Callable[[np.random.Generator, int], Exercise]


class Kind(NamedTuple):
    """A kind of exercise.

    Attributes:
        make: its generator.
        ability: the dataset schema's word for it.
        sizes: those that it can have.
        phrases: what the toy's tokenizer keeps whole for it, behind its other tokens.
    """

    make: Maker
    ability: str
    sizes: range
    phrases: Sequence[str] = ()


_OF_CHAINS = (*SECTIONS.phrases, *chain_feedback.PHRASES)

_KINDS = {
    "arithmetic": Kind(arithmetic.generate, "math", range(1, 1001)),
    "knights": Kind(knights.generate, "logic", range(2, len(knights.NAMES) + 1)),
    "sums": Kind(sums.generate, "math", range(1, 3)),
    "wrong_facts": Kind(wrong_facts.generate, "math", range(2, 21), _OF_CHAINS),
    "clean_facts": Kind(wrong_facts.generate_clean, "math", range(2, 21), _OF_CHAINS),
}


def exercise_kind(name: str) -> Kind:
    """The kind of that name. Raises UserError for an unknown one."""
    if name not in _KINDS:
        raise UserError(f"unknown exercise {name!r}: a generator's exercise must be one of {', '.join(_KINDS)}")
    return _KINDS[name]


def is_training(exercise: Exercise) -> bool:
    """Whether an exercise may be trained on; the others are for evaluation."""
    digest = hashlib.sha256(exercise.canonical.encode()).digest()
    return int.from_bytes(digest[:8], "big") >= EVALUATION_SHARE * 2**64
