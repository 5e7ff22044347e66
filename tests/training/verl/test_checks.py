"""What is found to be wrong before Ray starts."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from selfdistill.errors import UserError
from selfdistill.study.teacher_settings import TeacherSettings
from selfdistill.training.verl.checks import check_external_models, check_gpus, check_model

BASE = Path(__file__).parents[3] / "resources" / "base_models" / "tiny_qwen3" / "arithmetic"
LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0] * 16,
    "long_factor": [4.0] * 16,
    "rope_theta": 1e4,
    "original_max_position_embeddings": 64,
}


@pytest.fixture
def model(tmp_path):
    return Path(shutil.copytree(BASE, tmp_path / "model"))


def test_a_model_folder_passes_and_a_name_on_the_hub_is_left_to_verl(model):
    check_model(str(model))
    check_model("Qwen/Qwen3-1.7B")


@pytest.mark.parametrize("path", ["/no/such/model", "./no/such/model", "~/no/such/model"])
def test_a_missing_folder_is_named(path):
    with pytest.raises(UserError, match=r"no/such/model: no such model folder"):
        check_model(path)


@pytest.mark.parametrize(
    ("name", "said"),
    [("config.json", "no model config"), ("model.safetensors", "no weights"), ("tokenizer*", "no tokenizer")],
)
def test_what_is_missing_in_a_folder_is_named(model, name, said):
    for file in model.glob(name):
        file.unlink()
    with pytest.raises(UserError, match=said):
        check_model(str(model))


def test_a_tokenizer_with_ids_that_the_model_does_not_know(model):
    """The other way round is common: rows of padding."""
    config = json.loads((model / "config.json").read_text())
    size = config["vocab_size"]
    for vocabulary in (size - 1, size + 20):
        (model / "config.json").write_text(json.dumps(config | {"vocab_size": vocabulary}))
        if vocabulary > size:
            check_model(str(model))
        else:
            with pytest.raises(UserError, match=rf"tokenizer has {size} ids, but the model knows {size - 1}"):
                check_model(str(model))


def test_fewer_positions_than_tokens(model):
    positions = json.loads((model / "config.json").read_text())["max_position_embeddings"]
    check_model(str(model), positions)
    with pytest.raises(UserError, match=rf"{positions} positions, but .* {positions + 1} tokens"):
        check_model(str(model), positions + 1)


def test_an_unreadable_tokenizer(model):
    (model / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="the tokenizer cannot be loaded"):
        check_model(str(model))


@pytest.mark.parametrize(
    ("folder", "longest", "said"),
    [
        ("nowhere", 10, "no such model folder \\(the teacher\\)"),
        ("other", 10_000, "positions"),
        ("foreign", 10, "differ"),
    ],
)
def test_another_models_folder_tokens_and_positions(model, tmp_path, folder, longest, said):
    shutil.copytree(model, tmp_path / "other")
    shutil.copytree(model, tmp_path / "foreign")
    file = tmp_path / "foreign" / "tokenizer.json"
    text = json.loads(file.read_text())
    one, two = [token for token in text["model"]["vocab"] if token.isdigit()][:2]
    words = text["model"]["vocab"]
    words[one], words[two] = words[two], words[one]
    file.write_text(json.dumps(text))
    check_external_models(TeacherSettings("external", model=str(tmp_path / "other")), str(model), 10)
    teacher = TeacherSettings("external", model=str(tmp_path / folder))
    with pytest.raises(UserError, match=said):
        check_external_models(teacher, str(model), longest)


def test_fewer_gpus_than_asked_for(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_gpus(2, 1)
    with pytest.raises(UserError, match="n_gpus_per_node is 3, but this machine shows 2"):
        check_gpus(3, 1)
    with pytest.raises(UserError, match=r"nnodes is 2.*RAY_ADDRESS"):
        check_gpus(2, 2)
    monkeypatch.setenv("RAY_ADDRESS", "node0:6379")
    check_gpus(8, 2)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"quantization_config": {"quant_method": "fp8"}}, "quantised"),
        ({"rope_parameters": LONGROPE}, "behind 64 its rotary frequencies"),
        ({"index_topk": 8}, "chooses or compresses"),
        ({"num_attention_heads": "4"}, "cannot be loaded"),
    ],
    ids=str,
)
def test_models_that_would_be_trained_wrongly(model, changes, said):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(UserError, match=said):
        check_model(str(model), 100)


def test_the_vocabulary_of_a_config_of_text_and_images(model):
    text = json.loads((model / "config.json").read_text())
    whole = {"model_type": "gemma3", "text_config": {"vocab_size": text["vocab_size"]}}
    (model / "config.json").write_text(json.dumps(whole))
    check_model(str(model), 100)
