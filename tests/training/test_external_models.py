"""Another model as a teacher: trained, resumed and refused, end to end with the local trainer."""

import json
import shutil

import pytest
import torch
from safetensors import safe_open
from small_run import another, go, metrics_of, weights_hash

from selfdistill.errors import UserError
from selfdistill.models.loading import load_model
from selfdistill.runs.provenance import weights_digest


class StoppedError(Exception):
    pass


@pytest.fixture(scope="module")
def others(small_run, tmp_path_factory):
    """Folders of a teacher, and of the model that it is compared with."""
    folder = tmp_path_factory.mktemp("others")
    model, tokenizer = load_model(small_run["base_model"], torch.device("cpu"))
    for role, scale in (("teacher", 0.02), ("reference", 0.01)):
        another(model, scale).save_pretrained(folder / role)
        tokenizer.save_pretrained(folder / role)
    return {role: folder / role for role in ("teacher", "reference")}


@pytest.fixture
def config(config):
    config |= {"method": "opd", "variant": "opd", "implementation": "opd", "objective": {"extrapolation": 1.25}}
    config["teacher"] = {"kind": "external", "model": "b", "reference": "a"}
    config["hints"] = {"source": "none"}
    config["rollout"] |= {"group_size": 1}
    config["validation"] |= {"every": 4, "problems": 1, "draws": 1}
    return config


def stop(line):
    if line.startswith("step 3/"):
        raise StoppedError


def test_a_run_goes_on_with_the_teacher_that_it_began_with_and_no_other(small_run, others, config, tmp_path):
    """One rollout a prompt. The teacher's weights are in no checkpoint; provenance says what they were."""
    files = {**small_run, "external": others}
    whole = go(config, files, tmp_path / "whole")
    with pytest.raises(StoppedError):
        go(config, files, tmp_path / "stopped", stop)
    for checkpoint in (tmp_path / "stopped/state/checkpoints").rglob("*.safetensors"):
        with safe_open(checkpoint, "pt") as held:
            assert not [name for name in held.keys() if "teacher" in name and "ticks" not in name]  # noqa: SIM118

    changed = {**others, "teacher": tmp_path / "changed"}
    shutil.copytree(others["reference"], changed["teacher"])
    with pytest.raises(UserError, match=r"teacher had weights of SHA-256 .* bring the former back, or delete"):
        go(config, files | {"external": changed}, tmp_path / "stopped")

    resumed = go(config, files, tmp_path / "stopped")
    assert weights_hash(resumed) == weights_hash(whole)
    metrics = metrics_of(resumed["metrics"])
    assert metrics == metrics_of(whole["metrics"])
    assert metrics[1]["teacher/kl"] > 1e-4
    assert json.loads(resumed["provenance"].read_text())["external_models"] == {
        role: {"folder": str(folder), "weights_sha256": weights_digest(folder)} for role, folder in others.items()
    }


def test_tokens_are_compared_not_counted(small_run, others, config, tmp_path):
    """Two tokens have changed places: as many of them, and every size fits."""
    foreign = tmp_path / "foreign"
    shutil.copytree(others["teacher"], foreign)
    file = foreign / "tokenizer.json"
    text = json.loads(file.read_text())
    vocabulary = text["model"]["vocab"]
    one, two = [token for token in vocabulary if token.isdigit()][:2]
    vocabulary[one], vocabulary[two] = vocabulary[two], vocabulary[one]
    file.write_text(json.dumps(text))
    with pytest.raises(UserError, match=r"the teacher's tokens are not the student's: 2 of \d+ differ") as caught:
        go(config, {**small_run, "external": {**others, "teacher": foreign}}, tmp_path)
    assert f"the first being {one!r} (id {vocabulary[two]} of the student, id {vocabulary[one]}" in str(caught.value)


CASES = {
    "no folder": (
        {"teacher": {"kind": "external", "model": "b", "reference": "a"}},
        "a model is named as reference (a), but no folder of it was given",
    ),
    "no model": (
        {"teacher": {"kind": "external", "model": "", "reference": "none"}},
        "the kind external needs an entry of models",
    ),
    "no reference": (
        {"teacher": {"kind": "external", "model": "b", "reference": "none"}},
        "teacher.reference is 'none': set it to initial or to an entry of models",
    ),
    "no teacher": (
        {"teacher": {"kind": "none", "model": "", "reference": "initial"}},
        "method opd needs a teacher, but teacher.kind is 'none'",
    ),
    "positions": (
        {"teacher": {"kind": "external", "model": "b", "reference": "initial"}, "rollout": {"max_response_tokens": 30}},
        "has 64 positions, but prompts, hints and responses can reach 70 tokens",
    ),
    "group": (
        {"teacher": {"kind": "external", "model": "b", "reference": "initial"}, "objective": {"task_weight": 1.0}},
        "rollout.group_size is 1, but method opd compares the rollouts of a group: expected 2 or more",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_is_refused_before_any_step(small_run, others, config, tmp_path, case):
    changes, said = CASES[case]
    for section, values in changes.items():
        config[section] = {**config[section], **values}
    teacher = tmp_path / "short"
    shutil.copytree(others["teacher"], teacher)
    about = json.loads((teacher / "config.json").read_text())
    (teacher / "config.json").write_text(json.dumps(about | {"max_position_embeddings": 64}))
    with pytest.raises(UserError) as caught:
        go(config, {**small_run, "external": {"teacher": teacher}}, tmp_path)
    assert said in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_output_layers_of_other_sizes_have_no_divergence(small_run, others, config, tmp_path):
    """Padding rows count: what a teacher says of an id that the student has not cannot be compared."""
    wider, tokenizer = load_model(others["teacher"], torch.device("cpu"))
    wider.resize_token_embeddings(len(tokenizer) + 8)
    wider.save_pretrained(tmp_path / "wider")
    tokenizer.save_pretrained(tmp_path / "wider")
    config |= {"implementation": "opd_divergence", "objective": {}, "steps": 1}
    config["teacher"] = {"kind": "external", "model": "b"}
    files = {**small_run, "external": {"teacher": tmp_path / "wider"}}
    with pytest.raises(UserError, match="has 111 rows, the student's 103"):
        go(config, files, tmp_path / "divergence")
    config |= {"implementation": "opd", "objective": {}}
    go(config, files, tmp_path / "sampled")
