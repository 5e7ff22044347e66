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
from selfdistill.tasks.prompts import Hint

SOURCES = ("none", "self_rollout", "gt_cot")
TRUNCATIONS = ("hint_body", "left")
#: Why a rollout has no hints. The first two concern whole groups, whose advantages are zero; by the last the method
#: would not use any.
REASONS = ("all_correct", "all_wrong", "no_usable_wrong", "lone_correct", "lone_wrong", "not_needed")


@dataclass(frozen=True)
class HintSettings:
    """How hints are chosen and shown.

    Attributes:
        source: of the correct hint: "self_rollout", "gt_cot", or "none" for methods without a teacher.
        mode: "solution_answer" or "answer_only".
        framing: the template's framing sentence (tasks.prompts.FRAMINGS).
        k_max: most wrong hints a rollout; 1 is the ablation without marginalisation. Methods that compare
            distributions read one, whatever this is.
        max_tokens: of solution and answer together; the same for correct and wrong hints.
        truncation: what a longer hint costs. "hint_body": the solution loses its beginning, the template nothing.
            "left": hints stay whole, and a prompt that does not fit loses its beginning: chat header, problem, then
            hint (preset as_published, docs/departures.md D15).
        lone_targets: "keep" leaves rollouts without a possible hint on the unmodulated path (preset corrected),
            "drop" takes them out of the batch (preset as_published, docs/departures.md D10).
        allow_self: a rollout may be its own hint (ablation).
    """

    source: str = "none"
    mode: str = "solution_answer"
    framing: str = "neutral"
    k_max: int = 4
    max_tokens: int = 16384
    truncation: str = "hint_body"
    lone_targets: str = "keep"
    allow_self: bool = False


@dataclass(frozen=True)
class Candidate:
    """A rollout of a group, as text: what it may lend to its siblings."""

    reward: float
    text: str
    answer: str | None


@dataclass(frozen=True)
class Assignment:
    """The hints of one rollout, with the numbers (in the group) of the rollouts they came from; None is the dataset.

    `kept` is False where the rollout leaves the batch; `reason` says why a rollout has no hints, None where it has.
    """

    correct: Hint | None = None
    wrong: tuple[Hint, ...] = ()
    correct_from: int | None = None
    wrong_from: tuple[int, ...] = ()
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
    """Hints for every rollout of one group.

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
    return [_assign(i, group, reference, right, usable, settings, needs, key) for i in range(len(group))]


def _assign(
    target: int,
    group: Sequence[Candidate],
    reference: Hint,
    right: list[int],
    usable: list[int],
    settings: HintSettings,
    needs: Needs,
    key: tuple[Key, ...],
) -> Assignment:
    if needs.wrong_only and target in right:
        return Assignment(reason="not_needed")
    rights, wrongs = right, usable
    if not settings.allow_self:
        rights, wrongs = [i for i in right if i != target], [i for i in usable if i != target]
    reason = None
    if needs.wrong_hints and not wrongs:
        reason = "lone_wrong" if usable else "no_usable_wrong"
    if settings.source == "self_rollout" and not rights:
        reason = "lone_correct" if right else "all_wrong"
    if reason is not None:
        return Assignment(kept=settings.lone_targets == "keep", reason=reason)

    correct, correct_from = reference, None
    if settings.source == "self_rollout":
        correct_from = rights[int(generator("correct hint", *key, target).integers(len(rights)))]
        chosen = group[correct_from]
        correct = Hint(chosen.text, chosen.answer if chosen.answer is not None else reference.answer)
    wrong_from: tuple[int, ...] = ()
    if needs.wrong_hints:
        # A permutation's first K: one uniform draw, then a shuffled remainder, as the released code draws them.
        order = generator("wrong hints", *key, target).permutation(len(wrongs))
        # Distributions are read under the first wrong hint alone: no loss would read what others say.
        wrong_from = tuple(wrongs[i] for i in order[: settings.k_max if needs.support is None else 1])
    return Assignment(
        correct=correct,
        wrong=tuple(Hint(group[i].text, group[i].answer or "") for i in wrong_from),
        correct_from=correct_from,
        wrong_from=wrong_from,
    )


def without_unread(assignments: Sequence[Assignment], read: Sequence[bool]) -> list[Assignment]:
    """Assignments without the hints of rollouts whose teacher nobody reads; what leaves the batch does so as before."""
    return [
        each if wanted or not each.hinted else Assignment(kept=each.kept, reason="not_needed")
        for each, wanted in zip(assignments, read, strict=True)
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
