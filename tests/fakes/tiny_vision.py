"""A very small Qwen3-VL of random weights, its folder, and problems with pictures for it."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import PreTrainedTokenizerFast, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from selfdistill.models.pictures import PictureReader
from selfdistill.models.tiny_model import build_tokenizer
from selfdistill.scoring.prompts import Prompt, expanded
from selfdistill.study.run_settings import ChatSettings
from selfdistill.tasks.pictures import Picture
from selfdistill.tasks.schema import Problem

SPELT = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
PROCESSOR = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "size": {"shortest_edge": 64, "longest_edge": 1024},
    "patch_size": 4,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def vision_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = build_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", *SPELT]})
    tokenizer.chat_template = _TEMPLATE
    return tokenizer


def vision_model(tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> Qwen3VLForConditionalGeneration:
    ids = dict(zip(("start", "end", "image", "video"), tokenizer.convert_tokens_to_ids(list(SPELT)), strict=True))
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_interleaved": True, "mrope_section": [3, 3, 2]}
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "max_position_embeddings": 1024,
            "initializer_range": 0.2,
            "tie_word_embeddings": True,
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "bos_token_id": None,
            "rope_parameters": rope,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 4,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": 32,
            "num_position_embeddings": 36,
            "deepstack_visual_indexes": [0],
            "initializer_range": 0.2,
        },
        image_token_id=ids["image"],
        video_token_id=ids["video"],
        vision_start_token_id=ids["start"],
        vision_end_token_id=ids["end"],
        tie_word_embeddings=True,
        dtype=torch.float32,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Qwen3VLForConditionalGeneration(config).float().eval()


def vision_reader(model: Qwen3VLForConditionalGeneration, **bounds: int) -> PictureReader:
    return PictureReader(PROCESSOR, model.config.image_token_id, ChatSettings(**bounds), "tiny")


def vision_folder(folder: Path, seed: int = 0) -> Path:
    """A model folder as transformers saves one, with the image processor's settings."""
    tokenizer = vision_tokenizer()
    model = vision_model(tokenizer, seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    vision_reader(model).save(folder)
    return folder


def picture(number: int, width: int = 24, height: int = 24) -> Picture:
    """A picture of cells of 8 x 8 pixels in random colours, the same for equal numbers, as a PNG."""
    cells = np.random.default_rng(number).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    held = io.BytesIO()
    Image.fromarray(cells.repeat(8, axis=0).repeat(8, axis=1)).save(held, "PNG")
    return Picture.of(held.getvalue())


def pictured_problem(index: int, *pictures: Picture, split: str = "train", question: str = "17 + 4?") -> Problem:
    """A problem whose question begins with a place for each picture."""
    text = "<image>" * len(pictures) + question
    return Problem(f"cells/{index}", "cells", text, "21", "17 + 4 = 21", "vision", index, split, images=tuple(pictures))


def pictured_prompt(reader: PictureReader, *pictures: Picture, before=(1, 8), after=(9, 7, 5)) -> Prompt:
    """Ids with some pictures, each between words."""
    ids = list(before)
    for _ in pictures:
        ids += [reader.token, *after]
    return expanded(ids, reader.of(pictures))
