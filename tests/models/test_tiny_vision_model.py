"""The toy's Qwen3-VL: its parts fit each other, and its warm start sees the pictures."""

import numpy as np
import torch
from safetensors import safe_open
from tiny_vision_entry import ENTRY, SMALL

from selfdistill.models.base_model import provide
from selfdistill.models.loading import load_model
from selfdistill.models.pictures import PictureReader, picture_reader
from selfdistill.models.saving import save_model
from selfdistill.models.tiny_vision_model import (
    IMAGE_PAD,
    TinyVisionModel,
    build_vision_model,
    build_vision_tokenizer,
    image_processor_settings,
)
from selfdistill.models.warm_start import accumulate_gradients
from selfdistill.study.run_settings import ChatSettings
from selfdistill.tasks import cells
from selfdistill.tasks.demonstrations import Demonstration


def test_sizes_are_those_of_the_toy():
    tokenizer = build_vision_tokenizer(cells.PHRASES)
    model = build_vision_model(TinyVisionModel(), tokenizer, 0)
    assert sum(each.numel() for each in model.parameters()) == 369_328
    assert tokenizer.convert_tokens_to_ids(IMAGE_PAD) == model.config.image_token_id == 6
    assert model.config.text_config.vocab_size == len(tokenizer) == 61
    first, second = (build_vision_model(TinyVisionModel(**SMALL), tokenizer, seed) for seed in (0, 0))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_folder_holds_each_weight_once(tmp_path):
    """Word embeddings are the output layer, tied in text model and whole: a second tensor would go its own way."""
    tokenizer = build_vision_tokenizer(cells.PHRASES)
    model = build_vision_model(TinyVisionModel(), tokenizer, 0)
    settings = image_processor_settings(TinyVisionModel())
    reader = PictureReader(settings, model.config.image_token_id, ChatSettings(), "the toy")
    save_model(model, tokenizer, tmp_path / "model", reader)
    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as file:
        names = list(file.keys())
        assert sum(file.get_tensor(name).numel() for name in names) == 369_328
    assert len(names) == 74
    assert not any("lm_head" in name for name in names)


def test_a_rebuilt_model_is_loaded_with_its_reader_and_sees_the_picture(tmp_path):
    lines = []
    provide(ENTRY, "cells", tmp_path / "model", lines.append)
    assert any(line.startswith("warm start step 2/2") for line in lines)
    model, tokenizer = load_model(tmp_path / "model", torch.device("cpu"))
    reader = picture_reader(tmp_path / "model", model.config, ChatSettings())
    assert reader.bounds == (64, 576)
    losses = []
    for colour in ("red", "blue"):
        shown = Demonstration("<image>How many cells are red?", "x", (cells.Grid(((colour,) * 3,) * 3).png(),))
        losses.append(accumulate_gradients(model, tokenizer, [shown], ChatSettings(), reader))
    assert abs(losses[0] - losses[1]) > 1e-5


def test_a_warm_start_gives_gradients_to_the_vision_tower():
    tokenizer = build_vision_tokenizer(cells.PHRASES)
    sizes = TinyVisionModel(**SMALL)
    model = build_vision_model(sizes, tokenizer, 0)
    reader = PictureReader(image_processor_settings(sizes), model.config.image_token_id, ChatSettings(), "the toy")
    walk = cells.generate(np.random.default_rng(0), 1)
    accumulate_gradients(model, tokenizer, [Demonstration(walk.text(), "red", walk.pictures)], ChatSettings(), reader)
    assert float(model.model.visual.patch_embed.proj.weight.grad.abs().sum()) > 0
