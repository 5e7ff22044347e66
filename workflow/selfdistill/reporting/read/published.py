"""The paper's published numbers (resources/published), by this project's names of models, variants and benchmarks.

The tables were published in three versions. Where none is asked for, the latest that has the cell counts.
"""

import csv
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from selfdistill.errors import UserError

FOLDER = Path(__file__).parents[4] / "resources/published"
MAIN, PLUGIN, ABLATIONS = FOLDER / "main_results.csv", FOLDER / "plugin_study.csv", FOLDER / "ablations.csv"
PROBLEMS = FOLDER / "benchmark_problems.csv"

#: Here -> in the paper.
MODELS = {
    "qwen3_1_7b": "Qwen3-1.7B",
    "qwen3_4b": "Qwen3-4B",
    "qwen3_8b": "Qwen3-8B",
    "olmo3_7b_think": "Olmo-3-7B",
}
#: In the paper -> task and benchmark here; its averages are macro means, as `average` of main.csv is.
BENCHMARKS = {
    "amc23": ("math", "amc23"),
    "aime24": ("math", "aime24"),
    "aime25": ("math", "aime25"),
    "math_avg": ("math", "average"),
    "kk_4to8": ("logic", "kk_4to8_test"),
    "kk_9": ("logic", "kk_9"),
    "kk_10": ("logic", "kk_10"),
    "kk_11": ("logic", "kk_11"),
    "logic_avg": ("logic", "average"),
}
#: Variant here -> method and source of its hints in the paper, where the two names differ.
_VARIANTS = {
    "rlcsd": ("rlcsd", "self_rollout"),
    "rlcsd-gt_cot": ("rlcsd", "gt_cot"),
    "rlcsd-lr5e6": ("rlcsd", "self_rollout"),
}
#: Variant here -> the one task on which it stands for the paper's: there the paper trained rlcsd with this rate.
_ONLY = {"rlcsd-lr5e6": "logic"}


#: Column of any file, what its texts look like, and that in words.
_NUMBERS = (
    ("percent", re.compile(r"-?\d+(\.\d+)?"), "a number"),
    ("delta_percent_points", re.compile(r"-?\d+(\.\d+)?"), "a number"),
    ("problems", re.compile(r"[1-9]\d*"), "a whole number from 1 on"),
    ("step", re.compile(r"\d*"), "a whole number or nothing"),
    ("value", re.compile(r"-?\d+(\.\d+)?"), "a number"),
)


@dataclass(frozen=True)
class Published:
    """One published number, in percent (points in the plug-in study), and the version of the tables it is from."""

    task: str
    model: str
    variant: str
    benchmark: str
    value: float
    version: str


def published_rows(model: str, variant: str, version: str | None = None) -> list[Published]:
    """The main results of a model and variant: each cell's latest version, or those of the one asked for.

    None but for the paper's models and variants. Averages have the benchmark "average". On logic, where the paper
    trained rlcsd with five times the rate of the others, its cells are those of rlcsd and of rlcsd-lr5e6.
    """
    cells: dict[str, Published] = {}
    for row in sorted(main_results(), key=lambda row: dated(row["source"])):
        method, source = _VARIANTS.get(variant, (variant, ""))
        asked = (MODELS.get(model), method, source, version or row["source"])
        if (row["model"], row["method"], row["hint_source"], row["source"]) == asked:
            task, benchmark = BENCHMARKS[row["benchmark"]]
            if _ONLY.get(variant, task) != task:
                continue
            cells[row["benchmark"]] = Published(task, model, variant, benchmark, float(row["percent"]), row["source"])
    return list(cells.values())


def published_gain(task: str, model: str, method: str) -> Published | None:
    """The plug-in study: what contrast adds to a method over the better of its one-sided settings, in points.

    From the latest version that has it.
    """
    asked = (task, MODELS.get(model), method)
    rows = [row for row in plugin_study() if (row["family"], row["model"], row["method"]) == asked]
    latest = max(rows, key=lambda row: dated(row["source"]), default=None)
    if latest is None:
        return None
    return Published(task, model, method, "average", float(latest["delta_percent_points"]), latest["source"])


def published_ablation(task: str, model: str, variant: str) -> Published | None:
    """The average of an ablation of rlcsd, or of rlcsd itself as it stands beside them."""
    for row in read_published(ABLATIONS, "source", "model", "variant", "task", "percent"):
        if (row["task"], row["model"], row["variant"]) == (task, MODELS.get(model), variant):
            return Published(task, model, variant, "average", float(row["percent"]), row["source"])
    return None


def main_results() -> tuple[dict[str, str], ...]:
    """All rows of the main results, in the paper's names, as texts: source, model, method, hint_source, benchmark,
    percent."""
    return read_published(MAIN, "source", "model", "method", "hint_source", "benchmark", "percent")


def plugin_study() -> tuple[dict[str, str], ...]:
    """All rows of the plug-in study, as `main_results`: source, model, method, family (task), delta_percent_points."""
    return read_published(PLUGIN, "source", "model", "method", "family", "delta_percent_points")


def problems() -> dict[str, int]:
    """Benchmark (here) -> how many problems the paper's has. Raises UserError where one is missing."""
    counts = {row["benchmark"]: int(row["problems"]) for row in read_published(PROBLEMS, "benchmark", "problems")}
    for _, name in BENCHMARKS.values():
        if name not in ("average", *counts):
            raise UserError(f"{PROBLEMS}: has no row of benchmark {name!r}; take the file from the repository")
    return counts


def dated(source: str) -> str:
    """The date at the end of a version's name, which puts versions in order."""
    return source[-len("2026-06-10") :]


@functools.cache
def read_published(path: Path, *columns: str) -> tuple[dict[str, str], ...]:
    """The rows of a published file with these columns, as texts. Raises UserError for one that was edited wrongly."""
    return tuple(_rows(path, columns))


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            for row in (dict.fromkeys(reader.fieldnames or (), ""), *rows):
                if missing := [column for column in columns if row.get(column) is None]:
                    raise UserError(f"{path}: column {missing[0]!r} is missing; take the file from the repository")
            for line, row in enumerate(rows, start=2):
                _check(row, path, line)
                yield row
    except OSError as error:
        raise UserError(f"{path}: cannot read the published numbers ({error.strerror}); they ship with it") from None


def _check(row: Mapping[str, str], path: Path, line: int) -> None:
    for column, shape, expected in _NUMBERS:
        if column in row and not shape.fullmatch(row[column]):
            raise UserError(f"{path}, line {line}: {column} is {row[column]!r}: expected {expected}; correct this row")
    if path == MAIN and row["benchmark"] not in BENCHMARKS:
        known = ", ".join(BENCHMARKS)
        raise UserError(f"{path}, line {line}: benchmark is {row['benchmark']!r}: expected one of {known}; correct it")
