"""Decides whether a model's prompts may be shared between responses, by its config and by a trial."""

from typing import Any

from transformers import PreTrainedModel

from selfdistill.scoring.attention import sees_its_whole_past
from selfdistill.scoring.lengths import length_of_fixed_rotation
from selfdistill.scoring.manner import plain_logprobs, rounding_of, tokens_for, undisturbed
from selfdistill.scoring.prefix_schedule import schedule_prefixes
from selfdistill.scoring.scores import Sequences
from selfdistill.scoring.shared_prefixes import ModelForwards, score_with_prefixes

#: The attribute of a model that holds the trials' answers; copies of the model have it, too.
_ANSWERS = "_selfdistill_shares"
_PROMPTS, _RESPONSES = (9, 7), ((2, 4), (3,))


def can_share(model: Any, *, packed: bool = False) -> bool:
    """Returns whether a prompt's keys and values may be computed by themselves, and be given back to the model.

    Not so where its config says otherwise, or leaves it open; and not where a trial of some short rows, once for each
    model and form, gives other log-probs than plain forwards: models differ in what they do with a cache.

    Args:
        model: anything that is called as a causal language model of transformers.
        packed: whether its rows are to be packed one after another, in place of padded (scoring.prefix_forms).
    """
    if not isinstance(model, PreTrainedModel):
        return False
    if model.config.get_text_config()._attn_implementation not in ("sdpa", "eager"):
        return False
    if not sees_its_whole_past(model) or (model.training and model.is_gradient_checkpointing):
        return False  # a model that checkpoints activations drops its cache
    if length_of_fixed_rotation(model.config) is not None:
        return False  # a prefix would depend on what follows it
    answers = vars(model).setdefault(_ANSWERS, {})
    if packed not in answers:
        answers[packed] = _trial(model, ModelForwards(model, packed=packed))
    return answers[packed]


def short_rows(model: PreTrainedModel) -> Sequences:
    """Return a few responses under two prompts that have a front in common, of tokens that the model knows."""
    tokens = tokens_for(model, 40)
    front, rest = tokens[:5], iter(tokens[5:])
    prompts, responses = [], []
    for length, sizes in zip(_PROMPTS, _RESPONSES, strict=True):
        prompt = [*front, *(next(rest) for _ in range(length - len(front)))]
        for size in sizes:
            prompts.append(prompt)
            responses.append([next(rest) for _ in range(size)])
    return Sequences(prompts, responses)


def _trial(model: PreTrainedModel, forwards: ModelForwards) -> bool:
    """Says whether two prompts, with a front in common, and their responses are scored as plain forwards score them."""
    sequences = short_rows(model)
    prompts, responses = sequences.prompts, sequences.responses
    with undisturbed(model):
        schedule = schedule_prefixes(sequences, 1000)
        try:
            shared = score_with_prefixes(forwards, sequences, schedule, max(map(len, responses)), 1000).logprobs
        except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError):
            return False  # it cannot be given keys and values in this form
        for row, prompt, response in zip(shared, prompts, responses, strict=True):
            plain = plain_logprobs(model, [*prompt, *response])[len(prompt) - 1 : -1]
            own = plain.gather(1, plain.new_tensor(response).long()[:, None])[:, 0]
            if not bool(((row[: len(response)] - own).abs() <= rounding_of(model)).all()):
                return False
    return True
