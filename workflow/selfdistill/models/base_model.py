"""Provides a task's own initial weights: a shipped checkpoint, its recipe from scratch, or a warm-started model."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from selfdistill.errors import UserError
from selfdistill.files import atomic_path, copy_file, copy_folder, sha256_file, write_json
from selfdistill.methods.setting import without_added
from selfdistill.models.chat import DEFAULT, ChatSettings
from selfdistill.models.first_day import try_model
from selfdistill.models.loading import load_model, pick_device
from selfdistill.models.pictures import PictureReader, picture_reader
from selfdistill.models.pretrained_model import LICENCE, ORIGIN, WEIGHTS
from selfdistill.models.saving import check_savable, save_model
from selfdistill.models.template_check import check_prompts
from selfdistill.models.tiny_model import TinyModel, build_model, build_tokenizer
from selfdistill.models.tiny_vision_model import (
    TinyVisionModel,
    build_vision_model,
    build_vision_tokenizer,
    image_processor_settings,
)
from selfdistill.models.warm_start import Recipe, warm_start
from selfdistill.tasks.cell_demonstrations import CellDemonstrations, CellMix
from selfdistill.tasks.critique_demonstrations import ReaderDemonstrations, ReaderMix, WriterDemonstrations, WriterMix
from selfdistill.tasks.demonstrations import Demonstration, Mix, demonstrate
from selfdistill.tasks.exercises import Exercise, exercise_kind, is_training
from selfdistill.tasks.fact_demonstrations import FactDemonstrations, FactMix
from selfdistill.tasks.program_demonstrations import ProgramDemonstrations, ProgramMix


def provide(settings: dict[str, Any], task: str, output_dir: Path, report: Callable[[str], None]) -> None:
    """Put the base model of a task into `output_dir`.

    Args:
        settings: the model's entry in config/models.yaml: folder, sha256 by task, rebuild, architecture, warm_start;
            and of a rebuilt one `chat`, if it is there: how prompts are rendered.
        task: name of the task; each has its own checkpoint.
        output_dir: folder to make.
        report: takes one line of progress.

    Raises:
        UserError: for a task without a checkpoint or recipe, and for weights that differ from their recorded digest.
    """
    if settings["rebuild"]:
        _rebuild(settings, task, Path(output_dir), report)
    else:
        _copy(settings, task, Path(output_dir), report)


def warm_start_pretrained(
    pretrained: Path,
    recipe: dict[str, Any],
    task: str,
    output_dir: Path,
    report: Callable[[str], None],
    chat: ChatSettings = DEFAULT,
) -> None:
    """Put a pretrained model, warm-started for a task, into `output_dir`: on the GPU where there is one.

    Args:
        pretrained: folder of the model, which stays as it is.
        recipe: the task's, of the model's warm_start in config/models.yaml.
        task: its name, for the note of what was done to the weights.
        output_dir: folder to make.
        report: takes one line of progress.
        chat: how prompts are rendered: as in the runs that start from this model.

    Raises:
        UserError: for a folder that models.loading.load_model refuses, and for a chat template that
            template_check.check_prompts refuses.
    """
    pretrained, output_dir = Path(pretrained), Path(output_dir)
    model, tokenizer = load_model(pretrained, pick_device())
    check_prompts(tokenizer, chat, model.generation_config, report)
    try_model(model, report)
    check_savable(model, tokenizer)
    _learn(model, tokenizer, recipe, report, chat, picture_reader(pretrained, model.config, chat))
    with atomic_path(output_dir) as temporary:
        save_model(model, tokenizer, temporary, picture_reader(pretrained, model.config, chat))
        if (pretrained / LICENCE).exists():
            copy_file(pretrained / LICENCE, temporary / LICENCE)
        known = pretrained / ORIGIN
        origin = json.loads(known.read_text(encoding="utf-8")) if known.exists() else {}
        write_json(
            temporary / ORIGIN,
            {**origin, "warm_start": {task: recipe}, "chat": without_added(ChatSettings, asdict(chat))},
        )
    report(f"sha256 {sha256_file(output_dir / WEIGHTS)}")


def _copy(settings: dict[str, Any], task: str, output_dir: Path, report: Callable[[str], None]) -> None:
    source = Path(settings["folder"]) / task
    expected = settings["sha256"].get(task)
    if expected is None or not (source / WEIGHTS).exists():
        raise UserError(
            f"config/models.yaml: no base model for task {task!r} (folder {source}, sha256 {expected}); "
            "add one, or set the model's rebuild: true to make it from its recipe"
        )
    found = sha256_file(source / WEIGHTS)
    if found != expected:
        raise UserError(
            f"{source / WEIGHTS}: sha256 is {found}, config/models.yaml expects {expected}; restore the file "
            "(git checkout) or record the new digest if the change is meant"
        )
    with atomic_path(output_dir) as temporary:
        copy_folder(source, temporary)
    report(f"{source}: sha256 {found} as recorded")


def _rebuild(settings: dict[str, Any], task: str, output_dir: Path, report: Callable[[str], None]) -> None:
    recipe = settings["warm_start"].get(task)
    if recipe is None:
        known = ", ".join(settings["warm_start"]) or "none"
        raise UserError(f"config/models.yaml: no warm_start recipe for task {task!r}; there are recipes for: {known}")
    kind, seed = exercise_kind(recipe["exercise"]), recipe["training"]["seed"]
    chat = ChatSettings(**settings.get("chat", {}))
    model: PreTrainedModel
    if kind.pictures:
        sizes = TinyVisionModel(**settings["architecture"])
        tokenizer = build_vision_tokenizer(kind.phrases)
        model = build_vision_model(sizes, tokenizer, seed)
        reader = PictureReader(image_processor_settings(sizes), model.config.image_token_id, chat, "the toy")
    else:
        tokenizer, reader = build_tokenizer(kind.phrases), None
        model = build_model(TinyModel(**settings["architecture"]), tokenizer, seed)
    _learn(model, tokenizer, recipe, report, chat, reader)
    with atomic_path(output_dir) as temporary:
        save_model(model, tokenizer, temporary, reader)
    report(f"sha256 {sha256_file(output_dir / WEIGHTS)}")


def _learn(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    recipe: dict[str, Any],
    report: Callable[[str], None],
    chat: ChatSettings = DEFAULT,
    reader: PictureReader | None = None,
) -> None:
    report(
        f"{sum(p.numel() for p in model.parameters())} weights, {len(tokenizer)} tokens, "
        f"{torch.get_num_threads()} threads"
    )
    made = demonstrations(recipe, chat.template)
    warm_start(model, tokenizer, made, Recipe(**recipe["training"]), report, chat, reader)


def demonstrations(
    recipe: dict[str, Any], template: str | None = None
) -> Callable[[np.random.Generator], Demonstration]:
    """A maker of a recipe's demonstrations: exercise, sizes and mix of an entry of warm_start in config/models.yaml."""
    exercise, mix = recipe["exercise"], recipe["mix"]
    # Wrong facts are shown among chains of all kinds.
    make = training_exercises("arithmetic" if exercise == "wrong_facts" else exercise, recipe["sizes"])
    if exercise == "wrong_facts":
        return FactDemonstrations(make, FactMix(**mix), template)
    if exercise == "programs":
        return ProgramDemonstrations(make, ProgramMix(**mix), template)
    if exercise == "critiqued":
        return ReaderDemonstrations(make, ReaderMix(**mix), template)
    if exercise == "critic":
        return WriterDemonstrations(make, WriterMix(**mix))
    if exercise == "cells":
        return CellDemonstrations(make, CellMix(**mix), template)
    return lambda rng: demonstrate(make, Mix(**mix), rng, recipe.get("wording"), template)


def training_exercises(kind: str, sizes: dict[int, float]) -> Callable[[np.random.Generator], Exercise]:
    """Return a maker of random exercises from the training side of the hash split, sizes drawn by weight."""
    make = exercise_kind(kind).make
    numbers = list(sizes)
    shares = np.array([sizes[n] for n in numbers], dtype=float)
    shares /= shares.sum()

    def draw(rng: np.random.Generator) -> Exercise:
        while True:
            exercise = make(rng, int(numbers[int(rng.choice(len(numbers), p=shares))]))
            if is_training(exercise):
                return exercise

    return draw
