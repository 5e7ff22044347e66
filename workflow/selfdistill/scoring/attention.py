"""Finds out what must be known of a model's attention before it may be given keys and values of an earlier forward."""

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager

from transformers import PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicCache, DynamicLayer

from selfdistill.scoring.lengths import position_count

#: Kinds of layers that attend to all before a token. A window's width is looked at; any other kind counts as no.
_WHOLE, _WINDOW = ("full_attention", "attention", "dense"), "sliding_attention"
#: Fields of configs that name the kind of each layer.
_KINDS = ("layer_types", "layers_block_type", "block_types")
#: Fields of configs that narrow what a token attends to, whatever the kinds of layers are called.
_NARROWING = re.compile(r"window|attention_chunk|attn_chunk|local_att|sparse|index_topk|compress|bidirectional")
#: Fields that match and are something else: how far a window goes is read with the kinds of layers.
_OTHER = ("sliding_window", "max_window_layers", "use_sliding_window", "decoder_sparse_step")
_NO_LIMIT = 1 << 62


def sees_its_whole_past(model: PreTrainedModel) -> bool:
    """Returns whether each token attends to all before it, at its given position, wherever its keys are in a cache.

    Not so with sliding windows and local layers (but for windows at least as wide as there are positions), states in
    place of keys and values, keys that are chosen or compressed, and ALiBi, which takes a key's column for its
    position. What cannot be told from the config counts as no.
    """
    config = model.config.get_text_config()
    if "position_ids" not in inspect.signature(model.forward).parameters or getattr(config, "alibi", False):
        return False
    most = position_count(config) or _NO_LIMIT
    kinds = next((value for name in _KINDS if (value := getattr(config, name, None)) is not None), None)
    if kinds is None:
        # The kinds that transformers takes for granted are those of its cache; without layers there it knows none.
        layers = DynamicCache(config=config).layers
        whole = bool(layers) and all(
            type(layer) is DynamicLayer or _is_wide(getattr(layer, "sliding_window", None), most) for layer in layers
        )
    else:
        window = getattr(config, "sliding_window", None)
        whole = bool(kinds) and all(kind in _WHOLE or (kind == _WINDOW and _is_wide(window, most)) for kind in kinds)
    return whole and not any(_narrows(config, name, most) for name in vars(config))


@contextmanager
def attending_as(model: PreTrainedModel, name: str | None) -> Iterator[None]:
    """Let a model use another attention inside the block, by its name in transformers; None: its own."""
    config = model.config.get_text_config()
    before = config._attn_implementation
    if name is not None:
        config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = before


def _is_wide(window: object, positions: int) -> bool:
    return isinstance(window, int) and window >= positions


def _narrows(config: PreTrainedConfig, name: str, positions: int) -> bool:
    """Returns whether the config makes some layer see less than all, or more; a window as wide as all does not."""
    value = getattr(config, name, None)
    if name == "attention_layers":
        return "local" in (value or ())  # GPT-Neo's
    if name in _OTHER or name.endswith("_pattern") or not _NARROWING.search(name):
        return False
    if isinstance(value, int) and not isinstance(value, bool):
        return 0 < value < positions
    return bool(value) and value != "vision"  # among the tokens of an image; there are none here
