"""The toy's tokenizer and model."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill.models.chat import encode_chat
from selfdistill.models.tiny_model import TinyModel, build_model, build_tokenizer
from selfdistill.randomness import generator
from selfdistill.tasks import arithmetic, knights, prompts
from selfdistill.tasks.demonstrations import response_of

TOKENIZER = build_tokenizer()


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), size=st.integers(2, 5), kind=st.sampled_from([arithmetic, knights]))
def test_every_text_of_the_toy_tasks_survives_the_tokenizer(seed, size, kind):
    rng = generator("tokenizer test", seed)
    exercise = kind.generate(rng, size)
    right, wrong = exercise.reference(rng), exercise.mistake(rng)
    texts = [
        prompts.student_prompt(exercise.text(), training=True),
        prompts.teacher_prompt(exercise.text(), right),
        prompts.teacher_prompt(exercise.text(), wrong, mode="answer_only"),
        response_of(right),
    ]
    for text in texts:
        ids = TOKENIZER(text, add_special_tokens=False).input_ids
        assert TOKENIZER.unk_token_id not in ids
        assert TOKENIZER.decode(ids) == text


@settings(max_examples=25)
@given(st.text(max_size=40))
def test_any_text_encodes(text):
    ids = TOKENIZER(text, add_special_tokens=False).input_ids
    assert all(0 <= i < len(TOKENIZER) for i in ids)


def test_template_sentences_are_single_tokens():
    for sentence in (prompts.INSTRUCTION, *prompts.FRAMINGS.values()):
        assert len(TOKENIZER(sentence, add_special_tokens=False).input_ids) == 1


def test_a_chat_prompt_ends_where_the_response_begins():
    ids = encode_chat(TOKENIZER, "Problem: ")
    assert TOKENIZER.decode(ids) == "<|im_start|>user\nProblem: <|im_end|>\n<|im_start|>assistant\n"


def test_vocabulary_of_model_and_tokenizer_agree_and_seeds_decide_the_weights():
    models = [build_model(TinyModel(layers=1), TOKENIZER, seed) for seed in (0, 0, 1)]
    assert models[0].config.vocab_size == len(TOKENIZER)
    first, again, other = (m.lm_head.weight for m in models)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_building_a_model_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    build_model(TinyModel(layers=1), TOKENIZER, 0)
    assert torch.rand(1) == pytest.approx(expected.item())
