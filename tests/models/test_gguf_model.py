"""Models in GGUF files: weights, tokenizer and special tokens as the model learned with them."""

import sys

import numpy as np
import pytest
import tiny_package
import torch

from selfdistill.errors import UserError
from selfdistill.models.chat import encode_chat, end_ids
from selfdistill.models.gguf_model import convert
from selfdistill.models.loading import load_model

TOKENS = ("<|im_end|>", "<|endoftext|>")


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Model and tokenizer as they are loaded again, and what the conversion says."""
    folder = tmp_path_factory.mktemp("gguf")
    tiny_package.write_gguf(folder / "tiny.gguf")
    about = convert(folder / "tiny.gguf", *TOKENS, folder / "model")
    return *load_model(folder / "model", torch.device("cpu")), about


def test_weights_are_what_the_quantised_ones_stand_for(converted):
    model, _, about = converted
    found = model.state_dict()
    for name, values in tiny_package.tensors().items():
        expected = values if values.ndim == 1 else tiny_package.quantised(values)
        np.testing.assert_array_equal(found[name].numpy(), expected, err_msg=name)
        assert found[name].dtype == torch.float32
    assert torch.equal(found["lm_head.weight"], found["model.embed_tokens.weight"])
    assert about == {"quantisation": {"Q8_0": 15, "F32": 5}, "licence": "apache-2.0"}


def test_text_is_cut_as_the_model_learned_it_and_joined_without_a_change(converted):
    _, tokenizer, _ = converted
    assert tokenizer.convert_ids_to_tokens(tokenizer("a\n\n12").input_ids) == ["a", "ĊĊ", "1", "2"]
    for text in ("One . Two , three !\n\n1. ▁ wörld", "\\boxed{42} don't"):
        assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_a_response_ends_with_the_turn(converted):
    model, tokenizer, _ = converted
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (2, 0)
    assert set(end_ids(model, tokenizer)) == {2}
    assert (model.config.eos_token_id, model.generation_config.pad_token_id) == (2, 0)
    asked = tokenizer.decode(encode_chat(tokenizer, "2+2"))
    assert asked == "<|im_start|>user\n2+2<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (("<im_end>", "<|endoftext|>"), "end '<im_end>' is no token of its vocabulary; the nearest is '<|im_end|>'"),
        (("<|im_end|>", "<|pad|>"), "pad '<|pad|>' is no token"),
    ],
)
def test_a_token_that_is_not_there_is_refused_with_the_nearest(tmp_path, tokens, said):
    tiny_package.write_gguf(tmp_path / "tiny.gguf")
    with pytest.raises(UserError) as refused:
        convert(tmp_path / "tiny.gguf", *tokens, tmp_path / "model")
    assert said in str(refused.value)


def test_a_way_of_cutting_that_is_not_known_is_refused(tmp_path):
    tiny_package.write_gguf(tmp_path / "tiny.gguf", split="deepseek-llm")
    with pytest.raises(UserError, match="cuts text in the way 'deepseek-llm', and 'smollm' is the one"):
        convert(tmp_path / "tiny.gguf", *TOKENS, tmp_path / "model")


def test_a_file_that_is_no_gguf_is_refused_in_one_line(tmp_path):
    (tmp_path / "tiny.gguf").write_text("no model")
    with pytest.raises(UserError, match=r"^tiny\.gguf: cannot be read as a GGUF model \(.*\); name another file$"):
        convert(tmp_path / "tiny.gguf", *TOKENS, tmp_path / "model")


@pytest.mark.parametrize("package", ["gguf", "accelerate"])
def test_what_reading_takes_is_named(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match="pip install gguf accelerate"):
        convert(tmp_path / "tiny.gguf", *TOKENS, tmp_path / "model")
