"""Compares a sampler's first draws with plain forwards: a model may read a cache, a mask or padding otherwise."""

import numpy as np
import torch
from transformers import PreTrainedModel

from selfdistill.errors import UserError
from selfdistill.sampling.interface import Sampler, SamplingSettings
from selfdistill.scoring.attention import sees_its_whole_past
from selfdistill.scoring.manner import manner_of, plain_logprobs, tokens_for, undisturbed

#: Lengths of prompts, two of them equal, and tokens of each response.
_PROMPTS, _RESPONSE = (3, 7, 7), 4


def check_sampler(sampler: Sampler, model: PreTrainedModel, engine: str) -> None:
    """Draw a few short responses, whose log-probs must be those of plain forwards; no random state is changed.

    Args:
        sampler: of the model.
        model: in this process.
        engine: the sampler's name in the settings, for the message.

    Raises:
        UserError: where they differ by more than rounding, and where the model cannot be drawn from in this way.
    """
    name = f"{model.name_or_path or type(model).__name__} (model_type {model.config.get_text_config().model_type})"
    tokens = iter(tokens_for(model, sum(_PROMPTS)))
    prompts = [[next(tokens) for _ in range(length)] for length in _PROMPTS]
    try:
        with undisturbed(model):
            rollouts = sampler.sample(prompts, SamplingSettings(_RESPONSE), [("trial", i) for i in range(len(prompts))])
            worst = max(_error(model, *row) for row in zip(prompts, rollouts, strict=True))
    except UserError:
        raise
    except Exception as error:  # whatever a model makes of a cache or mask that it does not know
        reason = f"{type(error).__name__}: {str(error).strip()}".partition("\n")[0]
        raise UserError(
            f"{name}: engine {engine} cannot draw from it ({reason}); take {_another(model, engine)}"
        ) from error
    if not worst <= manner_of(model).rounding:
        raise UserError(
            f"{name}: the log-probs that engine {engine} gives differ from a plain forward's by {worst:.2g} nats; take "
            f"{_another(model, engine)}"
        )


def _another(model: PreTrainedModel, engine: str) -> str:
    if engine == "own":
        return "engine transformers, or another model"
    return "engine own, or another model" if sees_its_whole_past(model) else "another model"


def _error(model: PreTrainedModel, prompt: list[int], rollout) -> float:
    scores = plain_logprobs(model, [*prompt, *rollout.response_ids])[len(prompt) - 1 : -1]
    own = scores.gather(1, torch.tensor(rollout.response_ids, device=scores.device)[:, None])[:, 0]
    return float(np.abs(own.cpu().numpy() - rollout.logprobs).max())
