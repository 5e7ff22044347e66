"""Chat templates like those of published models, made small, and faulty ones."""

import datetime

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers import models as kinds
from transformers import GenerationConfig, PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

from selfdistill.errors import UserError
from selfdistill.models import template_check
from selfdistill.models.chat import encode_chat, end_ids_of, turn_end
from selfdistill.models.template_check import check_prompts
from selfdistill.study.run_settings import ChatSettings

CHAT = ChatSettings(thinking=True, date="2026-03-04")
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TURN = "{{ '<|start_header_id|>' ~ m.role ~ '<|end_header_id|>\n\n' ~ m.content | trim ~ '<|eot_id|>' }}"
LLAMA32 = (
    "{{ bos_token }}{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "<|start_header_id|>system<|end_header_id|>\n\nToday Date: {{ date_string }}<|eot_id|>"
    "{% for m in messages %}" + TURN + "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
SMOLLM3 = (
    "{% set mode = '/think' if enable_thinking | default(true) else '/no_think' %}<|im_start|>system\n"
    "Today Date: {{ strftime_now('%d %B %Y') }}\nReasoning Mode: {{ mode }}<|im_end|>\n" + CHATML
)
MISTRAL = (
    "{% set today = strftime_now('%Y-%m-%d') %}{{ bos_token }}"
    "[SYSTEM_PROMPT]The current date is {{ today }}.[/SYSTEM_PROMPT]{% for m in messages %}{% if m.role == 'user' %}"
    "[INST]{{ m.content }}[/INST]{% elif m.role == 'assistant' %}{{ m.content }}{{ eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
GRANITE = (
    "<|start_of_role|>system<|end_of_role|>Today's Date: {{ strftime_now('%B %d, %Y') }}."
    "{% if thinking %} Respond in detail, thinking first.{% endif %}<|end_of_text|>\n{% for m in messages %}"
    "<|start_of_role|>{{ m.role }}<|end_of_role|>{{ m.content }}<|end_of_text|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>{% endif %}"
)
GPT_OSS = (
    "{% macro system() %}Current date: {{ strftime_now('%Y-%m-%d') }}{% endmacro %}<|start|>system<|message|>"
    "{{ system() }}<|end|>{% for m in messages %}<|start|>{{ m.role }}<|message|>{{ m.content }}"
    "{% if loop.last and not add_generation_prompt %}<|return|>{% else %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
DEEPSEEK = (
    "{% if not thinking is defined %}{% set thinking = false %}{% endif %}{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'user' %}<|User|>{{ m.content }}{% else %}<|Assistant|></think>{{ m.content }}{{ eos_token }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|Assistant|>{{ '<think>' if thinking else '</think>' }}"
    "{% endif %}"
)
QWEN35 = CHATML.replace(
    "assistant\n{% endif %}",
    "assistant\n{% if enable_thinking is defined and enable_thinking is true %}<think>\n"
    "{% else %}<think>\n\n</think>\n\n{% endif %}{% endif %}",
)
AS_JSON = "{% for m in messages %}<|im_start|>{{ m | tojson }}<|im_end|>{% endfor %}"
TEMPLATES = {
    "chatml": (CHATML, "<|im_end|>"),
    "llama32": (LLAMA32, "<|eot_id|>"),
    "smollm3": (SMOLLM3, "<|im_end|>"),
    "mistral": (MISTRAL, "<|eos|>"),
    "granite": (GRANITE, "<|end_of_text|>"),
    "gpt_oss": (GPT_OSS, "<|return|>"),
    "deepseek": (DEEPSEEK, "<|eos|>"),
    "qwen35": (QWEN35, "<|im_end|>"),
    "as_json": (AS_JSON, None),  # the turn goes on after the answer, with a brace
}
CONTROL = [
    *("<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    *("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>", "<|start|>", "<|message|>", "<|end|>", "<|return|>"),
    *("<|User|>", "<|Assistant|>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
]


@pytest.fixture
def make():
    """A function that gives a byte-level tokenizer with a template. Only two control tokens have a field that names
    them; the others are marked in tokenizer.json alone."""
    raw = Tokenizer(kinds.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(["a"], trainers.BpeTrainer(vocab_size=256, initial_alphabet=alphabet, show_progress=False))
    raw.add_special_tokens([AddedToken(token, special=True) for token in CONTROL])

    def build(template, eos="<|eos|>"):
        return PreTrainedTokenizerFast(
            tokenizer_object=raw, bos_token="<|bos|>", eos_token=eos, chat_template=template, name_or_path="some/folder"
        )

    return build


@pytest.fixture
def another_clock(monkeypatch):
    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.datetime(1999, 12, 31, 23, 59)

    monkeypatch.setattr(chat_template_utils, "datetime", Clock)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_of_a_published_model_is_not_refused(name, make):
    template, end = TEMPLATES[name]
    tokenizer = make(template)
    check_prompts(tokenizer, CHAT)
    assert "What is 17" in tokenizer.decode(encode_chat(tokenizer, "What is 17", CHAT))
    assert turn_end(tokenizer, CHAT) == (None if end is None else tokenizer.convert_tokens_to_ids(end))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("llama32", "Today Date: 04 Mar 2026"),
        ("smollm3", "Today Date: 04 March 2026"),
        ("mistral", "The current date is 2026-03-04."),
        ("granite", "Today's Date: March 04, 2026."),
        ("gpt_oss", "Current date: 2026-03-04"),
    ],
)
def test_a_template_tells_the_date_of_the_run_and_never_the_clocks(name, told, make, another_clock):
    tokenizer = make(TEMPLATES[name][0])
    check_prompts(tokenizer, CHAT)
    assert told in tokenizer.decode(encode_chat(tokenizer, "12", CHAT))


@pytest.mark.parametrize(
    ("name", "on", "off"),
    [
        ("smollm3", "Reasoning Mode: /think", "Reasoning Mode: /no_think"),
        ("granite", "thinking first.<|end_of_text|>", "2026.<|end_of_text|>"),
        ("deepseek", "<|Assistant|><think>", "<|Assistant|></think>"),
        ("qwen35", "assistant\n<think>\n", "assistant\n<think>\n\n</think>\n\n"),
    ],
)
def test_thinking_is_on_or_off_under_every_name(name, on, off, make):
    tokenizer = make(TEMPLATES[name][0])
    for thinking, said in ((True, on), (False, off)):
        prompt = tokenizer.decode(encode_chat(tokenizer, "12", ChatSettings(thinking, CHAT.date)))
        assert said in prompt
        assert (off if thinking else on) not in prompt or name == "qwen35"


PARTS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for part in m['content'] %}{% if part['type'] == 'text' %}"
    "{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)
FAULTY = {
    "for lists of parts only": (PARTS, "leaves out the user's message: 'What is 17"),
    "ignores the message": ("<|im_start|>user\nHello.<|im_end|>\n", "leaves out the user's message"),
    "its first line only": (CHATML.replace("m['content']", "m['content'].split('\n')[0]"), "leaves out the user's"),
    "nothing": ("{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% endif %}{% endfor %}", "nothing"),
    "raises": ("{{ raise_exception('Begin with a system message') }}", "rendered .*Begin with a system message"),
    "syntax error": ("{% for m in messages %}{{ m.content }", "cannot be rendered .*TemplateSyntaxError"),
    "no such attribute": ("{{ messages[0].content.nothing.at.all }}", "cannot be rendered .*UndefinedError"),
    "arithmetic": ("{{ messages[0].content }}{{ 1 // 0 }}", "cannot be rendered .*ZeroDivisionError"),
    "several, none by default": ({"tool_use": CHATML, "rag": CHATML}, "one must be named 'default'"),
    "at random": (CHATML + "{{ [1, 2, 3] | random }}", "more than one way"),
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_template_is_refused_in_one_line(name, make):
    template, said = FAULTY[name]
    with pytest.raises(UserError, match=rf"^some/folder: .*{said}") as caught:
        check_prompts(make(template), CHAT)
    assert "\n" not in str(caught.value)
    assert "chat_template.jinja" in str(caught.value)


def test_a_template_of_the_users_own_spells_no_control_token(make):
    tokenizer = make(next(iter(TEMPLATES.values()))[0])
    check_prompts(tokenizer, ChatSettings(template="Solve {problem} {{now}}"))
    with pytest.raises(UserError, match=r"chat.template: spells '<\|eos\|>', a control token of some/folder"):
        check_prompts(tokenizer, ChatSettings(template="Solve {problem}<|eos|>"))


def test_prompts_are_refused_without_the_check_too(make):
    for template in (PARTS, FAULTY["nothing"][0]):
        with pytest.raises(UserError, match="leaves out the user's message"):
            encode_chat(make(template), "2 + 3?")
    stripped = make("{{ messages[0].content | replace('</think>', '') }}")
    assert stripped.decode(encode_chat(stripped, "2</think> + 3?")) == "2 + 3?"


def test_a_tokenizer_that_makes_no_tokens_of_the_prompt_is_refused(make):
    tokenizer = make("{{ messages[0].content }}")
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Split("", "removed")
    tokenizer.backend_tokenizer.model = kinds.BPE()
    with pytest.raises(UserError, match="makes no tokens"):
        encode_chat(tokenizer, "2 + 3?")


def test_a_template_that_loops_is_given_up(make, monkeypatch):
    """It goes on in its thread for as long as the test's process lives: so this one ends after a second."""
    monkeypatch.setattr(template_check, "_PATIENCE_SECONDS", 0.05)
    loops = "{{ messages[0].content }}{% for a in range(300) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(UserError, match="it loops"):
        check_prompts(make(loops), CHAT)


@pytest.mark.parametrize(
    ("eos", "configured", "ends", "said"),
    [
        ("<|im_end|>", None, ["<|im_end|>"], False),
        ("<|eos|>", None, ["<|eos|>", "<|im_end|>"], True),
        ("<|eos|>", "<|im_end|>", ["<|eos|>", "<|im_end|>"], False),
    ],
)
def test_responses_end_with_the_templates_turn_and_it_is_said_once(eos, configured, ends, said, make):
    """Base models' folders name another end: their answers would run on, and invented turns be graded."""
    tokenizer, lines = make(CHATML, eos), []
    config = GenerationConfig(eos_token_id=configured and tokenizer.convert_tokens_to_ids(configured))
    assert end_ids_of(config, tokenizer, CHAT) == sorted(tokenizer.convert_tokens_to_ids(ends))
    check_prompts(tokenizer, CHAT, config, lines.append)
    assert [("ends turns with <|im_end|>" in line) for line in lines] == [True] * said
