"""Whether a teacher's scores can be trusted, measured on every run (spec evaluation.md, guards).

With tau 0.02 and delta 0.02 a contrast of 0.0008 nats counts as a signal, and half precision moves log-probs by more
than that with the shape of the batch: the contrast of a hint with itself says how much of a signal is noise.
"""

import math
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from selfdistill.sampling.scoring import Sequences, read_responses
from selfdistill.signals.scoring import TeacherContexts, TeacherScores
from selfdistill.signals.teachers import MixedLogits


def teacher_guards(
    model: PreTrainedModel | MixedLogits,
    contexts: TeacherContexts,
    responses: Sequence[Sequence[int]],
    scores: TeacherScores,
    rollouts: int,
    temperature: float = 1.0,
) -> dict[str, float]:
    """Score the first `rollouts` hinted rollouts once more, each alone and a column wider: in another batch shape.

    Args:
        model, contexts, responses, temperature: as `scores` was made with.
        rollouts: how many; rollouts of fewer than two tokens are passed over.

    Returns:
        guard/null_contrast_abs_mean and _max: |difference| of both scorings, nats; 0 up to numerics.
        guard/alignment_gain: mean log-prob of the responses minus that of the responses shifted by one token, nats;
            clearly above 0 unless teacher and student are misaligned.
        Empty where there is no such rollout.
    """
    hinted = zip(contexts.hinted, responses, strict=True)
    rows = [i for i, (has_hint, response) in enumerate(hinted) if has_hint and len(response) > 1][:rollouts]
    differences, gains = [], []
    for row in rows:
        response = responses[row]
        shifted = torch.tensor([*response[1:], response[-1]], device=model.device)[None, :, None]
        alone = Sequences([contexts.correct[row]], [response])
        with torch.no_grad():
            again = read_responses(model, alone, [0], temperature, ids=shifted, padding=1)
        differences.append((again.logprobs[0] - scores.correct_logprobs[row, : len(response)]).abs())
        gains.append((again.logprobs[0] - again.support[0, :, 0])[:-1])
    if not rows:
        return {}
    difference = torch.cat(differences)
    return {
        "guard/null_contrast_abs_mean": float(difference.mean()),
        "guard/null_contrast_abs_max": float(difference.max()),
        "guard/alignment_gain": float(torch.cat(gains).mean()),
    }


def over_uniform(mean_logprob: float, vocabulary: int) -> float:
    """Mean log-prob of a teacher in nats above that of guessing, -ln V; near 0 the teacher says nothing."""
    return mean_logprob + math.log(vocabulary)
