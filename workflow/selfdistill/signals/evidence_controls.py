"""Makes negative controls of evidence: moved to other tokens, with its sign turned, or noise of its size.

Evidence is a difference of log-probs of the sampled token: correct minus wrong hints, or correct hint minus student.
Both are differences of *gaps*, log-probs minus those of the policy that sampled; so gaps are what moves, and any method
that reads log-probs sees its evidence moved with them (docs/methods.md, Controls).
"""

from dataclasses import replace

import torch
from torch import Tensor

from selfdistill.objectives.batch import Batch
from selfdistill.objectives.contrast import mean_wrong_logprobs
from selfdistill.randomness import Key, generator
from selfdistill.signals.teacher_scores import TeacherScores
from selfdistill.study.control_settings import ControlSettings


def controlled_scores(
    scores: TeacherScores, batch: Batch, controls: ControlSettings, key: tuple[Key, ...]
) -> TeacherScores:
    """Return a teacher's scores with the controls' changes to their log-probs.

    Wrong hints of a rollout all have their mean afterwards, which is all that a contrast reads of them.

    Args:
        scores: (B, T) and (B, K, T), of the rollouts of an optimizer step.
        batch: the same rollouts, with the log-probs of the policy that sampled them.
        controls: what is changed.
        key: names the random streams, for example (seed, step, first row).
    """
    if controls.misaligned_rows:
        scores = misaligned(scores, batch.response_mask, controls.misaligned_rows)
    if controls.evidence == "kept" and not controls.random_signs:
        return scores
    mask = batch.response_mask & scores.hinted[:, None]
    contrast = scores.wrong_mask.any(dim=1)[:, None]
    correct = torch.where(mask, scores.correct_logprobs - batch.old_logprobs, 0.0)
    wrong = torch.zeros_like(correct)
    if scores.wrong_mask.shape[1]:
        mean = mean_wrong_logprobs(scores.wrong_logprobs, scores.wrong_mask)
        wrong = torch.where(mask & contrast, mean - batch.old_logprobs, 0.0)
    if controls.evidence == "noise":
        size = (correct - wrong)[mask].square().mean().sqrt() if mask.any() else correct.new_zeros(())
        drawn = torch.from_numpy(generator(*key, "evidence noise").standard_normal(mask.shape)).to(correct)
        correct, wrong = torch.where(mask, drawn * size, 0.0), torch.zeros_like(wrong)
    elif controls.evidence != "kept":
        order = permutation(mask, within_rows=controls.evidence == "permuted_in_rollouts", key=key)
        correct, wrong = moved(correct, mask, order), moved(wrong, mask, order)
    if controls.random_signs:
        signs = torch.from_numpy(generator(*key, "evidence signs").integers(0, 2, mask.shape) * 2 - 1).to(correct)
        correct, wrong = correct * signs, wrong * signs
    return replace(
        scores,
        correct_logprobs=torch.where(mask, batch.old_logprobs + correct, scores.correct_logprobs),
        wrong_logprobs=torch.where(
            mask[:, None] & scores.wrong_mask[..., None],
            (batch.old_logprobs + wrong)[:, None],
            scores.wrong_logprobs,
        ),
    )


def permutation(mask: Tensor, *, within_rows: bool, key: tuple[Key, ...]) -> Tensor:
    """Return (N,) int64: which of the N tokens in a mask, counted row by row, each of them takes its value from.

    Args:
        mask: (B, T) bool.
        within_rows: a token takes it from its own row; from any row otherwise.
        key: names the random stream.
    """
    rng = generator(*key, "evidence order")
    counts = mask.sum(dim=1).tolist() if within_rows else [int(mask.sum())]
    orders: list[Tensor] = []
    begin = 0
    for count in counts:
        orders.append(torch.from_numpy(rng.permutation(count)) + begin)
        begin += count
    return torch.cat(orders).to(mask.device) if orders else torch.zeros(0, dtype=torch.int64, device=mask.device)


def moved(values: Tensor, mask: Tensor, order: Tensor) -> Tensor:
    """Return (B, T) values whose n-th token in the mask has the value of token order[n]; others stay."""
    result = values.clone()
    result[mask] = values[mask][order]
    return result


def misaligned(scores: TeacherScores, response_mask: Tensor, rows: int) -> TeacherScores:
    """Return scores as they were read before the alignment was mended upstream (docs/departures.md, D13).

    Within each micro-batch, token t has what the teacher said of token t + T - m, where m is the longest response of
    the micro-batch and T the batch's width; behind a response stand zeros.

    Args:
        scores: of B rollouts; their distributions, if any, stay.
        response_mask: (B, T) bool.
        rows: of a micro-batch.
    """
    lengths, width = response_mask.sum(dim=1), response_mask.shape[1]
    correct, wrong = torch.zeros_like(scores.correct_logprobs), torch.zeros_like(scores.wrong_logprobs)
    for begin in range(0, len(lengths), rows):
        part = slice(begin, begin + rows)
        longest = int(lengths[part].max())
        inside = response_mask[part]
        correct[part, :longest] = (scores.correct_logprobs[part] * inside)[:, width - longest :]
        wrong[part, :, :longest] = (scores.wrong_logprobs[part] * inside[:, None])[..., width - longest :]
    return replace(scores, correct_logprobs=correct, wrong_logprobs=wrong)
