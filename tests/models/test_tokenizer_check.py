"""Tokenizers of every usual kind, under classes of transformers that fit them and that do not."""

import json

import pytest
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, trainers
from tokenizers import models as kinds

from selfdistill.errors import UserError
from selfdistill.models.tiny_model import build_tokenizer
from selfdistill.models.tokenizer_check import read_tokenizer, token_ids

SPECIAL = ["<unk>", "<|im_start|>", "<|im_end|>", "<pad>"]
BYTES = [f"<0x{i:02X}>" for i in range(256)]
LEARNED = ["what is 2 + 3? The answer is 42, so x = 10.", "First line.\n Second line: don't", "def f(x): return [1]"]
QUESTION = "what is 2 + 3?"
DIGITS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
ENDLESS = {"type": "Split", "pattern": {"Regex": r"(a+a+)+\d"}, "behavior": "Isolated", "invert": False}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def trained(raw, trainer, **options):
    raw.train_from_iterator(LEARNED, trainer(special_tokens=SPECIAL, show_progress=False, **options))
    return raw


def byte_level(pattern=None, normalizer=None):
    """As GPT-2; with a pattern as Llama 3 (up to three digits together) or Qwen (one by one, composed characters)."""
    raw = Tokenizer(kinds.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    if pattern:
        cut = pre_tokenizers.Split(Regex(pattern), "isolated")
        joined = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        raw.pre_tokenizer = pre_tokenizers.Sequence([cut, joined])
    if normalizer:
        raw.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return trained(raw, trainers.BpeTrainer, vocab_size=360, initial_alphabet=alphabet)


def byte_fallback(*, prepended):
    """SentencePiece's BPE, as Llama 2 (a space is put in front) and Gemma (none) have it."""
    raw = Tokenizer(kinds.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    steps = [normalizers.Prepend("▁")] * prepended + [normalizers.Replace(" ", "▁")]
    raw.normalizer = normalizers.Sequence(steps)
    back = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    raw.decoder = decoders.Sequence(back + [decoders.Strip(" ", 1, 0)] * prepended)
    raw.train_from_iterator(
        LEARNED, trainers.BpeTrainer(special_tokens=SPECIAL + BYTES, vocab_size=480, show_progress=False)
    )
    return raw


def unigram():
    raw = Tokenizer(kinds.Unigram())
    raw.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return trained(raw, trainers.UnigramTrainer, vocab_size=110, unk_token="<unk>")


def word_piece():
    raw = Tokenizer(kinds.WordPiece(unk_token="<unk>"))
    raw.normalizer, raw.pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    raw.decoder = decoders.WordPiece()
    return trained(raw, trainers.WordPieceTrainer, vocab_size=160)


def words():
    raw = Tokenizer(kinds.WordLevel(unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    return trained(raw, trainers.WordLevelTrainer, vocab_size=100)


def few_characters():
    """A toy that knows digits and operators, and no space."""
    raw = Tokenizer(kinds.WordLevel({token: i for i, token in enumerate([*SPECIAL, *"0123456789+-=?"])}, "<unk>"))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.Split(Regex("."), "isolated"), decoders.Fuse()
    return raw


KINDS = {
    "gpt2": byte_level(),
    "llama3": byte_level(DIGITS),
    "qwen": byte_level(DIGITS.replace("{1,3}", ""), normalizers.NFC()),
    "llama2": byte_fallback(prepended=True),
    "gemma": byte_fallback(prepended=False),
    "unigram": unigram(),
    "word_piece": word_piece(),
    "words": words(),
    "few_characters": few_characters(),
    "toy": build_tokenizer().backend_tokenizer,
}


@pytest.fixture
def folder(tmp_path):
    """A function that puts a tokenizer into a folder, as of a model's type, under a class of transformers."""

    def put(raw, tokenizer_class, model_type="llama", **more):
        raw.save(str(tmp_path / "tokenizer.json"))
        about = {
            "eos_token": "<|im_end|>",
            "unk_token": "<unk>",
            "pad_token": "<pad>",
            "chat_template": "{{ messages }}",
            **more,
        }
        about |= {} if tokenizer_class is None else {"tokenizer_class": tokenizer_class}
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(about))
        return tmp_path

    return put


def like_the_file(tokenizer, raw):
    texts = [QUESTION, "17 apples\n\n  and 1234 pears", "Größe 🙂"]
    return all(token_ids(tokenizer, text) == raw.encode(text, add_special_tokens=False).ids for text in texts)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokenizer_class", [None, "PreTrainedTokenizerFast"])
def test_a_tokenizer_that_transformers_takes_as_it_is_is_not_refused(kind, tokenizer_class, folder, caplog):
    assert like_the_file(read_tokenizer(folder(KINDS[kind], tokenizer_class), as_others_load_it=True), KINDS[kind])
    assert caplog.records == []


@pytest.mark.parametrize(
    ("kind", "tokenizer_class", "model_type"),
    [
        ("llama2", "LlamaTokenizerFast", "llama"),
        ("llama2", "LlamaTokenizer", "mistral"),
        ("gemma", "GemmaTokenizerFast", "gemma3_text"),
        ("gpt2", "GPT2Tokenizer", "llama"),
        ("qwen", "Qwen2TokenizerFast", "qwen3"),
        ("qwen", "Qwen2Tokenizer", "qwen2"),
        ("word_piece", "BertTokenizerFast", "llama"),
    ],
)
def test_a_tokenizer_under_the_class_of_its_kind_is_not_refused(kind, tokenizer_class, model_type, folder):
    put = folder(KINDS[kind], tokenizer_class, model_type)
    assert like_the_file(read_tokenizer(put, as_others_load_it=True), KINDS[kind])


@pytest.mark.parametrize(
    ("kind", "tokenizer_class", "model_type", "remedy"),
    [
        ("gpt2", "LlamaTokenizerFast", "llama", 'write "tokenizer_class": "PreTrainedTokenizerFast" there'),
        ("llama3", "LlamaTokenizerFast", "llama", 'write "tokenizer_class": "PreTrainedTokenizerFast" there'),
        ("llama3", "Qwen2Tokenizer", "llama", 'write "tokenizer_class": "PreTrainedTokenizerFast" there'),
        ("gpt2", "GemmaTokenizerFast", "llama", 'write "tokenizer_class": "PreTrainedTokenizerFast" there'),
        ("unigram", "LlamaTokenizerFast", "llama", 'write "tokenizer_class": "PreTrainedTokenizerFast" there'),
        ("gpt2", None, "qwen2", "no tokenizer_class helps with transformers"),
    ],
)
def test_where_transformers_would_build_another_the_file_is_taken(
    kind, tokenizer_class, model_type, remedy, folder, tmp_path_factory, caplog
):
    """Spaces vanish, or digits fall apart otherwise. verl loads the tokenizer itself, so there it is refused."""
    put = folder(KINDS[kind], tokenizer_class, model_type)
    tokenizer = read_tokenizer(put)
    assert like_the_file(tokenizer, KINDS[kind])
    assert tokenizer.eos_token == "<|im_end|>"
    assert "tokenizer.json is taken as it is" in caplog.text
    with pytest.raises(UserError, match=r"tokenizer_config\.json: with .*AutoTokenizer cuts text otherwise") as caught:
        read_tokenizer(put, as_others_load_it=True)
    assert remedy in str(caught.value)
    published = tmp_path_factory.mktemp("published")
    tokenizer.save_pretrained(published)
    (published / "config.json").write_bytes((put / "config.json").read_bytes())
    assert like_the_file(read_tokenizer(published), KINDS[kind])


def test_the_remedy_for_verl_is_one(folder):
    put = folder(KINDS["llama3"], "LlamaTokenizerFast")
    about = json.loads((put / "tokenizer_config.json").read_text())
    (put / "tokenizer_config.json").write_text(json.dumps({**about, "tokenizer_class": "PreTrainedTokenizerFast"}))
    assert like_the_file(read_tokenizer(put, as_others_load_it=True), KINDS["llama3"])


@pytest.mark.parametrize("tokenizer_class", ["T5TokenizerFast", "GemmaTokenizerFast"])
def test_tokenizer_json_is_taken_where_its_class_cannot_even_read_it(tokenizer_class, folder, caplog):
    raw = byte_level()
    put = folder(raw, tokenizer_class)
    assert like_the_file(read_tokenizer(put), raw)
    assert "tokenizer.json is taken as it is" in caplog.text


def test_a_tokenizer_that_was_saved_without_its_spaces_is_refused(folder):
    """Its tokenizer.json agrees with it; its vocabulary still has the spaces."""
    raw = Tokenizer.from_str(KINDS["gpt2"].to_str())
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    with pytest.raises(UserError, match=r"loses the spaces between words: 'what is 2 \+ 3\?' is read back as 'whatis2"):
        read_tokenizer(folder(raw, "PreTrainedTokenizerFast"))


def test_lengths_in_tokenizer_json_do_not_matter_here(folder):
    raw = Tokenizer.from_str(KINDS["gpt2"].to_str())
    raw.enable_truncation(4)
    raw.enable_padding(length=64)
    read_tokenizer(folder(raw, "PreTrainedTokenizerFast"), as_others_load_it=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": {"type": "BPE2", "vocab": {}, "merges": []}}, "the tokenizer cannot be loaded"),
        ({"pre_tokenizer": {"type": "Another"}}, "the tokenizer cannot be loaded"),
        # A pattern that tries without end: a panic of the library, which is no Exception.
        (
            {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [ENDLESS, BYTE_LEVEL]}},
            "the tokenizer cannot cut the text 'aaaa.*PanicException",
        ),
    ],
)
def test_what_tokenizers_cannot_do_is_said_in_one_line(change, said, folder):
    put = folder(KINDS["gpt2"], "PreTrainedTokenizerFast")
    about = json.loads((put / "tokenizer.json").read_text())
    (put / "tokenizer.json").write_text(json.dumps({**about, **change}))
    with pytest.raises(UserError, match=said) as caught:
        token_ids(read_tokenizer(put), "a" * 60)
    assert "\n" not in str(caught.value)
