import copy
import json
import os
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
)
from selfdistill.study.model_folder import index_files

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


def pickled(folder):
    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()


LACKING = {
    "everything": (shutil.rmtree, ["config.json"]),
    "config": (lambda folder: (folder / "config.json").unlink(), ["model config"]),
    "weights": (lambda folder: (folder / "model.safetensors").unlink(), ["weights", "*.safetensors"]),
    "weights but pickled ones": (pickled, ["*.safetensors"]),
    "weights but an adapter's": (
        lambda folder: (folder / "model.safetensors").rename(folder / "adapter_model.safetensors"),
        ["model.safetensors"],
    ),
    "tokenizer": (lambda folder: [file.unlink() for file in folder.glob("tokenizer*")], ["tokenizer"]),
    "vocabulary": (lambda folder: (folder / "tokenizer.json").unlink(), ["tokenizer"]),
    "chat template": (
        lambda folder: (folder / "chat_template.jinja").unlink(),
        ["chat_template.jinja"],
    ),
    "half of its weights": (
        lambda folder: os.truncate(folder / "model.safetensors", 1000),
        [],
    ),
    "json": (lambda folder: (folder / "config.json").write_text("{"), []),
}


@pytest.mark.parametrize("lost", LACKING)
def test_a_folder_that_lacks_something_is_refused_by_what_it_lacks(folder, lost):
    damage, said = LACKING[lost]
    damage(folder)
    refused(folder, *said)


def test_weights_that_lack_a_tensor_are_refused(folder):
    """transformers would draw it at random, and say so only in the log."""
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "layers.1" in name)
    save_file({k: v for k, v in weights.items() if k != name}, folder / "model.safetensors", metadata={"format": "pt"})
    refused(folder, name)


def edit(file, **keys):
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))


def respoil(folder, change):
    """The folder's weights, changed by name."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    name = "model.layers.1.mlp.up_proj.weight"
    weights[name] = change(weights[name].clone())
    save_file(weights, file, metadata={"format": "pt"})
    return name


def with_value(value):
    def change(weight):
        weight[3, 5] = value
        return weight

    return change


@pytest.mark.parametrize(
    "section",
    [
        {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}},
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
        {"quantization_config": {"quant_method": "gptq", "bits": 4}},
        {"quantization_config": {"quant_method": "awq", "bits": 4}},
        {"quantization_config": {"quant_method": "mxfp4"}},
        {"quantization_config": {"quant_method": "compressed-tensors"}},
        {"compression_config": {"format": "pack-quantized"}},
        {"text_config": {"quantization_config": {"quant_method": "fp8"}}},
    ],
    ids=str,
)
def test_quantised_weights_are_refused(folder, section):
    """FP8 blocks would be loaded right, and published as raw float8 without their scales."""
    edit(folder / "config.json", **section)
    with pytest.raises(UserError, match=r"config\.json: .* quantised .*; take the model's unquantised weights"):
        load_weights(folder, CPU)


def test_an_empty_section_on_quantisation_is_fine(folder):
    for empty in (None, {}):
        edit(folder / "config.json", quantization_config=empty)
        load_weights(folder, CPU)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn], ids=str)
def test_weights_of_integers_or_eight_bits_are_refused(folder, dtype):
    name = respoil(folder, lambda weight: weight.to(dtype))
    refused(folder, name, "unquantised weights")


@pytest.mark.parametrize("scale", ["_scale_inv", "_scale", ".absmax"])
def test_scales_that_nothing_reads_show_that_what_is_beside_them_are_not_the_weights(folder, scale):
    """As where FP8 weights were cast to bfloat16 and the section on quantisation was taken out."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if name.endswith("proj.weight"))
    save_file({**tensors, f"{name}{scale}": torch.ones(1)}, file, metadata={"format": "pt"})
    refused(folder, name, "scale of quantised weights")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused_by_name(folder, value):
    name = respoil(folder, with_value(value))
    refused(folder, name, "NaN or infinity")


def test_an_adapter_beside_its_base_is_refused(folder):
    """Without package peft the base would be loaded alone, without a word."""
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "x"}))
    refused(folder, "adapter_config.json", "merge_and_unload")


@pytest.mark.parametrize("name", ["flash_attention_2", "flex_attention", "kernels-community/flash-attn", "evil/kernel"])
@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_the_attention_that_a_config_names_is_left_aside(folder, saved, key, name):
    """It is a matter of the machine that saved the model."""
    edit(folder / "config.json", **{key: name})
    model = load_weights(folder, CPU)
    assert model.config._attn_implementation == load_weights(saved, CPU).config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    "keys",
    [
        {"num_attention_heads": "4"},
        {"num_attention_heads": None},
        {"hidden_act": "swigluu"},
        {"layer_types": ["full_attention", "foo_attention"]},
        {"dtype": "float31"},
        {"model_type": "no_such_type"},
        {"model_type": "t5"},
        {"hidden_size": 0},
        {"vocab_size": 10**9},
        {"rope_parameters": {"rope_type": "no_such_type", "rope_theta": 1e4}},
        {"rope_parameters": "yes"},
        {"head_dim": [1]},
        {"auto_map": {"AutoModelForCausalLM": "modeling.Mine"}, "model_type": "mine"},
    ],
    ids=str,
)
def test_configs_that_transformers_stumbles_over_end_in_one_line(folder, keys):
    edit(folder / "config.json", **keys)
    with pytest.raises(UserError) as caught:
        load_model(folder, CPU)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_code_of_the_folder_and_weights_that_are_cut_off_are_refused_with_what_to_do(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(UserError, match="fetch or save its weights again"):
        load_model(folder, CPU)
    code = {"AutoConfig": "configuration.Mine", "AutoModelForCausalLM": "modeling.Mine"}
    edit(folder / "config.json", auto_map=code, model_type="mine")
    with pytest.raises(UserError, match=r"contains custom code.*: take a model whose type transformers knows"):
        load_model(folder, CPU)


@pytest.mark.parametrize("content", ["[]", "3", '"text"', "null"])
def test_a_config_that_holds_no_keys_is_refused(folder, content):
    (folder / "config.json").write_text(content)
    refused(folder)


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 3}}', '{"weight_map": {}}', '{"weight_map": null}'],
)
def test_an_index_that_is_none_is_refused(folder, content):
    index = folder / "model.safetensors.index.json"
    index.write_text(content)
    with pytest.raises(UserError, match=r"index\.json: expected weight_map.*fetch it again"):
        index_files(index)
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    refused(folder)


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
