"""Whether a model's prompts may be shared between responses: what its config says, and what a trial says."""

from typing import Any

from transformers import PreTrainedModel

from selfdistill.scoring.attention import sees_its_whole_past
from selfdistill.scoring.lengths import length_of_fixed_rotation
from selfdistill.scoring.manner import plain_logprobs, rounding_of, tokens_for, undisturbed
from selfdistill.scoring.prefix_schedule import schedule_prefixes
from selfdistill.scoring.scores import Sequences
from selfdistill.scoring.shared_prefixes import score_with_prefixes

#: The attribute of a model that holds the trial's answer; copies of the model have it, too.
_ANSWER = "_selfdistill_shares"
_PROMPTS, _RESPONSES = (9, 7), ((2, 4), (3,))


def can_share(model: Any) -> bool:
    """Whether a prompt's keys and values may be computed apart from what follows it, and be given back to the model.

    Not so where its config says otherwise, or leaves it open; and not where a trial of some short rows, once for each
    model, gives other log-probs than plain forwards: models differ in what they do with a cache.
    """
    if not isinstance(model, PreTrainedModel):
        return False
    if model.config.get_text_config()._attn_implementation not in ("sdpa", "eager"):
        return False
    if not sees_its_whole_past(model) or (model.training and model.is_gradient_checkpointing):
        return False  # a model that checkpoints activations drops its cache
    if length_of_fixed_rotation(model.config) is not None:
        return False  # a prefix would depend on what follows it
    if _ANSWER not in vars(model):
        setattr(model, _ANSWER, _trial(model))
    return vars(model)[_ANSWER]


def _trial(model: PreTrainedModel) -> bool:
    """Whether two prompts, with a front in common, and their responses are scored as plain forwards score them."""
    tokens = tokens_for(model, 40)
    front, rest = tokens[:5], iter(tokens[5:])
    prompts, responses = [], []
    for length, sizes in zip(_PROMPTS, _RESPONSES, strict=True):
        prompt = [*front, *(next(rest) for _ in range(length - len(front)))]
        for size in sizes:
            prompts.append(prompt)
            responses.append([next(rest) for _ in range(size)])
    sequences = Sequences(prompts, responses)
    with undisturbed(model):
        schedule = schedule_prefixes(sequences, 1000)
        try:
            shared = score_with_prefixes(model, sequences, schedule, max(map(len, responses)), 1000).logprobs
        except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError):
            return False  # it cannot be given keys and values in this form
        for row, prompt, response in zip(shared, prompts, responses, strict=True):
            plain = plain_logprobs(model, [*prompt, *response])[len(prompt) - 1 : -1]
            own = plain.gather(1, plain.new_tensor(response).long()[:, None])[:, 0]
            if not bool(((row[: len(response)] - own).abs() <= rounding_of(model)).all()):
                return False
    return True
