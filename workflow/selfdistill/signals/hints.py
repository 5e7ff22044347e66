"""Chooses the hints that a rollout's teacher reads, from the rollouts of its own group (docs/methods.md#rlcsd).

A rollout is never its own hint. Correct hints come from the group's correct rollouts ("self_rollout") or from the
dataset's solution ("gt_cot"); wrong hints from wrong rollouts that boxed an answer. A hint may also hold what the
grader said of the rollout itself. What cannot be hinted is either kept without a signal or leaves the batch, each with
its reason.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from selfdistill.objectives.batch import Needs
from selfdistill.randomness import Key, generator
from selfdistill.study.critic_settings import CRITIQUE
from selfdistill.study.teacher_settings import HintSettings
from selfdistill.tasks.contexts import Hint

#: Why a rollout has no hints. The first two concern whole groups, whose advantages are zero; by the last but one there
#: is feedback alone to be read, and it is blank; by the last the method would not use any.
REASONS = ("all_correct", "all_wrong", "no_usable_wrong", "lone_correct", "lone_wrong", "no_feedback", "not_needed")
#: Of a rollout that no critic wrote of: `critique/reason/*` says why.
NO_CRITIQUE = "no_critique"


@dataclass(frozen=True)
class Candidate:
    """A rollout of a group, as text: what it may lend to its siblings, and what was said of it.

    Attributes:
        reward: more than 0 for a right one.
        text: what is shown of it as a solution; a blank one is not shown.
        answer: what was boxed.
        score: from 0 to 1 where the grader knows of halves.
        feedback: of the grader; blank is none.
        critique: of a critic, about this rollout; None where there is none.
    """

    reward: float
    text: str
    answer: str | None
    score: float | None = None
    feedback: str = ""
    critique: str | None = None


@dataclass(frozen=True)
class Assignment:
    """The hints of one rollout.

    Attributes:
        correct: the correct hint, None where the rollout has no hints.
        wrong: the wrong hints.
        kept: False where the rollout leaves the batch.
        reason: why the rollout has no hints, one of REASONS or NO_CRITIQUE; None where it has.
    """

    correct: Hint | None = None
    wrong: tuple[Hint, ...] = ()
    kept: bool = True
    reason: str | None = None

    @property
    def hinted(self) -> bool:
        """Returns whether the rollout has a correct hint."""
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
    lenders = [i for i, rollout in enumerate(group) if is_success(rollout, settings) and rollout.text.strip()]
    pool = _Pool(group, reference, settings, needs, right, lenders, usable)
    return [pool.assignment(target, key) for target in range(len(group))]


def is_success(rollout: Candidate, settings: HintSettings) -> bool:
    """Returns whether a rollout may be shown as a correct one."""
    return rollout.reward > 0 or (rollout.score is not None and rollout.score >= settings.success_threshold)


@dataclass(frozen=True)
class _Pool:
    """Holds what the rollouts of a group may lend to each other.

    Attributes:
        group, reference, settings, needs: as of `assign_hints`.
        right: numbers of the correct rollouts.
        lenders: numbers of the rollouts that may be shown as correct ones.
        usable: numbers of the wrong rollouts that boxed an answer.
    """

    group: Sequence[Candidate]
    reference: Hint
    settings: HintSettings
    needs: Needs
    right: list[int]
    lenders: list[int]
    usable: list[int]

    def assignment(self, target: int, key: tuple[Key, ...]) -> Assignment:
        """Return the hints of one rollout, or why it has none."""
        if self.needs.wrong_only and target in self.right:
            return Assignment(reason="not_needed")
        feedback = self._feedback(target)
        reason = self._reason_without(target)
        if reason is not None and feedback is None:
            return Assignment(kept=self.settings.lone_targets == "keep", reason=reason)
        wrong = self._wrong_hints(target, key) if self.needs.wrong_hints else ()
        correct = self._correct_hint(target, key) if reason is None else Hint()
        if self.settings.attempt:
            correct = replace(correct, attempt=self.group[target].text)
        return Assignment(replace(correct, feedback=feedback) if feedback is not None else correct, wrong)

    def _feedback(self, target: int) -> str | None:
        """Returns what the grader said of a rollout, where its teacher is to read it."""
        said, when = self.group[target].feedback, self.settings.feedback
        if when == "never" or not said.strip():
            return None
        return said if when == "always" or self._reason_without(target) is not None else None

    def _reason_without(self, target: int) -> str | None:
        """Why a rollout has no hints, feedback apart; a missing correct hint comes before a missing wrong one."""
        if self.settings.source == "none":
            return "no_feedback"
        if self.settings.source == CRITIQUE:
            return NO_CRITIQUE if self.group[target].critique is None else None
        if self.settings.source == "self_rollout" and not self._others(self.lenders, target):
            return "lone_correct" if self.right else "all_wrong"
        if self.needs.wrong_hints and not self._others(self.usable, target):
            return "lone_wrong" if self.usable else "no_usable_wrong"
        return None

    def _correct_hint(self, target: int, key: tuple[Key, ...]) -> Hint:
        """The dataset's solution, a sibling's response (the first, or one drawn at random), or a critic's words."""
        if self.settings.source == CRITIQUE:
            said = self.group[target].critique
            return Hint(praise=said) if target in self.right else Hint(critique=said)
        if self.settings.source != "self_rollout":
            return self.reference
        siblings = self._others(self.lenders, target)
        first = self.settings.sibling == "first"
        number = 0 if first else int(generator("correct hint", *key, target).integers(len(siblings)))
        sibling = self.group[siblings[number]]
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


def group_metrics(groups: Sequence[Sequence[Candidate]], settings: HintSettings) -> dict[str, float]:
    """Share of groups that have a success, and of rollouts of which the grader said something that may be read."""
    rollouts = [rollout for group in groups for rollout in group]
    said = sum(bool(rollout.feedback.strip()) for rollout in rollouts) if settings.feedback != "never" else 0
    successes = sum(any(is_success(rollout, settings) for rollout in group) for group in groups)
    return {
        "hints/success_groups_share": successes / max(len(groups), 1),
        "hints/feedback_available_share": said / max(len(rollouts), 1),
    }


def hint_metrics(assignments: Sequence[Assignment]) -> dict[str, float]:
    """Shares of rollouts hinted, with what, dropped, and without for each reason; mean number of wrong hints."""
    count = max(len(assignments), 1)
    hinted = [a for a in assignments if a.hinted]
    reasons = Counter(a.reason for a in assignments)
    return {
        "hints/hinted_share": len(hinted) / count,
        "hints/dropped_share": sum(not a.kept for a in assignments) / count,
        "hints/wrong_mean": sum(len(a.wrong) for a in hinted) / max(len(hinted), 1),
        "hints/solution_share": sum(a.correct.solution is not None for a in hinted) / count,
        "hints/feedback_used_share": sum(a.correct.feedback is not None for a in hinted) / count,
        **{f"hints/{reason}_share": reasons[reason] / count for reason in REASONS},
    }
