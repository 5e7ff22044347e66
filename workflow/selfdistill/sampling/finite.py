"""Draws of a model that says something."""

import numpy as np
from transformers import PreTrainedModel

from selfdistill.errors import UserError
from selfdistill.models.finite import why_not_finite
from selfdistill.sampling.interface import Rollout


def checked_finite(rollouts: list[Rollout], model: PreTrainedModel) -> list[Rollout]:
    """The rollouts themselves; raises UserError where a token's log-prob is no number: it was drawn from nothing."""
    if all(np.isfinite(rollout.logprobs).all() for rollout in rollouts):
        return rollouts
    raise no_number(model)


def no_number(model: PreTrainedModel) -> UserError:
    """What is raised where a model's logits are no numbers."""
    return UserError(
        f"{model.name_or_path or type(model).__name__}: the model's log-probs are no numbers "
        f"({why_not_finite(model)}); of a model in training lower optimizer.learning_rate, of any other take weights "
        "that are finite"
    )
