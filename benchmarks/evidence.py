"""What rlcsd makes of log-probs under two hints: its evidence and selection, and how large differences are."""

from collections.abc import Sequence

import torch
from torch import Tensor

from selfdistill.objectives.batch import Batch
from selfdistill.objectives.contrast import contrastive_evidence
from selfdistill.objectives.rlcsd import RLCSD


def hinted_batch(
    responses: Sequence[Sequence[int]],
    correct: Tensor,
    wrong: Tensor,
    wrong_mask: Tensor | None = None,
    student: Tensor | None = None,
) -> Batch:
    """Rows that all have their hints, as a loss gets them.

    Args:
        responses: of B rollouts, token ids.
        correct: (B, T) nats under the correct hint. wrong: (B, K, T) nats under wrong ones.
        wrong_mask: (B, K) bool, which of these there are; all of them without.
        student: (B, T) nats of the student, for one-sided evidence.
    """
    every = torch.ones(wrong.shape[:2], dtype=torch.bool, device=correct.device)
    return Batch(
        response_mask=response_mask(responses, correct.device),
        advantages=torch.ones(len(responses), device=correct.device),  # selection does not depend on them
        old_logprobs=correct,  # nor on these
        current_logprobs=student,
        correct_logprobs=correct,
        wrong_logprobs=wrong,
        wrong_mask=every if wrong_mask is None else wrong_mask,
        hinted=every[:, 0],
    )


def evidence_of(method: RLCSD, batch: Batch) -> tuple[Tensor, Tensor]:
    """Evidence (n,) in nats of all tokens of a hinted batch, row after row, and (n,) bool: those that are selected."""
    if method.one_sided:
        evidence = batch.correct_logprobs - batch.current_logprobs
    else:
        evidence = contrastive_evidence(batch.correct_logprobs, batch.wrong_logprobs, batch.wrong_mask)
    return evidence[batch.hinted_mask], method.targets(batch, "tokens").marked[batch.hinted_mask]


def smallest_selected(method: RLCSD) -> float:
    """Nats of evidence beyond which a token is selected."""
    return method.tau * float(torch.tensor(method.delta / (method.beta * method.lam), dtype=torch.float64).atanh())


def response_mask(responses: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """(B, T) bool: tokens of the responses, T the longest."""
    lengths = torch.tensor([len(response) for response in responses], device=device)
    return torch.arange(int(lengths.max()), device=device) < lengths[:, None]


def sizes(differences: Tensor, **quantiles: float) -> dict[str, float]:
    """Absolute values in nats: mean, the named quantiles, 99th percentile, maximum."""
    values = differences.abs().double()
    wanted = {**quantiles, "p99": 0.99, "max": 1.0}
    return {"mean": float(values.mean())} | {name: float(values.quantile(q)) for name, q in wanted.items()}


def share(true: Tensor) -> float:
    """The share of True."""
    return float(true.double().mean())
