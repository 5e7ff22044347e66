"""Measures whether a teacher reads a critique or only that there is one: the same critique on a right rollout.

A longer prompt changes log-probs whatever it says. What a critique of one rollout does to a right rollout of the same
problem is that general shift; what it does to its own rollout beyond it, is judgement (docs/methods.md, Critics).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from selfdistill.objectives.batch import mean_over
from selfdistill.scoring.scores import Scorer, Sequences
from selfdistill.signals.teacher_contexts import TeacherContexts


def placebo_pairs(
    contexts: TeacherContexts, correct: Sequence[bool], group_size: int, most: int
) -> list[tuple[int, int]]:
    """Pair rollouts that have a critique with right ones of their group.

    Args:
        contexts: of B rollouts, group by group.
        correct: the verifier's verdicts.
        group_size: rollouts of a group.
        most: how many pairs; the first ones.

    Returns:
        (wrong rollout, right rollout); the right ones of a group in turn, so that none stands for all.
    """
    pairs: list[tuple[int, int]] = []
    turn: dict[int, int] = {}
    for row, hinted in enumerate(contexts.hinted):
        if not hinted or correct[row]:
            continue
        group = row // group_size
        begin = group * group_size
        right = [i for i in range(begin, min(begin + group_size, len(correct))) if correct[i]]
        if right:
            pairs.append((row, right[turn.get(group, 0) % len(right)]))
            turn[group] = turn.get(group, 0) + 1
    return pairs[:most]


def delta_metrics(
    teacher: Scorer,
    contexts: TeacherContexts,
    responses: Sequence[Sequence[int]],
    correct: Tensor,
    student: Tensor,
    scored: Tensor,
    *,
    group_size: int,
    rollouts: int,
) -> dict[str, float]:
    """Compare what critiques do to their own rollouts with what they do to right ones. d is teacher minus student.

    Args:
        teacher: its weights.
        contexts: of B rollouts, as `scored` was made with.
        responses: token ids.
        correct: (B,) bool, the verifier's verdicts.
        student: (B, T) log-probs of the sampled tokens before the update, nats.
        scored: (B, T) the teacher's, under each rollout's own critique, nats.
        group_size: rollouts of a group.
        rollouts: the most that are read as a placebo.

    Returns:
        teacher/delta_wrong: mean d over all tokens of wrong rollouts that have a critique, nats.
        teacher/delta_right_placebo: the same of right rollouts that another's critique is read on.
        teacher/delta_gap: mean d of the rollouts whose critiques those are, minus delta_right_placebo; below 0 where
            a critique speaks of its own rollout.
        What has no rollout to be measured on is left out.
    """
    hinted = torch.tensor(contexts.hinted, device=correct.device) & ~correct
    lengths = torch.tensor([len(response) for response in responses], device=student.device)
    mask = torch.arange(student.shape[1], device=student.device) < lengths[:, None]
    delta = scored - student
    if not hinted.any():
        return {}
    found = {"teacher/delta_wrong": mean_over(delta, mask & hinted[:, None])}
    pairs = placebo_pairs(contexts, correct.tolist(), group_size, rollouts)
    if not pairs:
        return found
    wrong, right = (list(rows) for rows in zip(*pairs, strict=True))
    chosen = Sequences([contexts.correct[row] for row in wrong], [responses[row] for row in right])
    placebo = teacher(chosen, student.shape[1]).logprobs - student[right]
    mean = mean_over(placebo, mask[right])
    return found | {
        "teacher/delta_right_placebo": mean,
        "teacher/delta_gap": mean_over(delta[wrong], mask[wrong]) - mean,
    }
