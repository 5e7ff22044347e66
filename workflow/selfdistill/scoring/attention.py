"""What has to be known of a model's attention before a forward of ours gives it keys and values of an earlier one."""

import inspect

from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache, DynamicLayer


def sees_its_whole_past(model: PreTrainedModel) -> bool:
    """Whether each token attends to all before it, at the position that it is given, wherever its keys are in a cache.

    Not so with sliding windows and local layers, states in place of keys and values, and ALiBi, which takes a key's
    column for its position.
    """
    config = model.config.get_text_config()
    if any(type(layer) is not DynamicLayer for layer in DynamicCache(config=config).layers):
        return False
    if "position_ids" not in inspect.signature(model.forward).parameters or getattr(config, "alibi", False):
        return False
    return "local" not in (getattr(config, "attention_layers", None) or ())  # GPT-Neo's, which its cache does not show
