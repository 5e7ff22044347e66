"""Makes negative controls of hints: wrong ones of other problems, a wrong one as the correct one, or empty ones."""

from collections.abc import Hashable, Sequence
from dataclasses import replace

from selfdistill.randomness import Key, generator
from selfdistill.signals.hints import Assignment, Candidate
from selfdistill.study.control_settings import ControlSettings
from selfdistill.tasks.contexts import Hint


def controlled_hints(
    assignments: Sequence[Assignment],
    groups: Sequence[Sequence[Candidate]],
    problems: Sequence[Hashable],
    controls: ControlSettings,
    key: tuple[Key, ...],
) -> list[Assignment]:
    """Return the assignments of a step with the controls' changes to their hints.

    A rollout for which there is no other hint of the kind asked for loses its hints, and says why as any other does.

    Args:
        assignments: one a rollout, group by group.
        groups: the rollouts of each prompt.
        problems: what tells the problem of each group; a small training set asks one twice in a step.
        controls: what is changed.
        key: names the random streams, for example (seed, step); each rollout draws from its own.
    """
    size = len(groups[0]) if groups else 1
    changed = []
    for row, assignment in enumerate(assignments):
        prompt, target = divmod(row, size)
        if assignment.hinted and controls.wrong_hints == "other_problems" and assignment.wrong:
            usable = _usable(*(group for group, of in zip(groups, problems, strict=True) if of != problems[prompt]))
            assignment = _with_wrong_of(assignment, usable, (*key, row))
        if assignment.hinted and controls.correct_hint == "wrong":
            usable = _usable([each for i, each in enumerate(groups[prompt]) if i != target])
            assignment = _with_wrong_as_correct(assignment, usable, (*key, row))
        if assignment.hinted and controls.empty_hints:
            assignment = replace(
                assignment, correct=_emptied(assignment.correct), wrong=tuple(map(_emptied, assignment.wrong))
            )
        changed.append(assignment)
    return changed


def _usable(*groups: Sequence[Candidate]) -> list[Candidate]:
    """The wrong rollouts that boxed an answer."""
    return [each for group in groups for each in group if each.reward <= 0 and each.answer is not None]


def _with_wrong_of(assignment: Assignment, usable: Sequence[Candidate], key: tuple[Key, ...]) -> Assignment:
    """Replaces wrong hints by as many others, as far as there are any, drawn without replacement."""
    order = generator("wrong hints of other problems", *key).permutation(len(usable))[: len(assignment.wrong)]
    chosen = tuple(_as_hint(usable[i]) for i in order)
    return replace(assignment, wrong=chosen) if chosen else _unhinted(assignment)


def _with_wrong_as_correct(assignment: Assignment, usable: Sequence[Candidate], key: tuple[Key, ...]) -> Assignment:
    """A wrong hint as the correct one, of those that are no wrong hint already as far as there are any."""
    hints = [_as_hint(each) for each in usable]
    others = [hint for hint in hints if hint not in assignment.wrong] or hints
    if not others:
        return _unhinted(assignment)
    chosen = others[int(generator("wrong hint as the correct one", *key).integers(len(others)))]
    return replace(assignment, correct=replace(chosen, feedback=assignment.correct.feedback))


def _as_hint(rollout: Candidate) -> Hint:
    return Hint(rollout.text, rollout.answer or "")


def _unhinted(assignment: Assignment) -> Assignment:
    return Assignment(kept=assignment.kept, reason="no_usable_wrong")


def _emptied(hint: Hint) -> Hint:
    """Returns the same parts without a text."""
    return Hint(**dict.fromkeys(hint.parts, ""))
