from types import SimpleNamespace

import pytest
from tokenizers.processors import TemplateProcessing

from selfdistill.errors import UserError
from selfdistill.models.chat import encode_chat, encode_messages, end_ids, pad_id
from selfdistill.models.tiny_model import build_tokenizer
from selfdistill.study.run_settings import ChatSettings
from selfdistill.tasks.prompts import Message


def test_a_message_becomes_one_user_turn_ready_for_the_response(tokenizer):
    ids = encode_chat(tokenizer, "Start with 3, then add 4")
    turn = "<|im_start|>user\nStart with 3, then add 4<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(ids) == turn
    start, end = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    assert [i for i in ids if i in (start, end)] == [start, end, start]


def test_special_tokens_come_from_the_template_alone():
    """A tokenizer that puts a token of its own in front must not double what the template writes."""
    tokenizer = build_tokenizer()
    start = ("<|im_start|>", tokenizer.convert_tokens_to_ids("<|im_start|>"))
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{start[0]} $A", special_tokens=[start])
    assert tokenizer("12").input_ids[0] == start[1]
    assert encode_chat(tokenizer, "12").count(start[1]) == 2


CHAT = [Message("system", "1+1"), Message("user", "2+2"), Message("assistant", "4"), Message("user", "3+3")]


def test_a_chat_keeps_its_system_message_and_earlier_turns(tokenizer):
    turns = ("system\n1+1", "user\n2+2", "assistant\n4", "user\n3+3")
    text = "".join(f"<|im_start|>{turn}<|im_end|>\n" for turn in turns) + "<|im_start|>assistant\n"
    assert tokenizer.decode(encode_messages(tokenizer, CHAT)) == text
    assert encode_messages(tokenizer, CHAT[-1:]) == encode_chat(tokenizer, "3+3")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ messages[-1]['content'] }}", "leaves out the system message: '1\\+1' is rendered"),
        ("{{ messages[0]['content'] }}{{ messages[-1]['content'] }}", "leaves out the user's message: '2\\+2'"),
        ("{{ raise_exception('no system role') }}", "the turns system, user, assistant, user .*no system role"),
    ],
)
def test_a_template_that_drops_or_refuses_a_turn_is_refused(template, said):
    tokenizer = build_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(UserError, match=said):
        encode_messages(tokenizer, CHAT)


@pytest.mark.parametrize("date", ["2026-02-30", "tomorrow", "", None, 20260101])
def test_a_date_that_is_none_is_refused(date):
    with pytest.raises(UserError, match=r"chat\.date: expected (a day as YYYY-MM-DD|a value of type string), found "):
        ChatSettings(date=date)


def test_thinking_is_enabled():
    tokenizer = build_tokenizer()
    tokenizer.chat_template = "{{ messages[0]['content'] }}{% if enable_thinking %}={% endif %}"
    assert encode_chat(tokenizer, "12") == tokenizer.convert_tokens_to_ids(["1", "2", "="])


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


def test_a_batch_is_filled_up_with_the_tokenizers_pad_or_the_first_end():
    assert pad_id(SimpleNamespace(pad_token_id=0), [7, 9]) == 0
    assert pad_id(SimpleNamespace(pad_token_id=None), [7, 9]) == 7


def test_end_ids_of_the_tiny_model(model, tokenizer):
    assert end_ids(model, tokenizer) == [tokenizer.convert_tokens_to_ids("<|im_end|>")]
