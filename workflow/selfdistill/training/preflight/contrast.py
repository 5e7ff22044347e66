"""Whether a base model can tell methods apart: mistakes inside its working, and a teacher that reads its hints.

A teacher that does not follow its hints has a contrast of noise, and then no credit by token can be told from credit at
random: "no difference" would be a property of the base. So it is measured first, over groups as training draws them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from selfdistill.objectives.batch import Needs
from selfdistill.objectives.contrast import contrastive_evidence
from selfdistill.signals.hints import Assignment, Candidate, assign_hints
from selfdistill.signals.teacher_scores import score_contexts
from selfdistill.study.preflight import CONTRAST
from selfdistill.tasks.contexts import Hint
from selfdistill.tasks.demonstrations import response_of
from selfdistill.tasks.schema import Problem
from selfdistill.training.preflight.reader import Attempt, Reader

_BOX = "\\boxed"
_NEEDS = Needs(correct_hint=True, wrong_hints=True, mixed_groups=True)


def contrast_row(reader: Reader, problems: Sequence[Problem], groups: Sequence[Sequence[Attempt]]) -> dict[str, Any]:
    """Measure a base model on groups of attempts.

    Args:
        reader: the model.
        problems: one a group.
        groups: attempts drawn as rollouts are, those of a problem together.

    Returns:
        The row "contrast": what could not be measured is missing.
    """
    attempts = [attempt for group in groups for attempt in group]
    wrong = [attempt for attempt in attempts if not attempt.graded.correct]
    plain = reader.sample(
        [reader.encoded(p) for p in problems], reader.how.as_evaluated, [("plain", row) for row in range(len(problems))]
    )
    texts, graded = reader.grade(plain, problems)
    found: dict[str, Any] = {
        "context": CONTRAST,
        "rollouts": len(attempts),
        "rollouts_with_place": sum(a.place is not None for a in wrong),
        "plain_accuracy": float(np.mean([each.correct for each in graded])),
        "rollout_accuracy": 1 - len(wrong) / len(attempts),
        "direct_share": float(np.mean([text.lstrip().startswith(_BOX) for text in texts])),
    }
    if wrong:
        found["slip_share"] = float(np.mean([bool(a.place) for a in wrong]))
    for name, right in (("follows_right", True), ("follows_wrong", False)):
        if shown := _hints_of_groups(problems, groups, right):
            found[name] = _followed(reader, shown, name)
    return found | _slips(reader, groups)


def _hints_of_groups(
    problems: Sequence[Problem], groups: Sequence[Sequence[Attempt]], right: bool
) -> list[tuple[Attempt, Hint]]:
    """A hint for each group: the dataset's solution, or the first wrong attempt that boxed an answer."""
    shown = []
    for problem, group in zip(problems, groups, strict=True):
        if right and problem.solution:
            told = problem.solution
            told = told if _BOX in told else response_of(Hint(told, problem.answer))
            shown.append((group[0], Hint(told, problem.answer)))
        elif not right:
            usable = [a for a in group if not a.graded.correct and a.graded.answer is not None]
            shown += [(usable[0], Hint(usable[0].text, usable[0].graded.answer))] if usable else []
    return shown


def _followed(reader: Reader, shown: Sequence[tuple[Attempt, Hint]], name: str) -> float:
    """Share of responses under a hint that box its answer."""
    attempts, hints = [each for each, _ in shown], [hint for _, hint in shown]
    drawn = reader.sample(
        reader.contexts(attempts, hints), reader.how.as_evaluated, [(name, row) for row in range(len(shown))]
    )
    _, graded = reader.grade(drawn, [each.problem for each in attempts])
    return float(np.mean([each.answer == hint.answer for each, hint in zip(graded, hints, strict=True)]))


def _slips(reader: Reader, groups: Sequence[Sequence[Attempt]]) -> dict[str, float]:
    """Returns where contrastive evidence of wrong, hinted attempts stands at their first wrong token."""
    chosen: list[Attempt] = []
    assignments: list[Assignment] = []
    for number, group in enumerate(groups):
        candidates = [Candidate(float(a.graded.correct), a.text, a.graded.answer) for a in group]
        reference = Hint(group[0].problem.solution, group[0].problem.answer)
        assigned = assign_hints(candidates, reference, reader.how.hints, _NEEDS, ("preflight contrast", number))
        for attempt, assignment in zip(group, assigned, strict=True):
            if assignment.hinted and attempt.place and not attempt.graded.correct:
                chosen.append(attempt)
                assignments.append(assignment)
    if not chosen:
        return {}
    responses = [a.response for a in chosen]
    contexts = reader.builder.build([a.problem for a in chosen], assignments, [len(r) for r in responses])
    with torch.no_grad():
        scores = score_contexts(reader.scorer, contexts, responses, max(map(len, responses)))
    evidence = contrastive_evidence(scores.correct_logprobs, scores.wrong_logprobs, scores.wrong_mask).cpu().double()
    return slip_measures(evidence.numpy(), [a.place or 0 for a in chosen])


def slip_measures(evidence: np.ndarray, places: Sequence[int]) -> dict[str, float]:
    """Compare evidence at slips with what stands before them.

    Args:
        evidence: (B, T) nats.
        places: number of each row's first wrong token, at least 1.

    Returns:
        `slip_auc`: mean share of the tokens before a slip whose evidence is above the slip's, ties counting half;
        `slip_evidence`: mean at slips; `evidence_before`: mean absolute value before them, in nats.
    """
    shares, before = [], []
    for row, place in zip(evidence, places, strict=True):
        earlier, slip = row[:place], row[place]
        shares.append(((earlier > slip) + 0.5 * (earlier == slip)).mean())
        before.append(np.abs(earlier))
    at = [row[place] for row, place in zip(evidence, places, strict=True)]
    return {
        "slip_auc": float(np.mean(shares)),
        "slip_evidence": float(np.mean(at)),
        "evidence_before": float(np.concatenate(before).mean()),
    }
