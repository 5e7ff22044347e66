"""Reads SciKnowEval (hub hicai-zju/SciKnowEval, split test; arXiv 2406.09098) as SDPO trains on it.

Questions of level L3 with two or four options, by domain; a tenth of each is for the test, chosen as `datasets` does
with seed 42. The prompts equal the released ones; the system message is ours, and speaks of as many options as there
are.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from selfdistill.errors import UserError
from selfdistill.tasks import choice
from selfdistill.tasks.release import Record

DOMAINS = {"Biology": "biology", "Chemistry": "chemistry", "Material": "material", "Physics": "physics"}
LEVEL = "L3"
TYPES = ("mcq-4-choices", "mcq-2-choices")
TEST_SHARE, SEED = 0.1, 42


def domains(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, list[Record]]]:
    """Records of "train" and "test" by name of the domain (sciknoweval_biology, ...), from rows of the hub.

    Raises:
        UserError: where there is no question of that kind, and for one whose options or answer cannot be read.
    """
    chosen: dict[str, list[Record]] = {}
    for number, row in enumerate(rows):
        if (
            row.get("type") in TYPES
            and _mapping(row.get("details")).get("level") == LEVEL
            and row.get("domain") in DOMAINS
        ):
            records = chosen.setdefault(DOMAINS[row["domain"]], [])
            records.append(_record(row, len(records), f"row {number} of SciKnowEval (counted from 0)"))
    if not chosen:
        raise UserError(
            f"no question of level {LEVEL} and type {' or '.join(TYPES)} in these rows; expected the split test of "
            "hicai-zju/SciKnowEval, with columns type, domain, details.level, question, choices, answerKey"
        )
    return {f"sciknoweval_{name}": split(records) for name, records in chosen.items()}


def split(records: list[Record]) -> dict[str, list[Record]]:
    """Return a tenth of the records as "test", the others as "train", both in the order of one random permutation."""
    order = np.random.default_rng(SEED).permutation(len(records))
    tests = math.ceil(TEST_SHARE * len(records))
    return {"train": [records[i] for i in order[tests:]], "test": [records[i] for i in order[:tests]]}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _record(row: Mapping[str, Any], index: int, where: str) -> Record:
    choices, answer, question = _mapping(row.get("choices")), row.get("answerKey"), row.get("question")
    labels, texts = list(choices.get("label") or ()), list(choices.get("text") or ())
    asks = isinstance(question, str) and question.strip() and all(isinstance(text, str) for text in texts)
    lettered = len(texts) >= 2 and labels == list(choice.LETTERS[: len(texts)])
    if not (asks and lettered and answer in labels):
        raise UserError(
            f"{where}: expected question, choices.text, choices.label (A, B, ... in order) and answerKey, one of them; "
            f"found {str(row)[:80]!r}"
        )
    return Record(
        index=index,
        kind="mcq",
        dataset="sciknoweval",
        prompt=choice.prompt(question, dict(zip(labels, texts, strict=True))),
        reference=answer,
        system=choice.system_message(labels),
        description=question,
    )
