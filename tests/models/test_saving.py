"""What was saved is what was trained, and loads; what cannot be saved is found before a training."""

import copy
import json

import pytest
import torch
from families import FAMILIES
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from selfdistill.errors import UserError
from selfdistill.models.loading import load_generation_config, load_model
from selfdistill.models.saving import check_savable, check_tensors, save_model, write_generation_config

CPU = torch.device("cpu")


@pytest.fixture
def base(model, tokenizer, tmp_path):
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.mark.parametrize(
    "keys",
    [
        {"temperature": 0.9, "top_p": 0.6},
        {"do_sample": False, "temperature": 1e-6},
        {"top_k": 20, "repetition_penalty": 1.05},
        {"do_sample": True, "temperature": 0.7},
        {"num_beams": 1, "early_stopping": True, "length_penalty": 2.0},
        {},
    ],
    ids=str,
)
def test_any_generation_config_is_published_as_it_came(base, tokenizer, tmp_path, keys):
    """save_pretrained refuses some of those that from_pretrained takes: after the whole training."""
    file = base / "generation_config.json"
    file.write_text(json.dumps({"eos_token_id": [tokenizer.eos_token_id, 5], **keys}))
    model, loaded = load_model(base, CPU)
    check_savable(model, loaded)
    recommended = model.generation_config
    save_model(model, loaded, tmp_path / "saved")
    assert model.generation_config is recommended
    saved = json.loads((tmp_path / "saved" / "generation_config.json").read_text())
    assert saved.items() >= keys.items()
    write_generation_config(load_generation_config(base), tmp_path)  # as verl's export does
    for written in (saved, json.loads((tmp_path / "generation_config.json").read_text())):
        assert written.keys() <= keys.keys() | {"eos_token_id", "transformers_version", "_from_model_config"}
    assert load_generation_config(tmp_path / "saved").to_dict() == load_generation_config(base).to_dict()
    save_model(load_model(tmp_path / "saved", CPU)[0], loaded, tmp_path / "again")


def test_a_model_without_a_generation_config_is_published_without(base, tmp_path):
    (base / "generation_config.json").unlink()
    model, tokenizer = load_model(base, CPU)
    save_model(model, tokenizer, tmp_path / "saved")
    assert load_model(tmp_path / "saved", CPU)[0].generation_config.eos_token_id == tokenizer.eos_token_id


def test_a_diverged_model_is_not_published(model, tokenizer, tmp_path):
    diverged = copy.deepcopy(model)
    with torch.no_grad():
        diverged.model.layers[1].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(UserError, match=r"first is model\.layers\.1\.mlp\.up_proj\.weight; the training diverged"):
        save_model(diverged, tokenizer, tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def spoilt_saving(monkeypatch, spoil):
    """transformers' save_pretrained, as it is where a conversion is turned round without its counterpart."""
    original = PreTrainedModel.save_pretrained

    def save(self, folder, **options):
        original(self, folder, **options)
        file = folder / "model.safetensors"
        weights = load_file(file)
        spoil(weights)
        save_file(weights, file, metadata={"format": "pt"})

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", save)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda weights: weights["model.norm.weight"].mul_(1.001),
            r"model\.norm\.weight is missing or not what",
        ),
        (lambda weights: weights.pop("model.norm.weight"), r"the weights lack 1 .*model\.norm\.weight"),
        (
            lambda weights: weights["model.norm.weight"].fill_(float("inf")),
            r"infinity, the first is model\.norm",
        ),
    ],
    ids=["changed", "missing", "infinite"],
)
def test_a_folder_that_is_not_the_model_is_refused(model, tokenizer, tmp_path, monkeypatch, spoil, said):
    spoilt_saving(monkeypatch, spoil)
    with pytest.raises(UserError, match=said):
        save_model(model, tokenizer, tmp_path / "saved")


def test_what_cannot_be_saved_is_found_before_a_training(model, tokenizer, monkeypatch):
    def fail(*_, **__):
        raise ValueError("fields that do not go together\nand more")

    monkeypatch.setattr(type(model.config), "save_pretrained", fail)
    with pytest.raises(UserError, match=r"fields that do not go together.*mend them") as caught:
        check_savable(model, tokenizer)
    assert "\n" not in str(caught.value)


def test_exported_tensors_are_compared_one_by_one(model, base):
    expected = {name: value for name, value in model.state_dict().items() if name != "lm_head.weight"}  # tied
    check_tensors(base, expected)
    other = expected | {"model.norm.weight": expected["model.norm.weight"] + 1}
    with pytest.raises(UserError, match=r"model\.norm\.weight is missing or not what was saved"):
        check_tensors(base, other)
    with pytest.raises(UserError, match="tensor another is missing"):
        check_tensors(base, expected | {"another": torch.zeros(1)})


def test_experts_that_transformers_joins_come_apart_again(tokenizer, tmp_path):
    """They are one tensor in memory, and one for each expert in files."""
    model = next(each for each in FAMILIES if each.name == "Mixtral").build(tokenizer)
    save_model(model, tokenizer, tmp_path / "saved")
    assert any(".experts.3." in name for name in load_file(tmp_path / "saved" / "model.safetensors"))
    joined = dict(model.state_dict())
    check_tensors(tmp_path / "saved", joined)
    name = next(name for name in joined if "experts" in name)
    with pytest.raises(UserError, match="is missing or not what was saved"):
        check_tensors(tmp_path / "saved", joined | {name: joined[name] + 1})
