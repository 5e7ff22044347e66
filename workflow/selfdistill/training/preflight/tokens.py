"""Measures what a context changes at the first wrong token of a response, and everywhere else."""

from collections.abc import Sequence

import torch

from selfdistill.models.tokenizer_check import token_ids
from selfdistill.objectives.divergences import distributions, divergence
from selfdistill.scoring.query import Query
from selfdistill.scoring.scores import Sequences
from selfdistill.tasks.graders import repaired
from selfdistill.tasks.schema import Problem
from selfdistill.training.preflight.reader import Attempt, Reader

_SUPPORT = 16  # the student's most likely ids, at which divergences are read, with one bucket for all others


def first_wrong_token(
    reader: Reader, problem: Problem, text: str, response: Sequence[int]
) -> tuple[int | None, int | None]:
    """Return the number of the first token that is not as it should be, and the id that should be there.

    None and None where the grader cannot tell.
    """
    mended = repaired(reader.how.grader, text, problem)
    if mended is None:
        return None, None
    for place, (drawn, wanted) in enumerate(zip(response, token_ids(reader.tokenizer, mended), strict=False)):
        if drawn != wanted:
            return place, wanted
    return None, None


def at_place(reader: Reader, attempts: Sequence[Attempt], prompts: Sequence[list[int]]) -> dict[str, float]:
    """Measure what a model that reads these prompts would have at the first wrong token.

    Args:
        reader: the model.
        attempts: whose first wrong token is known; {} is returned where there are none.
        prompts: token ids, one an attempt: the student's, or a teacher's.
    """
    if not attempts:
        return {}
    mended = [[*a.response[: a.place], a.wanted] for a in attempts]
    scores = reader.scorer(Sequences(prompts, mended), max(map(len, mended)), Query(top_k=1))
    rows, places = torch.arange(len(attempts)), torch.tensor([a.place for a in attempts])
    first = scores.ids.cpu()[rows, places, 0] == torch.tensor([a.wanted for a in attempts])
    return {
        "argmax_right": float(first.double().mean()),
        "right_probability": float(scores.logprobs.cpu()[rows, places].exp().double().mean()),
    }


def token_measures(reader: Reader, attempts: Sequence[Attempt], prompts: Sequence[list[int]]) -> dict[str, float]:
    """Measure what a context changes at the first wrong token, and elsewhere; arguments as in `at_place`."""
    if not attempts:
        return {}
    responses = [a.response for a in attempts]
    width, scorer = max(map(len, responses)), reader.scorer
    top_k = min(_SUPPORT, scorer.vocabulary)
    student = scorer(Sequences([a.prompt for a in attempts], responses), width, Query(top_k=top_k))
    teacher = scorer(Sequences(prompts, responses), width, Query().at(student.ids))
    real = torch.tensor([[i < len(r) for i in range(width)] for r in responses])
    there = torch.zeros_like(real)
    there[torch.arange(len(attempts)), torch.tensor([a.place for a in attempts])] = True
    ratio = (teacher.logprobs - student.logprobs).cpu().double()
    apart = torch.zeros_like(ratio)
    own, other = (distributions(s.support.cpu()[real], top_k, tail=True) for s in (student, teacher))
    apart[real] = divergence(own, other, 0.5).double()
    elsewhere = ratio.abs()[real & ~there].mean()
    return {
        **at_place(reader, attempts, prompts),
        "log_ratio": float(ratio[there].mean()),
        "elsewhere": float(elsewhere),
        "elsewhere_share": float(elsewhere / max(ratio[there].mean().abs(), 1e-12)),
        "divergence": float(apart[there].mean()),
        "divergence_elsewhere": float(apart[real & ~there].mean()),
    }
