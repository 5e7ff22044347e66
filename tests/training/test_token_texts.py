"""The text of each token, for vocabularies of words and of bytes."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from selfdistill.training.token_texts import token_texts


@pytest.fixture(scope="module")
def bytewise():
    """Byte-level BPE as Qwen has it, with few merges: most characters beyond ASCII are several tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=280, special_tokens=["<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(["so the answer is, so the answer is"], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")


@pytest.mark.parametrize(
    "text",
    ["", "so the answer is 12", "  two\n\nand lines\n", "∑ x² ≤ π, 答案 🙂🙃 é", "🙂" * 40, "so<|end|> the<|end|>"],
)
def test_joined_they_are_the_response(bytewise, text):
    ids = bytewise(text, add_special_tokens=False)["input_ids"]
    pieces = token_texts(bytewise, ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_the_last_token_of_a_character_gets_it(bytewise):
    ids = bytewise("a🙂b", add_special_tokens=False)["input_ids"]
    assert token_texts(bytewise, ids) == ["a", "", "", "", "🙂", "b"]


def test_bytes_that_are_no_character_are_shown_as_the_tokenizer_does(bytewise):
    start = bytewise("🙂", add_special_tokens=False)["input_ids"][:2]
    word = bytewise("so", add_special_tokens=False)["input_ids"]
    for ids in (start, start + word, word + start, start[:1] * 5 + word):
        assert "".join(token_texts(bytewise, ids)) == bytewise.decode(ids)


def test_a_long_run_of_broken_bytes_costs_no_more_than_its_length(bytewise, monkeypatch):
    broken = bytewise("🙂", add_special_tokens=False)["input_ids"][:1] * 2000
    longest = 0
    decode = bytewise.decode

    def counted(ids, **options):
        nonlocal longest
        longest = max(longest, len(ids))
        return decode(ids, **options)

    monkeypatch.setattr(bytewise, "decode", counted)
    assert len("".join(token_texts(bytewise, broken))) >= 2000 / 4
    assert longest < 50


def test_a_vocabulary_of_phrases(tokenizer):
    ids = tokenizer("user\nPlease reason", add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    pieces = token_texts(tokenizer, ids)
    assert "".join(pieces) == tokenizer.decode(ids)
    assert pieces[-1] == tokenizer.eos_token
