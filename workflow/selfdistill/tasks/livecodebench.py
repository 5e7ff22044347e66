"""Reads LiveCodeBench v6 (hub livecodebench/code_generation_lite; arXiv 2403.07974) as SDPO trains on it.

Contests of February to April 2025. Training asks each question with a random half of its private tests, the test with
all of them. Private tests come as base64 of zlib of a pickle of a text. What a pickle asks for is listed and never
done, and one that asks for more than a text is refused: a file from elsewhere cannot run anything here.
"""

import base64
import binascii
import datetime
import json
import pickletools
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from selfdistill.errors import UserError
from selfdistill.tasks import code
from selfdistill.tasks.release import Record

BEGIN, END = datetime.date(2025, 2, 1), datetime.date(2025, 5, 1)  # the end is not in it
_MOST_BYTES = 1 << 30  # of one question's tests, unpacked
_SEED = 0
#: Operations of a pickle that give a text, and those around it.
_TEXTS = {"UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
_AROUND = {"PROTO", "FRAME", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "STOP"}


def splits(
    rows: Iterable[Mapping[str, Any]], *, begin: datetime.date = BEGIN, end: datetime.date = END
) -> dict[str, list[Record]]:
    """Records of "train" (half of the tests) and "test" (all of them), of contests from `begin` to before `end`.

    Raises:
        UserError: where there is no question of these dates, for one whose date, text or tests cannot be read, and for
            one that is there twice.
    """
    asked: Counter[str] = Counter()
    rng = np.random.RandomState(_SEED)  # one stream for all questions, as released
    found: dict[str, list[Record]] = {"train": [], "test": []}
    for row in rows:
        where = f"question {row.get('question_id')!r} of LiveCodeBench"
        if not begin <= _date(row, where) < end:
            continue
        asked[str(row.get("question_id"))] += 1
        if asked[str(row.get("question_id"))] > 1:
            raise UserError(f"{where} is there twice; name each of its files once, and none that holds another's rows")
        tests = _tests(row, where)
        count = len(tests["inputs"])
        kept = np.sort(rng.choice(count, max(1, count // 2), replace=False))
        half = tests | {key: [tests[key][i] for i in kept] for key in ("inputs", "outputs")}
        index = len(found["test"])
        found["train"].append(_record(row, index, half))
        found["test"].append(_record(row, index, tests))
    if not found["test"]:
        raise UserError(f"no question with a contest_date from {begin} to before {end}; expected rows of LiveCodeBench")
    return found


def unpack_tests(packed: str) -> Any:
    """Returns what a column private_test_cases holds: JSON as it is, or base64 of zlib of a pickle of JSON.

    Raises ValueError, in words, for anything else, a pickle that holds more than text among it.
    """
    try:
        return json.loads(packed)
    except ValueError:
        pass
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(base64.b64decode(packed, validate=True), _MOST_BYTES)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise ValueError(f"neither JSON nor base64 of zlib ({error})") from None
    if not unpacker.eof and not unpacker.unconsumed_tail:
        raise ValueError("neither JSON nor base64 of zlib (it is cut)")
    if unpacker.unconsumed_tail:
        raise ValueError(f"more than {_MOST_BYTES} bytes of tests")
    return json.loads(_text_of(data))


def _text_of(pickle: bytes) -> str:
    """Returns the text that a pickle holds, without loading it: ValueError for one with anything else in it."""
    texts = []
    try:
        for operation, value, _ in pickletools.genops(pickle):
            if operation.name in _TEXTS:
                texts.append(value)
            elif operation.name not in _AROUND:
                raise ValueError(f"it asks for {operation.name}, expected a text alone")
    except Exception as error:  # a broken pickle raises nearly anything
        raise ValueError(f"not a pickle of a text ({error})") from None
    if len(texts) != 1:
        raise ValueError(f"not a pickle of a text (it has {len(texts)} of them)")
    return texts[0]


def _date(row: Mapping[str, Any], where: str) -> datetime.date:
    told = row.get("contest_date")
    if isinstance(told, datetime.datetime):
        return told.date()
    try:
        return datetime.datetime.fromisoformat(str(told)).date()
    except ValueError:
        raise UserError(f"{where}: contest_date is {told!r}, expected a date") from None


def _tests(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    try:
        cases = unpack_tests(row["private_test_cases"])
        metadata = json.loads(row.get("metadata") or "{}")
        tests = {
            "inputs": [case["input"] for case in cases],
            "outputs": [case["output"] for case in cases],
            "testtype": cases[0]["testtype"],
            "fn_name": metadata.get("func_name") or "",
            "time_limit": code.TEST_SECONDS,
        }
        code.check_tests(json.dumps(tests))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise UserError(f"{where}: private_test_cases cannot be read: {error}; fetch the file again") from None
    return tests


def _record(row: Mapping[str, Any], index: int, tests: Mapping[str, Any]) -> Record:
    texts = {key: row.get(key) or "" for key in ("question_content", "starter_code")}
    for key, text in texts.items():
        if not isinstance(text, str) or (key == "question_content" and not text.strip()):
            raise UserError(f"question {row.get('question_id')!r} of LiveCodeBench: {key} is {text!r}, expected a text")
    # A method of a class is asked for as a function, as released.
    statement, starter = (text.replace("(self, ", "(") for text in texts.values())
    _, found, signature = starter.partition("def ")
    return Record(
        index=index,
        kind="code",
        dataset="livecodebench",
        prompt=code.prompt(statement, f"def {signature.rstrip()}" if found else ""),
        reference=json.dumps(tests),
        description=statement,
    )
