"""Measures at each token, before any training, whether a teacher's signal is style or substance."""

import torch
from torch import Tensor

from selfdistill.objectives.divergences import divergence
from selfdistill.scoring.pairs import Pair


def compared(pair: Pair, top_k: int) -> dict[str, Tensor]:
    """Compare the student's distributions with the teacher's.

    Args:
        pair: the student first, the teacher second.
        top_k: k, size of the sets of likely ids.

    Returns:
        (n,) each: `kl`, KL(student, teacher) over the whole vocabulary, nats; `student` and `teacher`, log-probs of the
        drawn token; `overlap`, the share of each one's k most likely ids that are the other's too; `student_mass` and
        `teacher_mass`, the probability that each gives to the ids in both sets.
    """
    student, teacher, labels = pair
    count = min(top_k, student.shape[1])
    likely = student.topk(count, dim=1).indices, teacher.topk(count, dim=1).indices
    both = (likely[0][:, :, None] == likely[1][:, None, :]).any(dim=2)  # (n, k), of the student's ids
    shared = [torch.where(both, logprobs.gather(1, likely[0]).exp(), 0.0).sum(dim=1) for logprobs in (student, teacher)]
    return {
        "kl": divergence(student, teacher, 1.0),
        "student": student.gather(1, labels[:, None])[:, 0],
        "teacher": teacher.gather(1, labels[:, None])[:, 0],
        "overlap": both.float().mean(dim=1),
        "student_mass": shared[0],
        "teacher_mass": shared[1],
    }
