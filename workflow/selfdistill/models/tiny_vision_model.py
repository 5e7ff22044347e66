"""Builds the toy's model for pictures: a very small Qwen3-VL, its word-level tokenizer and its image processor.

As models/tiny_model.py, whose text model it has, with a vision tower that makes one token of each cell of a picture of
tasks/cells.py: four patches of 4x4 pixels, merged two by two. What must agree between config, tokenizer and processor
is Qwen3-VL's (arXiv 2511.21631): ids of the image tokens, patch and merge sizes, learned positions of one picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from selfdistill.models.tiny_model import (
    CHAT_PIECES,
    END,
    PAD,
    START,
    UNKNOWN,
    TinyModel,
    chat_template,
    language_config,
    word_tokenizer,
)
from selfdistill.randomness import seed_of
from selfdistill.tasks import prompts
from selfdistill.tasks.cells import CELL_PIXELS, SIDE

VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"
IMAGE_PAD, VIDEO_PAD = "<|image_pad|>", "<|video_pad|>"
#: Control tokens first: ids 0 to 3 are those of the toy without pictures.
_SPECIAL = [PAD, START, END, UNKNOWN, VISION_START, VISION_END, IMAGE_PAD, VIDEO_PAD]
_MERGE = 2  # patches a side that become one token
_TEMPORAL_PATCH = 2  # frames a patch; a picture is two equal ones
# As Qwen-VL's: content is text, or a list of parts of which each picture becomes one token between two marks.
_CHAT_TEMPLATE = chat_template(
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
)


@dataclass(frozen=True)
class TinyVisionModel(TinyModel):
    """Sizes of the tiny Qwen3-VL; of the text model as in models/tiny_model.py.

    Attributes:
        mrope_section: how many of the frequencies of half a head are for time, height and width.
        vision_hidden_size, vision_layers, vision_heads, vision_mlp_size: of the vision tower.
        patch_size: pixels of a patch's side.
        deepstack_layers: vision layers whose features are added after the first text layers, one each.
    """

    max_positions: int = 1024
    mrope_section: Sequence[int] = (6, 5, 5)
    vision_hidden_size: int = 48
    vision_layers: int = 2
    vision_heads: int = 4
    vision_mlp_size: int = 96
    patch_size: int = CELL_PIXELS // _MERGE
    deepstack_layers: Sequence[int] = (0,)


def build_vision_tokenizer(phrases: Sequence[str]) -> PreTrainedTokenizerFast:
    """Return the tokenizer of a toy task with pictures: the words around a problem, and the task's own phrases."""
    pieces = dict.fromkeys([*CHAT_PIECES, *prompts.PHRASES, *phrases])
    return word_tokenizer(_SPECIAL, list(pieces), _CHAT_TEMPLATE)


def image_processor_settings(sizes: TinyVisionModel) -> dict[str, Any]:
    """Returns preprocessor_config.json: pictures of tasks/cells.py keep their size, which is enlarged by default."""
    return {
        "image_processor_type": "Qwen2VLImageProcessor",
        "patch_size": sizes.patch_size,
        "temporal_patch_size": _TEMPORAL_PATCH,
        "merge_size": _MERGE,
        "size": {"shortest_edge": CELL_PIXELS**2, "longest_edge": (SIDE * CELL_PIXELS) ** 2},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }


def build_vision_model(
    sizes: TinyVisionModel, tokenizer: PreTrainedTokenizerFast, seed: int
) -> Qwen3VLForConditionalGeneration:
    """Return a freshly initialised float32 model; its vocabulary is exactly the tokenizer's."""
    patches = SIDE * CELL_PIXELS // sizes.patch_size
    text = language_config(sizes, tokenizer) | {
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_interleaved": True,
            "mrope_section": list(sizes.mrope_section),
        },
    }
    vision = {
        "depth": sizes.vision_layers,
        "hidden_size": sizes.vision_hidden_size,
        "intermediate_size": sizes.vision_mlp_size,
        "num_heads": sizes.vision_heads,
        "patch_size": sizes.patch_size,
        "spatial_merge_size": _MERGE,
        "temporal_patch_size": _TEMPORAL_PATCH,
        "out_hidden_size": sizes.hidden_size,
        "num_position_embeddings": patches**2,
        "deepstack_visual_indexes": list(sizes.deepstack_layers),
        "initializer_range": sizes.initializer_range,
    }
    ids = {
        "image_token_id": IMAGE_PAD,
        "video_token_id": VIDEO_PAD,
        "vision_start_token_id": VISION_START,
        "vision_end_token_id": VISION_END,
    }
    config = Qwen3VLConfig(
        text_config=text,
        vision_config=vision,
        tie_word_embeddings=True,
        dtype=torch.float32,
        **{name: tokenizer.convert_tokens_to_ids(token) for name, token in ids.items()},
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(seed, "initial weights"))
        return Qwen3VLForConditionalGeneration(config).float()
