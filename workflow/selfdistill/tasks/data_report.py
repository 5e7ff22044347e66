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


def data_report(files: Sequence[DataFile], pairs: Iterable[tuple[str, str]]) -> list[Finding]:
    """All findings, file by file.

    Args:
        files: each file once.
        pairs: (training set, validation dataset) names of what is trained and evaluated together.
    """
    exact: dict[tuple[str, str], dict[bytes, str]] = {}
    near: dict[tuple[str, str], dict[bytes, str]] = {}
    questions: dict[tuple[str, str], dict[bytes, str]] = {}
    pictures: dict[tuple[str, str], dict[str, str]] = {}
    findings: dict[tuple[str, str], list[Finding]] = {}
    for file in files:
        key = file.dataset, file.split
        problems = read_problems(file.path, own_prompts=None)
        findings[key] = _of_file(file, problems)
        exact[key] = {problem_digest(p): p.id for p in reversed(problems)}
        pictures[key] = {each.digest: p.id for p in reversed(problems) for each in p.images}
        near[key] = {near_digest(_with_pictures(p)): p.id for p in reversed(problems)}
        questions[key] = {near_digest(p.problem): p.id for p in reversed(problems)}
    for train, val in pairs:
        for name, known in (("exactly", exact), ("but for case and punctuation", near)):
            shared = _shared(known[train, "train"], known[val, "val"])
            findings[val, "val"].append(
                Finding(val, "val", "", f"problems also in {train}, {name}", len(shared), _listed(shared))
            )
        if pictures[train, "train"] and pictures[val, "val"]:
            shared = [
                f"{name} (= {pictures[train, 'train'][each]})"
                for each, name in pictures[val, "val"].items()
                if each in pictures[train, "train"]
            ]
            found = f"pictures also in {train}, byte for byte"
            findings[val, "val"].append(Finding(val, "val", "", found, len(shared), _listed(shared)))
            shared = _shared(questions[train, "train"], questions[val, "val"])
            found = f"questions also in {train}, whatever their pictures"
            findings[val, "val"].append(Finding(val, "val", "", found, len(shared), _listed(shared)))
    return [finding for each in findings.values() for finding in each]


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
    def finding(name: str, value: int | None, note: str = "", source: str = "") -> Finding:
        return Finding(file.dataset, file.split, source, name, value, note)

    missing, more = column_differences(file.path)
    different = {p.answer for p in problems}
    readable = {answer: READABLE[file.grader](answer) for answer in different}
    unread = [f"{p.id} ({_short(p.answer)})" for p in problems if not readable[p.answer]]
    numbers = {answer: STANDS_FOR[file.grader](answer) for answer in different if readable[answer]}
    taken = [f"{p.id} ({_short(p.answer)} for {n})" for p in problems if (n := numbers.get(p.answer)) is not None]
    first = {problem_digest(p): p for p in reversed(problems)}
    repeated = [f"{p.id} (= {was.id})" for p in problems if (was := first[problem_digest(p)]) is not p]
    found = [
        finding("origin", None, origin(file.recipe)),
        finding("rows", len(problems)),
        *(finding("rows", n, source=name) for name, n in Counter(p.data_source for p in problems).items()),
        finding("columns missing", len(missing), ", ".join(missing)),
        finding("columns beside", len(more), ", ".join(more)),
        finding("empty prompts", count_empty_prompts(file.path)),
        finding("empty solutions", sum(not p.solution.strip() for p in problems)),
        finding("answers that the grader cannot read", len(unread), _listed(unread)),
        finding("answers that the grader takes for a plain number", len(taken), _listed(taken)),
        finding("problems that repeat an earlier one", len(repeated), _listed(repeated)),
    ]
    if any(p.images for p in problems):
        found += [
            finding("pictures", sum(len(p.images) for p in problems)),
            finding("different pictures", len({each.digest for p in problems for each in p.images})),
            *(finding(f"rows left out: {why}", n) for why, n in left_out(file.path).items()),
        ]
    if file.grader == "pictures":
        found += [finding(f"answers of kind {kind}", n) for kind, n in Counter(p.ability for p in problems).items()]
    for name in ("problem", "solution", "answer"):
        lengths = [len(getattr(p, name)) for p in problems]
        found.append(finding(f"characters per {name}, median", round(statistics.median(lengths))))
        found.append(finding(f"characters per {name}, longest", max(lengths)))
    return found


def _shared(train: Mapping[bytes, str], val: Mapping[bytes, str]) -> list[str]:
    return [f"{name} (= {train[key]})" for key, name in val.items() if key in train]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" and more" if len(names) > _SHOWN else "")


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."
