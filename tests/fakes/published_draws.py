"""Draws that hit the percentages which the RLCSD paper published: a stand-in for its runs, from its tables alone.

Each cell of resources/published/main_results.csv, in the latest tables of the paper's first version, becomes a file of
draws with the count of right ones that is nearest to the percentage. 0.6 of the variance of a draw lies between
problems. Methods of one block find the same problems hard, but for a part of their own, so that a paired difference of
two methods on the mathematics average has the standard error that is known of such runs, 1.8 points.
"""

import csv
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from selfdistill.evaluation.draws import Draw, write_draws
from selfdistill.randomness import generator

TABLES = Path(__file__).parents[2] / "resources/published/main_results.csv"
MODELS = {
    "Qwen3-1.7B": "qwen3_1_7b",
    "Qwen3-4B": "qwen3_4b",
    "Qwen3-8B": "qwen3_8b",
    "Olmo-3-7B": "olmo3_7b_think",
}
#: Benchmark of the tables -> task, benchmark, problems, draws of each.
BENCHMARKS = {
    "amc23": ("math", "amc23", 83, 12),
    "aime24": ("math", "aime24", 30, 12),
    "aime25": ("math", "aime25", 30, 12),
    "kk_4to8": ("logic", "kk_4to8_test", 500, 1),
    "kk_9": ("logic", "kk_9", 100, 1),
    "kk_10": ("logic", "kk_10", 100, 1),
    "kk_11": ("logic", "kk_11", 100, 1),
}
BETWEEN = 0.6
#: Correlation of two methods' difficulties of a problem.
SHARED = 0.9


@dataclass(frozen=True)
class Cell:
    """A published percentage, by our names, and the number of right draws that comes nearest."""

    task: str
    model: str
    variant: str
    benchmark: str
    percent: float
    problems: int
    draws: int

    @property
    def right(self) -> int:
        return round(self.percent / 100 * self.problems * self.draws)

    @property
    def attainable(self) -> bool:
        """Whether a count of right draws gives the percentage as it was published, rounded."""
        return f"{100 * self.right / (self.problems * self.draws):.1f}" == f"{self.percent:.1f}"


def cells() -> list[Cell]:
    """All cells but the averages, each in the latest version of the tables that has it."""
    latest: dict[tuple[str, str, str], tuple[str, float]] = {}
    with open(TABLES, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["benchmark"] not in BENCHMARKS or row["source"] == "paper-v2":
                continue
            variant = row["method"] + ("-gt_cot" if row["hint_source"] == "gt_cot" else "")
            key, date = (row["model"], variant, row["benchmark"]), re.search(r"\d{4}-\d\d-\d\d", row["source"])[0]
            if key not in latest or latest[key][0] < date:
                latest[key] = (date, float(row["percent"]))
    found = []
    for (model, variant, name), (_, percent) in latest.items():
        task, benchmark, problems, draws = BENCHMARKS[name]
        found.append(Cell(task, MODELS[model], variant, benchmark, percent, problems, draws))
    return found


def write(folder: Path, models: Collection[str] = tuple(MODELS.values())) -> list[Cell]:
    """Write <folder>/<task>/<model>/<variant>/seed0/<benchmark>.parquet for the models; return their cells."""
    written = [cell for cell in cells() if cell.model in models]
    for cell in written:
        path = folder / cell.task / cell.model / cell.variant / "seed0" / f"{cell.benchmark}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_draws(path, _draws(cell, matrix(cell)))
    return written


def matrix(cell: Cell) -> np.ndarray:
    """Right or wrong, problems x draws, with exactly `cell.right` right ones."""
    shared = generator("difficulty", cell.task, cell.model, cell.benchmark).normal(size=cell.problems)
    rng = generator("draws", cell.task, cell.model, cell.variant, cell.benchmark)
    ease = np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * rng.normal(size=cell.problems)
    mean = min(max(cell.percent / 100, 0.001), 0.999)
    concentration = 1 / BETWEEN - 1  # of a beta distribution whose variance is BETWEEN * mean * (1 - mean)
    chance = stats.beta.ppf(stats.norm.cdf(ease), mean * concentration, (1 - mean) * concentration)
    correct = rng.random((cell.problems, cell.draws)) < chance[:, None]
    excess = int(correct.sum()) - cell.right
    # Those that must turn are likelier where they are unlikely draws: right ones of hard problems, wrong ones of easy.
    weights = np.where(correct, 1 - chance[:, None], 0) if excess > 0 else np.where(correct, 0, chance[:, None])
    weights = np.where(correct == (excess > 0), weights + 1e-6, 0).ravel()
    turned = rng.choice(correct.size, size=abs(excess), replace=False, p=weights / weights.sum())
    correct.ravel()[turned] ^= True
    return correct


def _draws(cell: Cell, correct: np.ndarray) -> Iterator[Draw]:
    for problem, row in enumerate(correct.tolist()):
        for draw, right in enumerate(row):
            yield Draw(f"{cell.benchmark}/{problem}", draw, "", 8000, "stop", None, right)
