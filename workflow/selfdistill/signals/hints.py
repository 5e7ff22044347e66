"""Which hints a rollout's teacher gets to read, drawn from the rollouts of its own group (docs/methods.md, rlcsd).

A rollout is never its own hint. Correct hints come from the group's correct rollouts ("self_rollout") or from the
dataset's solution ("gt_cot"); wrong hints from wrong rollouts that boxed an answer. What cannot be hinted is either
kept without a signal or leaves the batch, each with its reason.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from selfdistill.objectives.batch import Needs
from selfdistill.randomness import Key, generator
from selfdistill.study.run_settings import HintSettings
from selfdistill.tasks.prompts import Hint

#: Why a rollout has no hints. The first two concern whole groups, whose advantages are zero; by the last the method
#: would not use any.
REASONS = ("all_correct", "all_wrong", "no_usable_wrong", "lone_correct", "lone_wrong", "not_needed")


@dataclass(frozen=True)
class Candidate:
    """A rollout of a group, as text: what it may lend to its siblings."""

    reward: float
    text: str
    answer: str | None


@dataclass(frozen=True)
class Assignment:
    """The hints of one rollout.

    Attributes:
        correct: the correct hint, None where the rollout has no hints.
        wrong: the wrong hints.
        kept: False where the rollout leaves the batch.
        reason: why the rollout has no hints, one of REASONS; None where it has.
    """

    correct: Hint | None = None
    wrong: tuple[Hint, ...] = ()
    kept: bool = True
    reason: str | None = None

    @property
    def hinted(self) -> bool:
        return self.correct is not None


def assign_hints(
    group: Sequence[Candidate],
    reference: Hint,
    settings: HintSettings,
    needs: Needs,
    key: tuple[Key, ...],
) -> list[Assignment]:
    """Choose the hints of every rollout of one group.

    Args:
        group: the rollouts of one prompt.
        reference: the dataset's solution and answer; the answer also stands in for a correct rollout without a box.
        settings: see HintSettings.
        needs: whether the method wants a correct hint, wrong hints, groups of mixed outcome, and for whom.
        key: names the random streams, for example (seed, step, prompt); each rollout draws from its own.

    Returns:
        One assignment a rollout, in order.
    """
    if not needs.correct_hint:
        return [Assignment() for _ in group]
    right = [i for i, rollout in enumerate(group) if rollout.reward > 0]
    wrong = [i for i, rollout in enumerate(group) if rollout.reward <= 0]
    if needs.mixed_groups and not (right and wrong):
        return [Assignment(kept=False, reason="all_wrong" if wrong else "all_correct") for _ in group]
    usable = [i for i in wrong if group[i].answer is not None]
    pool = _Pool(group, reference, settings, needs, right, usable)
    return [pool.assignment(target, key) for target in range(len(group))]


@dataclass(frozen=True)
class _Pool:
    """What the rollouts of a group may lend to each other.

    Attributes:
        group, reference, settings, needs: as of `assign_hints`.
        right: numbers of the correct rollouts.
        usable: numbers of the wrong rollouts that boxed an answer.
    """

    group: Sequence[Candidate]
    reference: Hint
    settings: HintSettings
    needs: Needs
    right: list[int]
    usable: list[int]

    def assignment(self, target: int, key: tuple[Key, ...]) -> Assignment:
        """The hints of one rollout, or why it has none."""
        if self.needs.wrong_only and target in self.right:
            return Assignment(reason="not_needed")
        reason = self._reason_without(target)
        if reason is not None:
            return Assignment(kept=self.settings.lone_targets == "keep", reason=reason)
        wrong = self._wrong_hints(target, key) if self.needs.wrong_hints else ()
        return Assignment(self._correct_hint(target, key), wrong)

    def _reason_without(self, target: int) -> str | None:
        """Why a rollout has no hints; a missing correct hint comes before a missing wrong one."""
        if self.settings.source == "self_rollout" and not self._others(self.right, target):
            return "lone_correct" if self.right else "all_wrong"
        if self.needs.wrong_hints and not self._others(self.usable, target):
            return "lone_wrong" if self.usable else "no_usable_wrong"
        return None

    def _correct_hint(self, target: int, key: tuple[Key, ...]) -> Hint:
        """The dataset's solution, or a sibling's response drawn at random."""
        if self.settings.source != "self_rollout":
            return self.reference
        siblings = self._others(self.right, target)
        sibling = self.group[siblings[int(generator("correct hint", *key, target).integers(len(siblings)))]]
        return Hint(sibling.text, sibling.answer if sibling.answer is not None else self.reference.answer)

    def _wrong_hints(self, target: int, key: tuple[Key, ...]) -> tuple[Hint, ...]:
        """Up to K wrong siblings, drawn without replacement."""
        siblings = self._others(self.usable, target)
        # A permutation's first K: one uniform draw, then a shuffled remainder, as the released code draws them.
        order = generator("wrong hints", *key, target).permutation(len(siblings))
        # Distributions are read under the first wrong hint alone: no loss would read what others say.
        most = self.settings.k_max if self.needs.support is None else 1
        chosen = [self.group[siblings[i]] for i in order[:most]]
        return tuple(Hint(sibling.text, sibling.answer or "") for sibling in chosen)

    def _others(self, rollouts: list[int], target: int) -> list[int]:
        """Those that the target may read: all but itself, unless it may be its own hint."""
        return rollouts if self.settings.allow_self else [i for i in rollouts if i != target]


def without_unread(assignments: Sequence[Assignment], read: Sequence[bool]) -> list[Assignment]:
    """Take away the hints of rollouts whose teacher nobody reads; what leaves the batch does so as before."""
    return [
        assignment if wanted or not assignment.hinted else Assignment(kept=assignment.kept, reason="not_needed")
        for assignment, wanted in zip(assignments, read, strict=True)
    ]


def hint_metrics(assignments: Sequence[Assignment]) -> dict[str, float]:
    """Shares of rollouts hinted, dropped, and without hints for each reason; mean number of wrong hints."""
    count = max(len(assignments), 1)
    hinted = [a for a in assignments if a.hinted]
    reasons = Counter(a.reason for a in assignments)
    return {
        "hints/hinted_share": len(hinted) / count,
        "hints/dropped_share": sum(not a.kept for a in assignments) / count,
        "hints/wrong_mean": sum(len(a.wrong) for a in hinted) / max(len(hinted), 1),
        **{f"hints/{reason}_share": reasons[reason] / count for reason in REASONS},
    }
