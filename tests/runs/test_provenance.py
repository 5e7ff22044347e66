import hashlib
import json
import subprocess

import pytest

from selfdistill.errors import UserError
from selfdistill.files import sha256_json
from selfdistill.runs.provenance import (
    Clock,
    RunInputs,
    build_provenance,
    git_state,
    hardware,
    package_versions,
    peak_memory_gib,
    weights_digest,
)

CONFIG = {"task": "arithmetic", "model": "tiny", "variant": "rlcsd", "seed": 3, "steps": 40}


def git(folder, *words):
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", *identity, "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def files(tmp_path):
    paths = {}
    for name in ("train", "val"):
        paths[name] = tmp_path / name
        paths[name].write_bytes(name.encode())
    for name in ("base", "weights"):
        paths[name] = tmp_path / name
        paths[name].mkdir()
        (paths[name] / "model.safetensors").write_bytes(name.encode())
    return paths


def test_provenance_of_a_trained_run(files, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret_value")
    inputs = RunInputs(files["train"], files["val"], files["base"], files["weights"])
    made = build_provenance(CONFIG, inputs, Clock(0.0, 7200.0, 1800.0), ["train.py", "--seed", "3"])
    assert made["run"] == {"task": "arithmetic", "model": "tiny", "variant": "rlcsd", "seed": 3}
    assert made["config_hash"] == sha256_json(CONFIG)
    assert made["data"]["train_sha256"] == hashlib.sha256(b"train").hexdigest()
    assert made["data"]["val_sha256"] == hashlib.sha256(b"val").hexdigest()
    assert made["base_model_sha256"] == hashlib.sha256(b"base").hexdigest()
    assert made["weights_sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert (made["started"], made["finished"]) == ("1970-01-01T00:00:00+00:00", "1970-01-01T02:00:00+00:00")
    assert (made["wall_seconds"], made["gpu_hours"]) == (1800.0, 0.0)
    assert made["command"] == ["train.py", "--seed", "3"]
    assert "hf_secret_value" not in json.dumps(made)


def test_memory_and_steps_of_a_run(files):
    inputs = RunInputs(None, files["val"], files["base"], files["weights"])
    made = build_provenance(CONFIG, inputs, Clock(0.0, 1.0, 1.0), [], gpus=0)
    assert made["steps"] == 40
    # This process has libraries and so more than 50 MiB; the unit is GiB, so no process of a test comes near 1000.
    assert 0.05 < made["peak_memory_gib"]["host"] < 1000
    assert made["peak_memory_gib"]["device"] is None
    known = build_provenance(CONFIG, inputs, Clock(0.0, 1.0, 1.0), [], device_peak_gib=61.5)
    assert known["peak_memory_gib"]["device"] == 61.5


def test_peak_memory_grows_with_what_is_held():
    before = peak_memory_gib()["host"]
    held = bytearray(int((before + 0.25) * 2**30))  # more than the whole process ever had
    assert peak_memory_gib()["host"] >= before + 0.2
    del held


def test_provenance_of_a_base_model_has_no_training_data(files):
    inputs = RunInputs(None, files["val"], files["base"], files["base"])
    made = build_provenance(CONFIG, inputs, Clock(0.0, 1.0, 1.0), [])
    assert made["data"]["train_sha256"] is None
    assert made["weights_sha256"] == made["base_model_sha256"]


def test_missing_weights_are_an_error(files):
    inputs = RunInputs(None, None, files["base"], files["base"].with_name("gone"))
    with pytest.raises(UserError, match="gone"):
        build_provenance(CONFIG, inputs, Clock(0.0, 1.0, 1.0), [])


def test_every_shard_of_a_model_counts(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode())
    before = weights_digest(tmp_path)
    (tmp_path / "b.safetensors").write_bytes(b"changed")
    assert weights_digest(tmp_path) != before


def test_git_state_follows_the_checkout(tmp_path):
    assert git_state(tmp_path) == {"git_commit": None, "git_dirty": None}
    git(tmp_path, "init", "-q")
    assert git_state(tmp_path) == {"git_commit": None, "git_dirty": None}  # no commit yet
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-q", "-m", "one")
    assert git_state(tmp_path) == {"git_commit": git(tmp_path, "rev-parse", "HEAD"), "git_dirty": False}
    (tmp_path / "untracked").write_text("results do not make a checkout dirty")
    assert git_state(tmp_path)["git_dirty"] is False
    (tmp_path / "a").write_text("2")
    assert git_state(tmp_path)["git_dirty"] is True


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) == {"git_commit": None, "git_dirty": None}


def test_machine_and_packages():
    machine = hardware()
    assert machine["cpu"]
    assert machine["cores"] >= 1
    assert machine["threads"] >= 1
    assert machine["gpu"] is None
    versions = package_versions()
    assert {"selfdistill", "torch", "numpy"} <= set(versions)
    assert all(versions.values())
