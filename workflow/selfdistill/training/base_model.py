"""A run's initial weights: the checkpoint that ships with the project, the same recipe from scratch, or the hub's."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from selfdistill.errors import UserError
from selfdistill.files import atomic_path, link_or_copy, sha256_file
from selfdistill.hub import MODEL_FILES, fetch_model
from selfdistill.hub_lock import entry_name
from selfdistill.tasks.demonstrations import Demonstration, Mix, demonstrate
from selfdistill.tasks.exercises import Exercise, exercise_kind, is_training
from selfdistill.training.tiny_model import TinyModel, build_model, build_tokenizer
from selfdistill.training.warm_start import Recipe, warm_start

WEIGHTS = "model.safetensors"
#: Names the files of weights that come in several.
_INDEX = "model.safetensors.index.json"


def provide(settings: dict[str, Any], task: str, output_dir: Path, report: Callable[[str], None]) -> None:
    """Put the base model of a task into `output_dir`.

    Args:
        settings: the model's entry in config/models.yaml: folder, sha256 by task, rebuild, architecture, warm_start.
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


def fetch(settings: dict[str, Any], output_dir: Path, report: Callable[[str], None]) -> None:
    """Put a base model for all tasks into `output_dir`: from the hub, or from a folder of the user's.

    Files are linked where cache or folder and `output_dir` share a file system, else copied.

    Args:
        settings: source ("hub" or a folder), and for the hub what the lock says of the model: hub, files.
        output_dir: folder to make.
        report: takes one line of progress.

    Raises:
        UserError: for what cannot be had from the hub, for a folder that lacks configuration, tokenizer or weights, and
            where `output_dir` cannot be written.
    """
    if settings["source"] == "hub":
        source = entry_name(settings["hub"])
        files = fetch_model(settings, report)
    else:
        source = settings["source"]
        found = (path for pattern in MODEL_FILES for path in Path(source).glob(pattern))
        files = {path.name: path for path in sorted(found) if path.is_file()}
    _check_files(source, files)
    try:
        with atomic_path(output_dir) as temporary:
            temporary.mkdir()
            for name, path in files.items():
                link_or_copy(path.resolve(), temporary / name)  # the cache's are links to what it keeps by digest
    except OSError as error:
        raise UserError(f"{output_dir}: cannot be written ({error.strerror}); make room there, run again") from error
    size = sum(path.stat().st_size for path in files.values())
    report(f"{source}: {len(files)} files, {size / 1e9:.1f} GB, taken over")


def _check_files(source: str, files: Mapping[str, Path]) -> None:
    needed = {"config.json", "tokenizer_config.json"}
    if _INDEX in files:
        needed |= set(json.loads(files[_INDEX].read_text(encoding="utf-8"))["weight_map"].values())
    else:
        needed.add(WEIGHTS)
    if missing := sorted(needed - files.keys()):
        raise UserError(
            f"{source}: no {', '.join(missing)}; expected a model as transformers saves it, weights as safetensors: "
            "complete the folder, or fetch it again"
        )


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
        shutil.copytree(source, temporary)
    report(f"{source}: sha256 {found} as recorded")


def _rebuild(settings: dict[str, Any], task: str, output_dir: Path, report: Callable[[str], None]) -> None:
    recipe = settings["warm_start"].get(task)
    if recipe is None:
        known = ", ".join(settings["warm_start"]) or "none"
        raise UserError(f"config/models.yaml: no warm_start recipe for task {task!r}; there are recipes for: {known}")
    tokenizer = build_tokenizer()
    model = build_model(TinyModel(**settings["architecture"]), tokenizer, recipe["training"]["seed"])
    report(
        f"{sum(p.numel() for p in model.parameters())} weights, {len(tokenizer)} tokens, "
        f"{torch.get_num_threads()} threads"
    )
    make = training_exercises(recipe["exercise"], recipe["sizes"])
    mix = Mix(**recipe["mix"])

    def one(rng: np.random.Generator) -> Demonstration:
        return demonstrate(make, mix, rng)

    warm_start(model, tokenizer, one, Recipe(**recipe["training"]), report)
    with atomic_path(output_dir) as temporary:
        model.save_pretrained(temporary, safe_serialization=True)
        tokenizer.save_pretrained(temporary)
    report(f"sha256 {sha256_file(output_dir / WEIGHTS)}")


def training_exercises(kind: str, sizes: dict[int, float]) -> Callable[[np.random.Generator], Exercise]:
    """A maker of random exercises from the training side of the hash split, sizes drawn by weight."""
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
