"""Base models of a task: shipped ones are verified, others come from their recipe, or from a pretrained one and it."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from selfdistill.errors import UserError
from selfdistill.files import sha256_file
from selfdistill.models.base_model import provide, training_exercises, warm_start_pretrained
from selfdistill.models.loading import load_model
from selfdistill.models.pretrained_model import LICENCE, ORIGIN, WEIGHTS
from selfdistill.randomness import generator
from selfdistill.tasks.exercises import is_training

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


def test_a_checkpoints_folder_is_copied_without_links_out_of_it(tmp_path):
    place = tmp_path / "mine" / "arithmetic"
    shutil.copytree(SHIPPED, place)
    settings = {"folder": str(tmp_path / "mine"), "sha256": {"arithmetic": sha256_file(SHIPPED / WEIGHTS)}}
    provide(settings | {"rebuild": False}, "arithmetic", tmp_path / "copy", lambda line: None)
    load_model(tmp_path / "copy", torch.device("cpu"))
    (place / "notes.txt").symlink_to("/etc/hostname")
    with pytest.raises(UserError, match=r"notes\.txt: a link to /etc/hostname, outside of"):
        provide(settings | {"rebuild": False}, "arithmetic", tmp_path / "other", lambda line: None)
    assert not (tmp_path / "other").exists()


def test_warm_start_sees_the_training_side_only_in_the_shares_asked_for():
    draw = training_exercises("arithmetic", {1: 1.0, 2: 3.0})
    exercises = [draw(generator("shares", i)) for i in range(400)]
    assert all(is_training(exercise) for exercise in exercises)
    assert 0.65 < sum(len(e.operations) == 2 for e in exercises) / 400 < 0.85


ORIGIN_OF_CHAT = {"chat": {"thinking": True, "date": "2026-01-01"}}
SHIPPED = Path(__file__).parents[2] / "resources/base_models/tiny_qwen3/arithmetic"


def test_a_pretrained_model_is_warmed_up_the_same_twice_and_is_itself_left_as_it_is(tmp_path):
    said, before = [], sha256_file(SHIPPED / WEIGHTS)
    for name in ("one", "two"):
        warm_start_pretrained(SHIPPED, RECIPE, "arithmetic", tmp_path / name, said.append)
    assert sha256_file(tmp_path / "one" / WEIGHTS) == sha256_file(tmp_path / "two" / WEIGHTS) != before
    assert sha256_file(SHIPPED / WEIGHTS) == before
    assert said[-1] == f"sha256 {sha256_file(tmp_path / 'two' / WEIGHTS)}"
    assert any(line.startswith("warm start step 3/3  loss ") for line in said)
    load_model(tmp_path / "one", torch.device("cpu"))
    assert json.loads((tmp_path / "one" / ORIGIN).read_text()) == ORIGIN_OF_CHAT | {
        "warm_start": json_of({"arithmetic": RECIPE})
    }


def test_licence_and_origin_of_the_pretrained_model_go_with_it(tmp_path):
    shutil.copytree(SHIPPED, tmp_path / "pretrained")
    (tmp_path / "pretrained" / LICENCE).write_text("A licence.")
    (tmp_path / "pretrained" / ORIGIN).write_text('{"name": "tiny-llm"}')
    warm_start_pretrained(tmp_path / "pretrained", RECIPE, "sums", tmp_path / "model", lambda line: None)
    assert (tmp_path / "model" / LICENCE).read_text() == "A licence."
    origin = json.loads((tmp_path / "model" / ORIGIN).read_text())
    assert origin == ORIGIN_OF_CHAT | {"name": "tiny-llm", "warm_start": json_of({"sums": RECIPE})}


def json_of(value):
    return json.loads(json.dumps(value))
