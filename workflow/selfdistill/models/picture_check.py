"""Checks that text, vision tower, image processor and tokenizer of a model's folder agree.

transformers builds such a model from parts that disagree, and fails in its first forward, or computes something else.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from selfdistill.errors import UserError
from selfdistill.models.pictures import PREPROCESSOR, SPELT, processor_settings
from selfdistill.scoring.pictures import reads_pictures

#: What the processor calls by one name and the vision tower by another.
_SHARED = {"patch_size": "patch_size", "merge_size": "spatial_merge_size", "temporal_patch_size": "temporal_patch_size"}


def check_pictures(folder: Path, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Compare the parts of a model that reads pictures; of any other there is nothing to compare.

    Raises:
        UserError: naming the first of the folder's numbers that do not fit each other.
    """
    if not reads_pictures(config):
        return
    faults = [*_of_config(config), *_of_processor(config, processor_settings(folder)), *_of_tokens(config, tokenizer)]
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise UserError(f"{folder}: {faults[0]}{more}; take the model's files as they were published together")


def _of_config(config: PreTrainedConfig) -> list[str]:
    text, vision = config.text_config, config.vision_config
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    sections = (getattr(text, "rope_parameters", None) or {}).get("mrope_section")
    side, levels = math.isqrt(vision.num_position_embeddings), list(vision.deepstack_visual_indexes)
    found = [
        (
            vision.out_hidden_size == text.hidden_size,
            f"vision_config.out_hidden_size is {vision.out_hidden_size}, text_config.hidden_size {text.hidden_size}: "
            "pictures and words must have one width",
        ),
        (
            bool(sections) and len(sections) == 3 and sum(sections) * 2 == head,
            f"text_config.rope_parameters.mrope_section is {sections}, expected three numbers whose sum is {head // 2} "
            "(half of head_dim)",
        ),
        (
            side**2 == vision.num_position_embeddings,
            f"vision_config.num_position_embeddings is {vision.num_position_embeddings}, expected a square",
        ),
        (
            all(0 <= level < vision.depth for level in levels) and len(levels) <= text.num_hidden_layers,
            f"vision_config.deepstack_visual_indexes is {levels}, expected layers below its depth ({vision.depth}), no "
            f"more than text_config.num_hidden_layers ({text.num_hidden_layers})",
        ),
        (
            vision.hidden_size % vision.num_heads == 0 and vision.hidden_size // vision.num_heads % 4 == 0,
            f"vision_config.hidden_size is {vision.hidden_size} for {vision.num_heads} heads, expected heads whose "
            "width 4 divides",
        ),
        (
            bool(config.tie_word_embeddings) == bool(getattr(text, "tie_word_embeddings", config.tie_word_embeddings)),
            f"tie_word_embeddings is {config.tie_word_embeddings}, in text_config {text.tie_word_embeddings}: each "
            "would have another output layer",
        ),
    ]
    return [said for fits, said in found if not fits]


def _of_processor(config: PreTrainedConfig, settings: Mapping[str, Any]) -> list[str]:
    vision = config.vision_config
    return [
        f"{PREPROCESSOR}: {name} is {settings[name]}, vision_config.{other} {getattr(vision, other)}"
        for name, other in _SHARED.items()
        if settings[name] != getattr(vision, other)
    ]


def _of_tokens(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    known = tokenizer.get_vocab()
    return [
        f"config.json: {name} is {getattr(config, name)}, but the tokenizer has "
        f"{f'{spelling} as {known[spelling]}' if spelling in known else f'no {spelling}'}"
        for name, spelling in SPELT.items()
        if known.get(spelling) != getattr(config, name)
    ]
