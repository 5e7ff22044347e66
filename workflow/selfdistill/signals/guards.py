"""Measures on every run whether a teacher's scores can be trusted (docs/metrics.md, Guards).

With tau 0.02 and delta 0.02 a contrast of 0.0008 nats counts as a signal, and half precision moves log-probs by more
than that with the shape of the batch: the contrast of a hint with itself says how much of a signal is noise.
"""

import math
from collections.abc import Sequence

import torch

from selfdistill.scoring.query import Query
from selfdistill.scoring.scores import Scorer, Sequences
from selfdistill.signals.teacher_contexts import TeacherContexts
from selfdistill.signals.teacher_scores import TeacherScores


def teacher_guards(
    teacher: Scorer,
    contexts: TeacherContexts,
    responses: Sequence[Sequence[int]],
    scores: TeacherScores,
    rollouts: int,
) -> dict[str, float]:
    """Score the first `rollouts` hinted rollouts once more, each alone: in another shape of batch.

    Args:
        teacher, contexts, responses: as `scores` was made with.
        rollouts: how many; rollouts of fewer than two tokens are passed over.

    Returns:
        guard/null_contrast_abs_mean and _max: |difference| of both scorings, nats; 0 up to numerics.
        guard/alignment_gain: mean log-prob of the responses minus that of the responses shifted by one token, nats;
            clearly above 0 unless teacher and student are misaligned.
        Empty where there is no such rollout.
    """
    hinted = zip(contexts.hinted, responses, strict=True)
    rows = [i for i, (has_hint, response) in enumerate(hinted) if has_hint and len(response) > 1][:rollouts]
    if not rows:
        return {}
    width = max(len(responses[row]) for row in rows)
    shifted = torch.zeros(len(rows), width, 1, dtype=torch.int64, device=teacher.device)
    for i, row in enumerate(rows):
        shifted[i, : len(responses[row]), 0] = torch.tensor([*responses[row][1:], responses[row][-1]])
    chosen = Sequences([contexts.correct[row] for row in rows], [responses[row] for row in rows])
    again = teacher(chosen, width, Query(ids=shifted), alone=True)
    differences, gains = [], []
    for i, row in enumerate(rows):
        length = len(responses[row])
        differences.append((again.logprobs[i, :length] - scores.correct_logprobs[row, :length]).abs())
        gains.append((again.logprobs[i, :length] - again.support[i, :length, 0])[:-1])
    difference = torch.cat(differences)
    return {
        "guard/null_contrast_abs_mean": float(difference.mean()),
        "guard/null_contrast_abs_max": float(difference.max()),
        "guard/alignment_gain": float(torch.cat(gains).mean()),
    }


def over_uniform(mean_logprob: float, vocabulary: int) -> float:
    """Return the mean log-prob of a teacher in nats above that of guessing, -ln V; near 0 the teacher says nothing."""
    return mean_logprob + math.log(vocabulary)
