"""Reads vocabulary, layers and lengths from a model's config, wherever in it the language model's part stands."""

from collections.abc import Iterator, Mapping
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel

#: Names under which configs say how many positions there are.
_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len")
#: Kinds of rotary embeddings whose factor stretches what `max_position_embeddings` says, if it is not stretched yet.
_STRETCHED = ("linear", "yarn")
#: Names under which configs say how many keys a token chooses.
_SPARSE = ("index_topk", "keep_window_size")
#: Names under which configs of models with states say how many tokens they take at a time.
_CHUNKS = ("chunk_size", "mamba_chunk_size")


def vocabulary_size(config: PreTrainedConfig) -> int:
    """Returns how many ids the language model knows; in configs of text and images that is said of the text's part."""
    return config.get_text_config().vocab_size


def layer_count(model: PreTrainedModel) -> int:
    """Returns how many layers of the language model may keep keys and values."""
    return model.config.get_text_config().num_hidden_layers


def position_count(config: PreTrainedConfig) -> int | None:
    """Says how many tokens a row may have; None where the config sets no limit, as for relative positions and states.

    With a factor in `rope_parameters` it is the larger one of `max_position_embeddings` and the product of factor and
    original positions: model cards tell to add the factor alone, while other configs hold the product already.
    """
    text = config.get_text_config()
    named = (getattr(text, name, None) for name in _POSITIONS)
    stated = next((number for number in named if isinstance(number, int) and number > 0), None)
    if stated is None:
        return None
    stretched = [
        int(rope["factor"] * (rope.get("original_max_position_embeddings") or stated))
        if rope.get("rope_type") in _STRETCHED and rope.get("factor")
        else stated
        for rope in _ropes(text)
    ]
    return max(stated, min(stretched, default=stated))


def length_of_fixed_rotation(config: PreTrainedConfig) -> int | None:
    """Return the longest row up to which rotary frequencies do not depend on how long a row, or one beside it, is.

    None where they never do. Behind it ("longrope", "dynamic") transformers chooses them by the longest row of a
    forward, and turns keys in a cache by those of the forward that made them.
    """
    text = config.get_text_config()
    limits = []
    for rope in _ropes(text):
        if _depends_on_length(rope):
            # Either kind names it in its own way; the last is what transformers fills in.
            own = rope.get("original_max_position_embeddings") if rope["rope_type"] == "longrope" else None
            limits.append(own or getattr(text, "max_position_embeddings", None) or 0)
    return min(limits, default=None)


def rotation_kinds(config: PreTrainedConfig) -> list[str]:
    """Return the kinds of rotary embeddings whose frequencies depend on lengths, of those that the config names."""
    return sorted({rope["rope_type"] for rope in _ropes(config.get_text_config()) if _depends_on_length(rope)})


def length_of_dense_attention(config: PreTrainedConfig) -> int | None:
    """Return the longest row in which every token attends to each before it.

    Models that choose or compress their keys do so in longer rows; None for all others.
    """
    text = config.get_text_config()
    limits = [value for name in _SPARSE if isinstance(value := getattr(text, name, None), int) and value > 0]
    rates = getattr(text, "compress_rates", None)
    if rates:
        limits.append(min(rates.values() if isinstance(rates, Mapping) else rates) - 1)
    return min(limits, default=None)


def scan_length(config: PreTrainedConfig) -> int | None:
    """Return the tokens that a model with states takes at a time; None where it does not say so."""
    sizes = (getattr(config.get_text_config(), name, None) for name in _CHUNKS)
    return next((size for size in sizes if isinstance(size, int) and size > 0), None)


def _depends_on_length(rope: Mapping[str, Any]) -> bool:
    kind = rope.get("rope_type") or ""
    return kind == "longrope" or "dynamic" in kind


def _ropes(text: PreTrainedConfig) -> Iterator[Mapping[str, Any]]:
    """The parameters of rotary embeddings; some models have one set for each type of layer."""
    parameters = getattr(text, "rope_parameters", None) or {}
    if not isinstance(parameters, Mapping):
        return
    nested = [each for each in parameters.values() if isinstance(each, Mapping)]
    yield from nested or ([parameters] if parameters else [])
