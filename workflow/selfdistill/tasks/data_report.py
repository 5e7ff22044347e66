"""Reports on data files: counts, lengths, what a grader cannot read, duplicates, overlap, origin.

Rows that cannot be used at all are refused when a file is imported (see `schema.read_problems`), and are not met here.
"""

import hashlib
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selfdistill.tasks.graders import READABLE, STANDS_FOR
from selfdistill.tasks.schema import Problem, column_differences, count_empty_prompts, read_problems
from selfdistill.tasks.vision.rows import left_out

_SHOWN = 8  # ids in a note
_NO_WORD = re.compile(r"[^\w+\-*/^=<>|]+")  # operators tell formulas apart


@dataclass(frozen=True)
class DataFile:
    """A file of the matrix.

    Attributes:
        dataset: name of the training set, or the benchmarks joined by "+".
        split: "train" or "val".
        path: the parquet.
        grader: name of its task's grader.
        recipe: what its content depends on, as `Study.split` has it.
    """

    dataset: str
    split: str
    path: str
    grader: str
    recipe: Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """One row of the report: a number, or a text in `note`, about a file or (data_source) a part of it."""

    dataset: str
    split: str
    data_source: str
    finding: str
    value: int | None
    note: str = ""


@dataclass(frozen=True)
class _Seen:
    """What the problems of a file are known by -> the id of the first that has it."""

    exact: Mapping[bytes, str]
    near: Mapping[bytes, str]
    questions: Mapping[bytes, str]
    pictures: Mapping[str, str]

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> "_Seen":
        backwards = problems[::-1]  # of several ids the first one stays
        return cls(
            exact={problem_digest(p): p.id for p in backwards},
            near={near_digest(_with_pictures(p)): p.id for p in backwards},
            questions={near_digest(p.problem): p.id for p in backwards},
            pictures={each.digest: p.id for p in backwards for each in p.images},
        )


def data_report(files: Sequence[DataFile], pairs: Iterable[tuple[str, str]]) -> list[Finding]:
    """Return all findings, file by file.

    Args:
        files: each file once.
        pairs: (training set, validation dataset) names of what is trained and evaluated together.
    """
    seen: dict[tuple[str, str], _Seen] = {}
    findings: dict[tuple[str, str], list[Finding]] = {}
    for file in files:
        key, problems = (file.dataset, file.split), read_problems(file.path, own_prompts=None)
        findings[key], seen[key] = _of_file(file, problems), _Seen.of(problems)
    for train, val in pairs:
        findings[val, "val"] += _overlap(train, val, seen[train, "train"], seen[val, "val"])
    return [finding for each in findings.values() for finding in each]


def _overlap(train: str, val: str, trained: _Seen, asked: _Seen) -> list[Finding]:
    """What a validation file shares with a training set."""
    shared = {
        f"problems also in {train}, exactly": _shared(trained.exact, asked.exact),
        f"problems also in {train}, but for case and punctuation": _shared(trained.near, asked.near),
    }
    if trained.pictures and asked.pictures:
        shared |= {
            f"pictures also in {train}, byte for byte": _shared(trained.pictures, asked.pictures),
            f"questions also in {train}, whatever their pictures": _shared(trained.questions, asked.questions),
        }
    return [Finding(val, "val", "", found, len(ids), _listed(ids)) for found, ids in shared.items()]


def origin(recipe: Mapping[str, Any]) -> str:
    """Returns where a file's content comes from, in words."""
    if "format" in recipe:
        made = f"{recipe['format']}, {recipe['domain']}" if "domain" in recipe else recipe["format"]
        return f"{made}, {recipe['split']}, made from " + "; ".join(map(origin, recipe["files"]))
    if "hub" in recipe:
        hub = recipe["hub"]
        kind = "sha256" if "sha256" in recipe else "git_sha1"
        held = f"commit {hub['commit']}, {kind} {recipe[kind]}" if "commit" in hub else "not locked"
        return f"hub: {recipe['file']} of {hub['id']}@{hub['revision']}, {held}"
    if kind := next((kind for kind in ("sha256", "git_sha1") if kind in recipe), None):
        return f"a folder's file, {kind} {recipe[kind]}"
    return f"generated: {recipe['exercise']}, seed {recipe['seed']}"


def digest(text: str) -> bytes:
    """Equal for texts that are equal up to white space."""
    return _hash(" ".join(text.split()))


def problem_digest(problem: Problem) -> bytes:
    """Equal for problems of equal text, up to white space, and equal pictures."""
    return digest(_with_pictures(problem))


def near_digest(text: str) -> bytes:
    """Equal for texts that are equal up to white space, case and punctuation."""
    return _hash(_NO_WORD.sub(" ", text).casefold().strip())


def _with_pictures(problem: Problem) -> str:
    return " ".join([problem.problem, *(each.digest for each in problem.images)])


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()


def _of_file(file: DataFile, problems: Sequence[Problem]) -> list[Finding]:
    missing, more = column_differences(file.path)
    sources = Counter(p.data_source for p in problems)
    rows = [
        ("", "origin", None, origin(file.recipe)),
        ("", "rows", len(problems), ""),
        *((source, "rows", number, "") for source, number in sources.items()),
        ("", "columns missing", len(missing), ", ".join(missing)),
        ("", "columns beside", len(more), ", ".join(more)),
        ("", "empty prompts", count_empty_prompts(file.path), ""),
        ("", "empty solutions", sum(not p.solution.strip() for p in problems), ""),
    ]
    rows += [("", name, len(ids), _listed(ids)) for name, ids in _doubtful(file.grader, problems).items()]
    numbers = {**_of_pictures(file, problems), **_lengths(problems)}
    rows += [("", name, number, "") for name, number in numbers.items()]
    return [Finding(file.dataset, file.split, *row) for row in rows]


def _doubtful(grader: str, problems: Sequence[Problem]) -> dict[str, list[str]]:
    """What may be wrong with problems -> the ids of those with which it is, and why."""
    different = {p.answer for p in problems}
    readable = {answer: READABLE[grader](answer) for answer in different}
    numbers = {answer: STANDS_FOR[grader](answer) for answer in different if readable[answer]}
    first = {problem_digest(p): p for p in reversed(problems)}
    return {
        "answers that the grader cannot read": [
            f"{p.id} ({_short(p.answer)})" for p in problems if not readable[p.answer]
        ],
        "answers that the grader takes for a plain number": [
            f"{p.id} ({_short(p.answer)} for {n})" for p in problems if (n := numbers.get(p.answer)) is not None
        ],
        "problems that repeat an earlier one": [
            f"{p.id} (= {was.id})" for p in problems if (was := first[problem_digest(p)]) is not p
        ],
    }


def _of_pictures(file: DataFile, problems: Sequence[Problem]) -> dict[str, int]:
    """What there is to count of problems with pictures; nothing of others."""
    found: dict[str, int] = {}
    if any(p.images for p in problems):
        found["pictures"] = sum(len(p.images) for p in problems)
        found["different pictures"] = len({each.digest for p in problems for each in p.images})
        found |= {f"rows left out: {why}": n for why, n in left_out(file.path).items()}
    if file.grader == "pictures":
        found |= {f"answers of kind {kind}": n for kind, n in Counter(p.ability for p in problems).items()}
    return found


def _lengths(problems: Sequence[Problem]) -> dict[str, int]:
    found = {}
    for name in ("problem", "solution", "answer"):
        lengths = [len(getattr(p, name)) for p in problems]
        found[f"characters per {name}, median"] = round(statistics.median(lengths))
        found[f"characters per {name}, longest"] = max(lengths)
    return found


def _shared(train: Mapping[Any, str], val: Mapping[Any, str]) -> list[str]:
    return [f"{name} (= {train[key]})" for key, name in val.items() if key in train]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" and more" if len(names) > _SHOWN else "")


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."
