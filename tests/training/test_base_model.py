"""Base models: shipped ones are verified, rebuilt ones come from their recipe, pretrained ones are whole."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from selfdistill.errors import UserError
from selfdistill.files import sha256_file
from selfdistill.randomness import generator
from selfdistill.sampling.models import load_model
from selfdistill.tasks.exercises import is_training
from selfdistill.training import base_model
from selfdistill.training.base_model import WEIGHTS, fetch, provide, training_exercises

RECIPE = {
    "exercise": "arithmetic",
    "sizes": {1: 1.0, 2: 3.0},
    "mix": {"hinted": 0.3, "wrong_hints": 0.4, "direct": 0.35, "direct_hinted": 0.65},
    "training": {"steps": 3, "batch_size": 8, "learning_rate": 3e-3, "warmup_steps": 1, "seed": 0},
}


@pytest.fixture
def settings(tmp_path):
    return {
        "folder": str(tmp_path / "shipped"),
        "sha256": {},
        "rebuild": True,
        "architecture": {"layers": 1},
        "warm_start": {"arithmetic": RECIPE},
    }


def test_a_rebuilt_model_is_the_same_twice_and_then_verifies_as_shipped(settings, tmp_path):
    said = []
    for name in ("shipped/arithmetic", "again"):
        provide(settings, "arithmetic", tmp_path / name, said.append)
    digest = sha256_file(tmp_path / "again" / WEIGHTS)
    assert sha256_file(tmp_path / "shipped" / "arithmetic" / WEIGHTS) == digest
    settings |= {"rebuild": False, "sha256": {"arithmetic": digest}}
    provide(settings, "arithmetic", tmp_path / "copy", said.append)
    assert digest in said[-1]
    load_model(tmp_path / "copy", torch.device("cpu"))


def test_changed_weights_are_refused(settings, tmp_path):
    provide(settings, "arithmetic", tmp_path / "shipped" / "arithmetic", lambda line: None)
    settings |= {"rebuild": False, "sha256": {"arithmetic": "0" * 64}}
    with pytest.raises(UserError, match="sha256"):
        provide(settings, "arithmetic", tmp_path / "copy", lambda line: None)
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("rebuild", [True, False])
def test_a_task_without_a_base_model_is_refused(settings, tmp_path, rebuild):
    with pytest.raises(UserError, match="chess"):
        provide(settings | {"rebuild": rebuild}, "chess", tmp_path / "copy", lambda line: None)


def test_warm_start_sees_the_training_side_only_in_the_shares_asked_for():
    draw = training_exercises("arithmetic", {1: 1.0, 2: 3.0})
    exercises = [draw(generator("shares", i)) for i in range(400)]
    assert all(is_training(exercise) for exercise in exercises)
    assert 0.65 < sum(len(e.operations) == 2 for e in exercises) / 400 < 0.85


# ------------------------------------------------------------------------------------------- pretrained, for all tasks

SHIPPED = Path(__file__).parents[2] / "resources/base_models/tiny_qwen3/knights"


@pytest.fixture
def pretrained(tmp_path):
    """A folder as a hub's cache has it: links to files elsewhere, and things that nobody asked for."""
    folder, blobs = tmp_path / "snapshot", tmp_path / "blobs"
    shutil.copytree(SHIPPED, blobs)
    folder.mkdir()
    for path in blobs.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "modeling_own.py").write_text("raise SystemExit")
    return folder


def test_a_folder_is_taken_over_without_code_and_loads(pretrained, tmp_path):
    said = []
    fetch({"source": str(pretrained)}, tmp_path / "model", said.append)
    assert {path.name for path in (tmp_path / "model").iterdir()} == {path.name for path in SHIPPED.iterdir()}
    assert not any(path.is_symlink() for path in (tmp_path / "model").iterdir())
    assert sha256_file(tmp_path / "model" / WEIGHTS) == sha256_file(SHIPPED / WEIGHTS)
    load_model(tmp_path / "model", torch.device("cpu"))
    assert "files" in said[-1]


def test_files_are_copied_where_they_cannot_be_linked(pretrained, tmp_path, monkeypatch):
    def fail(*args):
        raise OSError("another file system")

    monkeypatch.setattr(os, "link", fail)
    fetch({"source": str(pretrained)}, tmp_path / "model", lambda line: None)
    load_model(tmp_path / "model", torch.device("cpu"))


def test_the_hubs_model_is_taken_over_from_its_cache(pretrained, tmp_path, monkeypatch):
    asked, files = [], {path.name: path for path in pretrained.iterdir() if path.suffix != ".py"}
    monkeypatch.setattr(base_model, "fetch_model", lambda *what: asked.append(what) or files)
    settings = {"source": "hub", "hub": {"id": "owner/name", "revision": "main", "commit": "0" * 40}, "files": {}}
    fetch(settings, tmp_path / "model", print)
    assert asked == [(settings, print)]
    assert {path.name for path in (tmp_path / "model").iterdir()} == files.keys()
    assert not any(path.is_symlink() for path in (tmp_path / "model").iterdir())


@pytest.mark.parametrize("missing", [WEIGHTS, "config.json", "tokenizer_config.json"])
def test_an_incomplete_model_is_refused_by_what_it_lacks(pretrained, tmp_path, missing):
    (pretrained / missing).unlink()
    with pytest.raises(UserError, match=f"no {missing}; expected a model as transformers saves it"):
        fetch({"source": str(pretrained)}, tmp_path / "model", lambda line: None)
    assert not (tmp_path / "model").exists()


def test_of_weights_in_several_files_each_must_be_there(pretrained, tmp_path):
    (pretrained / WEIGHTS).rename(pretrained / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (pretrained / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"no model-00002-of-00002\.safetensors; expected"):
        fetch({"source": str(pretrained)}, tmp_path / "model", lambda line: None)
