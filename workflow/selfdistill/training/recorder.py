"""Records some rollouts of a training step token by token (schema: runs.records)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from selfdistill.objectives.batch import Batch, Student, Targets, TokenLoss
from selfdistill.objectives.methods import Method
from selfdistill.randomness import generator
from selfdistill.scoring.scores import Scorer, Sequences
from selfdistill.tasks.contexts import Hint
from selfdistill.tasks.messages import as_text
from selfdistill.tasks.thumbnails import thumbnail
from selfdistill.training.rollouts import StepRollouts
from selfdistill.training.token_texts import token_texts
from selfdistill.training.update import read_by_loss

#: What a loss watches of the tokens that a clip of its signal changes, as 0 and 1.
_CLIPPED = ("signal/clipped_share", "signal/weight_clipped_share", "signal/evidence_clipped_share")


def chosen_rows(hinted: Sequence[bool], count: int, seed: int, step: int) -> list[int]:
    """Up to `count` of the rows that have hints, at random but the same for equal seed and step; in order."""
    rows = [i for i, has_hints in enumerate(hinted) if has_hints]
    order = generator(seed, "records", step).permutation(len(rows))
    return sorted(rows[i] for i in order[:count])


def rollout_facts(
    rollouts: StepRollouts,
    row: int,
    *,
    step: int,
    group_size: int,
    reward: float,
    hints: tuple[Hint, Sequence[Hint]],
    context: Sequence[int] | None,
    tokenizer: PreTrainedTokenizerBase,
) -> dict[str, Any]:
    """Return the part of a record that is known before the teacher is asked.

    rollouts, row: of the step, and which of them it is; hints: the correct and the wrong ones as the teacher reads
    them; context: its prompt with the correct one, as ids.
    """
    right, wrong = hints
    problem, response = rollouts.problems[row], rollouts.responses[row]
    said = {"score": rollouts.scores, "feedback": rollouts.feedback}  # of graders that give these
    critique = right.praise if right.critique is None else right.critique
    return {
        "step": step,
        "prompt": row // group_size,
        "rollout": row % group_size,
        "problem_id": problem.id,
        "problem": as_text(problem.messages) if problem.messages else problem.problem,
        "answer": problem.answer,
        "correct": bool(rollouts.correct[row]),
        **{key: each[row] for key, each in said.items() if each is not None and each[row] is not None},
        "reward": reward,
        "tokens": token_texts(tokenizer, response),
        "token_ids": list(response),
        "correct_solution": right.solution or "",
        "correct_answer": right.answer or "",
        **({"correct_feedback": right.feedback} if right.feedback is not None else {}),
        **({"critique": critique} if critique is not None else {}),
        **({"context": tokenizer.decode(context, skip_special_tokens=False)} if context is not None else {}),
        **({"images": [thumbnail(each) for each in problem.images]} if problem.images else {}),
        "wrong_solutions": [hint.solution or "" for hint in wrong],
        "wrong_answers": [hint.answer or "" for hint in wrong],
    }


@torch.no_grad()
def token_facts(
    student: Scorer, method: Method, sequences: Sequences, batch: Batch, targets: Targets, rows: Sequence[int]
) -> list[dict[str, Any]]:
    """Return the part of a record that teacher and method give, for the given rows of an optimizer step's batch.

    It costs one forward of the student over these rows and changes nothing: some methods take their signal from the
    student's forward of the update, of which this is a copy.
    """
    if not rows:
        return []
    # Of the whole global batch: 1 is the mean of what carries a loss.
    live = targets.weights != 0
    scale = float(live.sum() / targets.weights.abs().sum()) if live.any() else 0.0
    index = torch.tensor(rows, device=batch.advantages.device)
    batch, targets = batch.rows(index), targets.rows(index)
    responses = [sequences.responses[i] for i in rows]
    chosen = Sequences([sequences.prompts[i] for i in rows], responses)
    scores = student(chosen, batch.response_mask.shape[1], read_by_loss(method, batch))
    loss = method.token_loss(Student(scores.logprobs, scores.support, scores.entropy), batch, targets)
    advantages = targets.advantages if loss.advantages is None else loss.advantages
    marked = _marked(loss, targets)
    facts = []
    for row, response in enumerate(responses):
        length = len(response)

        def cut(values: Tensor, row: int = row, length: int = length) -> np.ndarray:
            return values[row, ..., :length].detach().cpu().numpy()

        distilled = targets.distilled is not None and bool(targets.distilled[row])
        hints = batch.wrong_mask[row].cpu().numpy()
        facts.append(
            {
                "advantage": float(batch.advantages[row]),
                "old_logprobs": cut(batch.old_logprobs),
                "student_logprobs": cut(scores.logprobs),
                "correct_logprobs": cut(batch.correct_logprobs),
                "wrong_logprobs": list(cut(batch.wrong_logprobs)[hints]),
                "advantages_after": None if distilled else cut(advantages),
                "divergences": cut(loss.values) if distilled else None,
                "weights": cut(targets.weights) * np.float32(scale),
                "marked": None if marked is None else cut(marked),
            }
        )
    return facts


def _marked(loss: TokenLoss, targets: Targets) -> Tensor | None:
    """(B, T) bool, or None where the method neither selects nor clips."""
    masks = [] if targets.marked is None else [targets.marked]
    masks += [(values > 0) & mask for values, mask in (loss.watched[name] for name in _CLIPPED if name in loss.watched)]
    return torch.stack(masks).any(dim=0) if masks else None
