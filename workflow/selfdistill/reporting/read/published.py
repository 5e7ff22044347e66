"""Reads the paper's published numbers (resources/published), by this project's names of models and variants.

The paper has two versions, v1 and v2: other settings, other numbers. A configuration says which of them stands beside
its results (`published`). The tables of the first were published three times: the latest that has a cell counts.
"""

import csv
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from selfdistill.errors import UserError
from selfdistill.study.hint_settings import SECOND_VERSION

FOLDER = Path(__file__).parents[4] / "resources/published"
MAIN, PLUGIN, ABLATIONS = FOLDER / "main_results.csv", FOLDER / "plugin_study.csv", FOLDER / "ablations.csv"
CONTRAST, WINDOWS = FOLDER / "contrast.csv", FOLDER / "windows.csv"
OPD = FOLDER / "opd.csv"
RLSD = FOLDER / "rlsd_results.csv"
PROBLEMS = FOLDER / "benchmark_problems.csv"

#: Here -> in the paper.
MODELS = {
    "qwen3_1_7b": "Qwen3-1.7B",
    "qwen3_4b": "Qwen3-4B",
    "qwen3_8b": "Qwen3-8B",
    "olmo3_7b_think": "Olmo-3-7B",
}
#: The same, of the cross-model study (config/opd.yaml), which the second version alone has.
OPD_MODELS = {
    "qwen3_1_7b_base": "Qwen3-1.7B-Base",
    "qwen3_4b_instruct": "Qwen3-4B-Instruct",
    "qwen3_4b_base_grpo": "Qwen3-4B-Base-GRPO",
}
#: The same, of RLSD's own paper (config/rlsd.yaml).
RLSD_MODELS = {"qwen3_vl_8b_instruct": "Qwen3-VL-8B-Instruct"}
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
_OF_RLSD = {
    **{name: ("pictures", name) for name in ("mmmu", "mathvista", "mathvision", "zerobench", "wemath")},
    "vision_avg": ("pictures", "average"),
}
#: Version of the paper -> variant here -> method and source of its hints in the tables.
_VARIANTS = {
    "v1": {
        **{name: (name, "") for name in ("base", "grpo", "opsd", "sdpo", "srpo", "rlsd")},
        "rlcsd": ("rlcsd", "self_rollout"),
        "rlcsd-gt_cot": ("rlcsd", "gt_cot"),
        "rlcsd-lr5e6": ("rlcsd", "self_rollout"),
    },
    "v2": {
        "base": ("base", ""),
        "grpo-v2": ("grpo", ""),
        **{name: (name.removesuffix("-v2"), "gt_cot") for name in ("opsd", "sdpo", "srpo-v2", "rlsd-v2", "rlcsd-v2")},
    },
}
#: Versions of the paper.
VERSIONS = tuple(_VARIANTS)
#: Version that a configuration stands beside unless it says otherwise.
FIRST = VERSIONS[0]
#: Variant here -> the one task on which it stands for the paper's: there the paper trained rlcsd with this rate.
_ONLY = {"rlcsd-lr5e6": "logic"}


#: Column of any file, what its texts look like, and that in words.
_NUMBERS = (
    ("percent", re.compile(r"-?\d+(\.\d+)?"), "a number"),
    ("peak_percent", re.compile(r"\d+(\.\d+)?"), "a number"),
    ("final_percent", re.compile(r"\d+(\.\d+)?"), "a number"),
    ("delta_percent_points", re.compile(r"-?\d+(\.\d+)?"), "a number"),
    ("problems", re.compile(r"[1-9]\d*"), "a whole number from 1 on"),
    ("step", re.compile(r"\d*"), "a whole number or nothing"),
    ("kl_nats", re.compile(r"\d+(\.\d+)?"), "a number"),
    ("value", re.compile(r"-?\d+(\.\d+)?"), "a number"),
)


@dataclass(frozen=True)
class Published:
    """One published number, in percent (points in the plug-in study), and what it is from: a version of the tables."""

    task: str
    model: str
    variant: str
    benchmark: str
    value: float
    version: str


def published_rows(model: str, variant: str, version: str = FIRST, source: str | None = None) -> list[Published]:
    """Return the main results of a model and variant in one version of the paper, the latest publication of each cell.

    None but for the paper's models and variants. Averages have the benchmark "average". On logic, where the first
    version trained rlcsd with five times the rate of the others, its cells are those of rlcsd and of rlcsd-lr5e6.

    Args:
        model, variant: by our names.
        version: one of VERSIONS.
        source: the publication that is asked for; None is the latest of the version.
    """
    cells: dict[str, Published] = {}
    for models, path in ((OPD_MODELS, OPD), (RLSD_MODELS, RLSD)):
        if model in models:
            return [] if source else _of_own_study(path, models[model], model, variant)
    if variant not in _VARIANTS[version]:
        return []
    for row in sorted(main_results(), key=lambda row: dated(row["source"])):
        asked = (version, MODELS.get(model), *_VARIANTS[version][variant], source or row["source"])
        found = (version_of(row["source"]), row["model"], row["method"], row["hint_source"], row["source"])
        if found == asked:
            task, benchmark = BENCHMARKS[row["benchmark"]]
            if _ONLY.get(variant, task) != task:
                continue
            cells[row["benchmark"]] = Published(task, model, variant, benchmark, float(row["percent"]), row["source"])
    return list(cells.values())


def _of_own_study(path: Path, name: str, model: str, variant: str) -> list[Published]:
    """The cells of a model (the paper's `name`) in a study, whatever version a configuration stands beside."""
    cells = []
    for row in study_rows(path):
        if (row["model"], row["variant"]) == (name, variant):
            task, benchmark = {**BENCHMARKS, **_OF_RLSD}[row["benchmark"]]
            cells.append(Published(task, model, variant, benchmark, float(row["percent"]), row["source"]))
    return cells


def published_gain(task: str, model: str, method: str, version: str = FIRST) -> Published | None:
    """The plug-in study: what contrast adds to a method over the better of its one-sided settings, in points.

    The first version prints the gain, the second both sides (one one-sided setting). From the latest publication.
    """
    if version != FIRST:
        one_sided, contrastive = (
            published_study(CONTRAST, task, model, variant, version) for variant in SECOND_VERSION[method]
        )
        if one_sided is None or contrastive is None:
            return None
        gain = round(contrastive.value - one_sided.value, 1)
        return Published(task, model, method, "average", gain, contrastive.version)
    asked = (task, MODELS.get(model), method)
    rows = [row for row in plugin_study() if (row["family"], row["model"], row["method"]) == asked]
    latest = max(rows, key=lambda row: dated(row["source"]), default=None)
    if latest is None:
        return None
    return Published(task, model, method, "average", float(latest["delta_percent_points"]), latest["source"])


def published_ablation(
    task: str, model: str, variant: str, benchmark: str = "average", version: str = FIRST
) -> Published | None:
    """A cell of an ablation of rlcsd, or of rlcsd itself as it stands beside them; the first version has averages."""
    return published_study(ABLATIONS, task, model, variant, version, benchmark)


def published_study(
    path: Path, task: str, model: str, variant: str, version: str, benchmark: str = "average"
) -> Published | None:
    """Return a cell of the table of a study, ABLATIONS or CONTRAST, by our names."""
    for row in study_rows(path):
        place = (*BENCHMARKS[row["benchmark"]], row["model"], row["variant"], version_of(row["source"]))
        if place == (task, benchmark, MODELS.get(model), variant, version):
            return Published(task, model, variant, benchmark, float(row["percent"]), row["source"])
    return None


def main_results() -> tuple[dict[str, str], ...]:
    """All rows of the main results, in the paper's names, as texts: source, model, method, hint_source, benchmark,
    percent.
    """
    return read_published(MAIN, "source", "model", "method", "hint_source", "benchmark", "percent")


def plugin_study() -> tuple[dict[str, str], ...]:
    """All rows of the plug-in study, as `main_results`: source, model, method, family (task), delta_percent_points."""
    return read_published(PLUGIN, "source", "model", "method", "family", "delta_percent_points")


def study_rows(path: Path) -> tuple[dict[str, str], ...]:
    """All rows of ABLATIONS, CONTRAST, OPD or RLSD, as texts: source, model, variant (ours), benchmark, percent."""
    return read_published(path, "source", "model", "variant", "benchmark", "percent")


def windows() -> tuple[dict[str, str], ...]:
    """All rows of the tables of dynamics and sensitivity, as texts; models by the paper's names, all else by ours."""
    measures = ("selected_percent", "response_length", "reward", "entropy", "aime25_percent")
    return read_published(WINDOWS, "source", "table", "model", "task", "variant", "window", *measures)


def problems() -> dict[str, int]:
    """Benchmark (here) -> how many problems the paper's has. Raises UserError where one is missing."""
    counts = {row["benchmark"]: int(row["problems"]) for row in read_published(PROBLEMS, "benchmark", "problems")}
    for _, name in BENCHMARKS.values():
        if name not in ("average", *counts):
            raise UserError(f"{PROBLEMS}: has no row of benchmark {name!r}; take the file from the repository")
    return counts


def dated(source: str) -> str:
    """The date at the end of a publication's name, which puts publications in order; the second version is the last."""
    return source[-len("2026-06-10") :]


def version_of(source: str) -> str:
    """Return the version of the paper that a publication belongs to."""
    return "v2" if source == "paper-v2" else "v1"


@functools.cache
def read_published(path: Path, *columns: str) -> tuple[dict[str, str], ...]:
    """Return the rows of a published file with these columns, as texts.

    Raises UserError for one that was edited wrongly.
    """
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
    if path in (MAIN, ABLATIONS, CONTRAST, OPD) and row["benchmark"] not in BENCHMARKS:
        known = ", ".join(BENCHMARKS)
        raise UserError(f"{path}, line {line}: benchmark is {row['benchmark']!r}: expected one of {known}; correct it")
