"""Reads tokenizers from a folder, compares them with its tokenizer.json, and encodes text with them.

AutoTokenizer of transformers 5 builds many tokenizers anew, from the vocabulary alone, by the class that
tokenizer_config.json names. Where that is another kind than the file's, text is cut otherwise than the model learned
it, up to prompts without any space, and nothing says so. tokenizer.json is what the model was trained with, so it is
then taken as it is.
"""

import json
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import transformers
from tokenizers import Tokenizer
from transformers import AutoTokenizer, BatchEncoding, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from selfdistill.errors import UserError

_CONFIG = "tokenizer_config.json"
#: What transformers reads to build a tokenizer.
_FILES = ("config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json", "*.txt", "*.model", "vocab*")
#: Takes tokenizer.json as it is.
_AS_IT_IS = "PreTrainedTokenizerFast"
#: Composed characters, and no space before a full stop or the like: some tokenizers compose, or take such spaces out.
_PROBES = (
    "what is 2 + 3?",
    "The answer is 1234567, not 42; don't guess.",
    "First line.\n\n  Second  line:\tx = 10\n",
    "def f(x):\n    return {x: [1, -2]}",
    r"Let $\frac{1}{2} \leq y$, so \boxed{17}",
    "Größe, naïve, 数学, emoji 🙂 too",
)


def read_tokenizer(folder: Path, *, as_others_load_it: bool = False) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a folder, without running code from it.

    Args:
        folder: of a model.
        as_others_load_it: verl loads the tokenizer itself, as AutoTokenizer does: one that would not keep to
            tokenizer.json is refused, in place of being taken from that file.

    Raises:
        UserError: for a tokenizer that cannot be loaded, or that loses the spaces between words.
    """
    folder = Path(folder)
    try:
        tokenizer, file = _loaded(folder), _of_file(folder)
        text = None if file is None else _cut_otherwise(tokenizer, file)
        reason = text and _reason(tokenizer, folder, text)
    except UserError as error:  # the class that is named may be another kind's: of tokenizer.json nothing is known yet
        if as_others_load_it or (file := _readable_file(folder)) is None:
            raise
        reason = str(error)
    if reason:
        if as_others_load_it:
            raise UserError(f"{reason}; {_remedy(folder)}")
        tokenizer = _loaded(folder, PreTrainedTokenizerFast)
        if (text := _cut_otherwise(tokenizer, file)) is not None:
            raise UserError(f"{reason}; correct {_CONFIG}: taken as it is, the file cuts {text!r} otherwise, too")
        logging.getLogger(__name__).warning("%s; tokenizer.json is taken as it is", reason)
    _refuse_lost_spaces(tokenizer, folder)
    return tokenizer


def token_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the ids of a text as it stands: the tokenizer adds no token of its own.

    Raises UserError as `encoded` does.
    """
    return encoded(tokenizer, text).input_ids


def encoded(tokenizer: PreTrainedTokenizerBase, text: str, *, offsets: bool = False) -> BatchEncoding:
    """Returns ids as `token_ids`, with the tokens' places in the text where wanted.

    Raises UserError for text that the tokenizer cannot cut.
    """
    with _failures_named(f"{tokenizer.name_or_path}: the tokenizer cannot cut the text {text[:40]!r}"):
        return tokenizer(text, add_special_tokens=False, return_offsets_mapping=offsets)


@contextmanager
def _failures_named(what: str) -> Iterator[None]:
    """UserError for whatever tokenizers ends with: plain Exceptions, and panics of its Rust code, which are none."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = f"{type(error).__name__}: {error}".strip().partition("\n")[0]
        raise UserError(f"{what} ({reason}); take the model's files anew, or another model") from error


def _loaded(folder: Path, kind: type = AutoTokenizer) -> PreTrainedTokenizerBase:
    with _failures_named(f"{folder}: the tokenizer cannot be loaded with transformers {transformers.__version__}"):
        return kind.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def _of_file(folder: Path) -> Tokenizer | None:
    path = folder / "tokenizer.json"
    if not path.exists():
        return None
    with _failures_named(f"{path}: cannot be read"):
        file = Tokenizer.from_file(str(path))
        file.no_truncation()
        file.no_padding()
        return file


def _readable_file(folder: Path) -> Tokenizer | None:
    """tokenizer.json; None where there is none that can be read."""
    try:
        return _of_file(folder)
    except UserError:
        return None


def _cut_otherwise(tokenizer: PreTrainedTokenizerBase, file: Tokenizer) -> str | None:
    """A text of which both make other ids; None where there is none among the probes.

    A space in front is no difference: tokenizer_config.json may ask for one or not.
    """
    if getattr(tokenizer, "fix_mistral_regex", False):  # a known fault of the file's pattern is mended on purpose
        return None
    for text in _PROBES:
        with _failures_named(f"{tokenizer.name_or_path}: tokenizer.json cannot cut the text {text!r}"):
            spaced, plain = (file.encode(each, add_special_tokens=False).ids for each in (f" {text}", text))
        if token_ids(tokenizer, text) not in (plain, spaced) and token_ids(tokenizer, f" {text}") != plain:
            return text
    return None


def _reason(tokenizer: PreTrainedTokenizerBase, folder: Path, text: str) -> str:
    named = _config(folder).get("tokenizer_class")
    said = tokenizer.decode(token_ids(tokenizer, text))
    return (
        f"{folder / _CONFIG}: with {f'tokenizer_class {named}' if named else 'no tokenizer_class'}, AutoTokenizer cuts "
        f"text otherwise than tokenizer.json, which the model learned with ({text!r} is read back as {said!r})"
    )


def _remedy(folder: Path) -> str:
    """Returns what makes AutoTokenizer keep to tokenizer.json, tried out on a copy."""
    with tempfile.TemporaryDirectory() as held:
        for path in (path for pattern in _FILES for path in folder.glob(pattern) if path.is_file()):
            shutil.copyfile(path, Path(held) / path.name)
        changed = {**_config(folder), "tokenizer_class": _AS_IT_IS}
        (Path(held) / _CONFIG).write_text(json.dumps(changed), encoding="utf-8")
        helps = _cut_otherwise(_loaded(Path(held)), _of_file(Path(held))) is None
    if helps:
        return (
            f'write "tokenizer_class": "{_AS_IT_IS}" there (of a model of the hub, in a folder of your own: `source`)'
        )
    return f"no tokenizer_class helps with transformers {transformers.__version__}: use trainer local, or another model"


def _config(folder: Path) -> dict[str, Any]:
    path = folder / _CONFIG
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _refuse_lost_spaces(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Raises UserError where the vocabulary has spaces and text comes back without them.

    One that was saved after it had been built anew, as above, has a tokenizer.json that agrees with it. A toy that
    knows no space cannot lose one.
    """
    if not any(token[:1] in ("Ġ", "▁") or " " in token for token in tokenizer.get_vocab()):
        return
    for text in _PROBES:
        said = tokenizer.decode(token_ids(tokenizer, text))
        words, found = text.casefold().split(), said.casefold().split()
        if "".join(words) == "".join(found) and len(found) < len(words):
            raise UserError(
                f"{folder}: the tokenizer loses the spaces between words: {text!r} is read back as {said!r}; take "
                "tokenizer.json and tokenizer_config.json as the model's authors published them"
            )
