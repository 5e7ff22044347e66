"""Declares claims as data: a claim has parts, and each part is one predicate over methods, judged block by block.

A paper's claims are a file of this folder that builds a tuple of `Claim`, and one line of `catalogue`. Nothing here
measures anything: `judge` does, on what was run, and planning asks which runs a claim needs before there are any. So
this module, like those that build claims, imports nothing heavy.

A block is one task and model. Accuracies are in percentage points, changes of a curve in factors of its beginning.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

#: Graders of the tasks that a claim is about.
MATHS, LOGIC, EVERYWHERE = ("maths",), ("knights",), ()

ENTROPY, LENGTH, REWARD = "actor/entropy", "response/length_mean", "reward/mean"
#: Key of the validation accuracy, which is worked out from several metrics.
VALIDATION = "validation accuracy"

#: A curve has changed beyond this factor of its beginning, up or down, and is stable within it. The least length that
#: the RLCSD paper calls changed is 8.8k -> 7.2k (1 / 1.22), the most that it calls kept 8.8k -> 8.0k (1 / 1.10).
CHANGE = 1.15
#: An entropy that rises by less is bounded, by more explodes: one bound for both words, whoever's curve it is. Lengths
#: of a healthy run stay within the same factor of their beginning (or above it, of where grpo's go).
BOUNDED = 1.5
#: Responses that end below this share of their first length have collapsed rather than shrunk.
COLLAPSED = 0.25
#: A share has fallen when it ends so many points below its best, or by this part of its best where that is less.
FALL, FALL_SHARE = 5.0, 0.25
#: Fewer points than these are no fall, however low its best is: at the floor a quarter of it is chance.
LEAST_FALL = 1.0
#: Points that "no worse" allows.
MARGIN = 1.0
#: Points between two settings that are "little difference": less than most gains of contrast (0.2 to 5.4).
LITTLE = 2.0
#: Seeds that anything said of curves needs at least.
LEAST_SEEDS = 3
#: Methods whose curves stand for what reinforcement learning does without a teacher: the first that was run.
CONTROLS = ("grpo", "grpo-v2", "grpo-rlsd")


class _AgainstOne:
    """A predicate that compares a variant with one other."""

    other: str

    @property
    def others(self) -> tuple[str, ...]:
        """Returns what it is compared with."""
        return (self.other,)


@dataclass(frozen=True)
class Gap(_AgainstOne):
    """The average accuracy of a variant minus that of another lies between two bounds, in points."""

    variant: str
    other: str
    above: float = -math.inf
    below: float = math.inf

    accuracy: ClassVar[bool] = True

    @property
    def tolerant(self) -> bool:
        """Returns whether no difference at all would satisfy it: benchmarks that cannot differ say nothing of it."""
        return self.above < 0 < self.below


@dataclass(frozen=True)
class Highest:
    """The average accuracy of a variant is above that of each of several others."""

    variant: str
    others: tuple[str, ...]

    accuracy: ClassVar[bool] = True
    above: ClassVar[float] = 0.0
    below: ClassVar[float] = math.inf
    tolerant: ClassVar[bool] = False


@dataclass(frozen=True)
class GainsBeyond(_AgainstOne):
    """A variant gains more on another out of distribution than in distribution."""

    variant: str
    other: str

    accuracy: ClassVar[bool] = True
    above: ClassVar[float] = 0.0
    below: ClassVar[float] = math.inf
    tolerant: ClassVar[bool] = True


@dataclass(frozen=True)
class Word:
    """Holds what is said of a curve, as a range of one of its measures.

    of: "highest" and "lowest" (the mean over a tenth of the steps that is furthest up or down), "end" (that over the
    last tenth), each a factor of the beginning; "fall", of the last tenth below the best one, in points; "both",
    highest and lowest. fault: whether it tells of a failure. A fault that shows stands, however long the run is and
    whatever comes after; that there is none takes a whole run, and one that has not collapsed.
    """

    of: str
    above: float = 0.0
    below: float = math.inf
    fault: bool = False


EXPLODES = Word("highest", above=BOUNDED, fault=True)
GROWS = Word("highest", above=CHANGE, fault=True)
SHRINKS = Word("end", above=COLLAPSED, below=1 / CHANGE, fault=True)
FALLS = Word("fall", above=-math.inf, below=-FALL, fault=True)
STABLE = Word("both", above=1 / CHANGE, below=CHANGE)
IS_BOUNDED = Word("highest", below=BOUNDED)
#: Does not shrink, and does not run away either.
KEPT = Word("end", above=1 / CHANGE, below=BOUNDED)
#: Grows, and this is no failure.
LENGTHENS = Word("end", above=CHANGE)


@dataclass(frozen=True)
class Curve:
    """A word holds of a metric's curve. A fault that the control shows as well is no fault of the variant."""

    variant: str
    metric: str
    word: Word

    accuracy: ClassVar[bool] = False

    @property
    def others(self) -> tuple[str, ...]:
        """Returns what it needs beside the variant: nothing; without its control it is judged, and that is said."""
        return ()


@dataclass(frozen=True)
class Against(_AgainstOne):
    """A measure of a metric's curve (`Word.of`) over that of another variant lies between two factors.

    healthy: whether it claims that the variant is free of a fault, so that a collapse refutes it.
    """

    variant: str
    other: str
    metric: str
    of: str
    above: float = 0.0
    below: float = math.inf
    healthy: bool = True

    accuracy: ClassVar[bool] = False


@dataclass(frozen=True)
class Style:
    """The mean size of a signal on style tokens over that on task tokens (or over that of another signal), a factor."""

    variant: str
    signal: str
    other: str | None = None
    above: float = 0.0
    below: float = math.inf

    accuracy: ClassVar[bool] = False
    others: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True)
class Alone:
    """An untrained model is above another on the task by itself, in points: the teachers of two variants.

    variant, rival: students of the two models, without which the comparison is about nobody.
    """

    variant: str
    rival: str
    model: str
    other: str
    above: float = 0.0
    below: float = math.inf

    accuracy: ClassVar[bool] = True
    tolerant: ClassVar[bool] = False

    @property
    def others(self) -> tuple[str, ...]:
        """Whose teacher it is compared with."""
        return (self.rival,)


@dataclass(frozen=True)
class Leads:
    """Before any training, the share of a teacher's divergence that is on one class of tokens, over that on another.

    variant: a student of the teacher; by the classes that the paper publishes.
    """

    variant: str
    teacher: str
    kind: str
    other: str
    above: float = 1.0
    below: float = math.inf

    accuracy: ClassVar[bool] = False
    others: ClassVar[tuple[str, ...]] = ()


Predicate = Gap | Highest | GainsBeyond | Curve | Against | Style | Alone | Leads


@dataclass(frozen=True)
class Part:
    """One statement of a claim.

    Attributes:
        name: short, of one claim and variant.
        statement: what the predicate says, in words.
        predicate: what is judged.
        families: graders of the tasks that it is asked on (EVERYWHERE: all).
        premise: a predicate without which the statement says nothing: a fault that is not there cannot be removed.
        planned: asked only of blocks in whose matrix the variant is, since it stands for one setting of a paper.
        figures: names of figures that show it, the first that there is being linked.
    """

    name: str
    statement: str
    predicate: Predicate
    families: tuple[str, ...] = EVERYWHERE
    premise: Predicate | None = None
    planned: bool = False
    figures: tuple[str, ...] = ("dynamics",)

    @property
    def variant(self) -> str:
        """Whose statement it is."""
        return self.predicate.variant

    @property
    def needs(self) -> tuple[str, ...]:
        """Returns all variants that have to be run."""
        return tuple(
            dict.fromkeys((self.variant, *self.predicate.others, *([self.premise.variant] if self.premise else [])))
        )

    def asked(self, family: str, variants: Collection[str]) -> bool:
        """Returns whether it is asked of a block, by its task's grader and the variants of its matrix."""
        return (not self.families or family in self.families) and (not self.planned or self.variant in variants)

    @property
    def range(self) -> str:
        """Returns where the number has to lie, in words."""
        bounds = self.predicate.word if isinstance(self.predicate, Curve) else self.predicate
        if bounds.above in (0.0, -math.inf) and math.isfinite(bounds.below):
            return f"below {bounds.below:.3g}"
        if math.isinf(bounds.below):
            return f"above {bounds.above:.3g}"
        return f"between {bounds.above:.3g} and {bounds.below:.3g}"


@dataclass(frozen=True)
class Claim:
    """A sentence of a paper.

    Attributes:
        name: unique among all papers ("C4"; of others with a word before it, "SDPO-1").
        paper: whose, as readers know it ("RLCSD").
        versions: of the paper that make it ("v1", "v2"); one without versions has "".
        sentence: the claim.
        parts: what is judged of it.
        published: version -> the paper's own number, in words.
        steps: task -> training steps that the paper's runs of it had: a shorter run cannot show that something does
            not happen.
    """

    name: str
    paper: str
    versions: tuple[str, ...]
    sentence: str
    parts: tuple[Part, ...]
    published: dict[str, str]
    steps: dict[str, int]
