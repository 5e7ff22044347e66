"""LiveCodeBench v6 (hub livecodebench/code_generation_lite; arXiv 2403.07974) as SDPO trains on it.

Contests of February to April 2025. Training asks each question with a random half of its private tests, the test with
all of them. Private tests come as base64 of zlib of a pickle of a text; the pickle is read by a loader that knows of
text only, so a file from elsewhere cannot run anything here.
"""

import base64
import binascii
import datetime
import io
import json
import pickle
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import numpy as np

from selfdistill.errors import UserError
from selfdistill.tasks import code
from selfdistill.tasks.release import Record

BEGIN, END = datetime.date(2025, 2, 1), datetime.date(2025, 5, 1)  # the end is not in it
_MOST_BYTES = 1 << 30  # of one question's tests, unpacked
_SEED = 0


def splits(
    rows: Iterable[Mapping[str, Any]], *, begin: datetime.date = BEGIN, end: datetime.date = END
) -> dict[str, list[Record]]:
    """Records of "train" (half of the tests) and "test" (all of them), of contests from `begin` to before `end`.

    Raises:
        UserError: where there is no question of these dates, and for one whose date or tests cannot be read.
    """
    rng = np.random.RandomState(_SEED)  # one stream for all questions, as released
    found: dict[str, list[Record]] = {"train": [], "test": []}
    for row in rows:
        where = f"question {row.get('question_id')!r} of LiveCodeBench"
        if not begin <= _date(row, where) < end:
            continue
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
    """What a column private_test_cases holds: JSON as it is, or base64 of zlib of a pickle of JSON.

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
    try:
        text = _TextUnpickler(io.BytesIO(data)).load()
    except ValueError:
        raise
    except Exception as error:  # a broken pickle raises nearly anything
        raise ValueError(f"not a pickle ({type(error).__name__}: {error})") from None
    if not isinstance(text, str):
        raise ValueError(f"a pickle of {type(text).__name__}, expected text")
    return json.loads(text)


class _TextUnpickler(pickle.Unpickler):
    """Reads text, numbers and containers of them; nothing in a pickle can be called without one of these methods."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise ValueError(f"a pickle that asks for {module}.{name}, expected text only")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise ValueError("a pickle that refers to something outside, expected text only")


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
        code.read_tests(json.dumps(tests))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise UserError(f"{where}: private_test_cases cannot be read: {error}; fetch the file again") from None
    return tests


def _record(row: Mapping[str, Any], index: int, tests: Mapping[str, Any]) -> Record:
    # A method of a class is asked for as a function, as released.
    statement, starter = ((row.get(key) or "").replace("(self, ", "(") for key in ("question_content", "starter_code"))
    _, found, signature = starter.partition("def ")
    return Record(
        index=index,
        kind="code",
        dataset="livecodebench",
        prompt=code.prompt(statement, f"def {signature.rstrip()}" if found else ""),
        reference=json.dumps(tests),
        description=statement,
    )
