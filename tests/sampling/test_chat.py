from types import SimpleNamespace

import pytest

from selfdistill.errors import UserError
from selfdistill.sampling.chat import encode_chat, end_ids
from selfdistill.training.tiny_model import build_tokenizer


def test_a_message_becomes_one_user_turn_ready_for_the_response(tokenizer):
    ids = encode_chat(tokenizer, "Start with 3, then add 4")
    assert tokenizer.decode(
        ids
    ) == "<|im_start|>user\nStart with 3, then add 4<|im_end|>\n<|im_start|>assistant\n".replace(
        ", then add 4", tokenizer.decode(tokenizer(", then add 4").input_ids)
    )
    start, end = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    assert [i for i in ids if i in (start, end)] == [start, end, start]


def test_the_template_adds_every_special_token_there_is():
    """A tokenizer that would add a token of its own at the beginning must not double what the template writes."""
    tokenizer = build_tokenizer()
    tokenizer.chat_template = "{{ messages[0]['content'] }}{% if enable_thinking %}={% endif %}"
    tokenizer.bos_token = "<|im_start|>"
    digits = [tokenizer.convert_tokens_to_ids(t) for t in ("1", "2", "=")]
    assert encode_chat(tokenizer, "12") == digits  # and thinking is enabled


def ends(configured, tokenizer_eos):
    config = None if configured == "absent" else SimpleNamespace(eos_token_id=configured)
    tokenizer = SimpleNamespace(eos_token_id=tokenizer_eos, name_or_path="some/folder")
    return end_ids(SimpleNamespace(generation_config=config), tokenizer)


@pytest.mark.parametrize(
    ("configured", "tokenizer_eos", "expected"),
    [
        (7, 7, [7]),
        ([9, 7], 7, [7, 9]),
        ([9], 7, [7, 9]),
        (None, 7, [7]),
        ("absent", 7, [7]),
        (0, None, [0]),
        (None, 0, [0]),
    ],
)
def test_end_ids_are_those_of_the_generation_config_and_the_tokenizer(configured, tokenizer_eos, expected):
    assert ends(configured, tokenizer_eos) == expected


@pytest.mark.parametrize("configured", [None, "absent", []])
def test_a_model_without_any_end_is_refused(configured):
    with pytest.raises(UserError, match=r"some/folder.*eos token"):
        ends(configured, None)


def test_end_ids_of_the_tiny_model(model, tokenizer):
    assert end_ids(model, tokenizer) == [tokenizer.convert_tokens_to_ids("<|im_end|>")]
