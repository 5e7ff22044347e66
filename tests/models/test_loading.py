import copy
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from selfdistill.errors import UserError
from selfdistill.models.loading import (
    cast_weights,
    load_generation_config,
    load_model,
    load_weights,
    pick_device,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def saved(model, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(saved, tmp_path / "tiny")


def refused(folder, *said):
    with pytest.raises(UserError) as caught:
        load_model(folder, CPU)
    message = str(caught.value)
    for words in (str(folder), *said):
        assert words in message


def test_weights_and_tokenizer_come_back(saved, model, tokenizer):
    loaded, loaded_tokenizer = load_model(saved, CPU)
    assert not loaded.training
    assert loaded_tokenizer.get_vocab() == tokenizer.get_vocab()
    assert loaded_tokenizer.chat_template == tokenizer.chat_template
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_half_precision_weights_are_loaded_as_float32(folder, model):
    copy.deepcopy(model).bfloat16().save_pretrained(folder)
    assert {value.dtype for value in load_file(folder / "model.safetensors").values()} == {torch.bfloat16}
    loaded, _ = load_model(folder, CPU)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}


def test_a_tokenizer_of_another_model_is_refused(folder, tokenizer):
    """One that knows more than the model; the other way round is a padded vocabulary, which is usual."""
    larger = copy.deepcopy(tokenizer)
    larger.add_tokens(["another"])
    larger.save_pretrained(folder)
    refused(folder, f"ids up to {len(tokenizer)}", f"vocabulary has {len(tokenizer)} rows")


def test_a_padded_vocabulary_is_fine(folder, model, tokenizer):
    padded = copy.deepcopy(model)
    padded.resize_token_embeddings(len(tokenizer) + 23)
    padded.save_pretrained(folder)
    assert load_model(folder, CPU)[0].config.vocab_size == len(tokenizer) + 23


def test_the_generation_config_is_what_transformers_puts_beside_the_model(folder):
    for _ in range(2):  # with its file, and without
        assert load_generation_config(folder).eos_token_id == load_model(folder, CPU)[0].generation_config.eos_token_id
        (folder / "generation_config.json").unlink(missing_ok=True)


def test_a_missing_folder_is_refused(tmp_path):
    refused(tmp_path / "nowhere", "config.json")


def test_a_folder_without_a_config_is_refused(folder):
    (folder / "config.json").unlink()
    refused(folder, "model config")


def test_a_folder_without_weights_is_refused(folder):
    (folder / "model.safetensors").unlink()
    refused(folder, "weights", "*.safetensors")


def test_pickled_weights_are_not_read(folder, model):
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    refused(folder, "*.safetensors")


def test_an_adapter_alone_is_refused(folder):
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    refused(folder, "model.safetensors")


def test_a_folder_without_a_tokenizer_is_refused(folder):
    for file in folder.glob("tokenizer*"):
        file.unlink()
    refused(folder, "tokenizer")


def test_a_tokenizer_without_its_vocabulary_is_refused(folder):
    (folder / "tokenizer.json").unlink()
    refused(folder, "tokenizer")


def test_a_tokenizer_without_a_chat_template_is_refused(folder):
    (folder / "chat_template.jinja").unlink()
    refused(folder, "chat template", "chat_template.jinja")


def test_weights_that_lack_a_tensor_are_refused(folder):
    """transformers would draw it at random, and say so only in the log."""
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "layers.1" in name)
    save_file({k: v for k, v in weights.items() if k != name}, folder / "model.safetensors", metadata={"format": "pt"})
    refused(folder, name)


def test_weights_cut_short_are_refused(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    refused(folder)


def test_a_config_that_is_no_json_is_refused(folder):
    (folder / "config.json").write_text("{")
    refused(folder)


def test_the_device_is_a_gpu_where_there_is_one():
    assert pick_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_weights_are_cast_and_rotary_frequencies_stay_as_they_are(folder):
    """As where transformers loads in that precision."""
    model = cast_weights(load_weights(folder, CPU), torch.bfloat16)
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    for found, expected in zip(model.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(found, expected)
        assert found.dtype == torch.bfloat16
    for (name, found), expected in zip(model.named_buffers(), loaded.buffers(), strict=True):
        assert found.dtype == torch.float32, name
        assert torch.equal(found, expected)
