"""What the intervals of selfdistill.evaluation cover: simulated comparisons with a known truth, 2,000 for each regime.

python benchmarks/coverage.py [--experiments N] [--processes N]; run from the repository's root. Writes
docs/coverage.csv and its tables in docs/statistics.md. Equal numbers give equal files, on however many processes.
"""

import argparse
import io
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from bootstrap import Resampling, bootstrap_difference, bootstrap_interval
from simulated_comparisons import Regime, simulate

from selfdistill.evaluation.comparisons import wilson
from selfdistill.evaluation.estimators import (
    PROBLEMS,
    Estimate,
    interval,
    paired_difference,
    score_variances,
    scores_by_seed,
)
from selfdistill.files import write_text
from selfdistill.randomness import generator

CSV = Path("docs/coverage.csv")
PAGE = Path("docs/statistics.md")
BEGIN, END = "<!-- coverage: made by benchmarks/coverage.py -->", "<!-- end of coverage -->"
EXPERIMENTS = 2000
RESAMPLES = 300
SMALL, MATHS, LOGIC, LARGE = (30,), (83, 30, 30), (100,), (500,)
#: The paper's average of Knights and Knaves.
KNIGHTS = (500, 100, 100, 100)
#: Seeds and their standard deviation.
SEEDS = ((1, 0.0), (2, 0.02), (3, 0.0), (3, 0.02), (5, 0.0), (5, 0.02))
#: The truth of a difference: both methods have the same accuracy.
NO_DIFFERENCE = 0.0


def regimes() -> list[Regime]:
    """The paper's kinds of benchmark and its two averages, some of them at other accuracies too."""
    found = [
        Regime(benchmarks, draws, seeds, seed_sd=sd)
        for benchmarks in (SMALL, MATHS, LOGIC, LARGE)
        for draws in (1, 12)
        for seeds, sd in SEEDS
    ]
    found += [
        Regime(benchmarks, draws, seeds, mean=mean, seed_sd=sd)
        for mean in (0.9, 0.95)
        for benchmarks, draws in ((SMALL, 12), (MATHS, 12), (LOGIC, 1), (LARGE, 1))
        for seeds, sd in ((1, 0.0), (3, 0.01))
    ]
    return found + [
        Regime(KNIGHTS, 1, seeds, mean=mean, seed_sd=sd) for mean in (0.5, 0.7) for seeds, sd in ((1, 0.0), (3, 0.02))
    ]


def bootstrapped(regime: Regime) -> bool:
    """Whether the bootstrap, a hundred times slower, is measured too."""
    if regime.mean != 0.7 or regime.draws == 1 or (regime.seeds > 1 and regime.seed_sd == 0):
        return False
    return regime.benchmarks == SMALL or (regime.benchmarks, regime.seeds) == (MATHS, 3)


def measure(regime: Regime, experiments: int) -> pd.DataFrame:
    """Coverage and mean width of each estimator in one regime: a row for each quantity, problems and estimator."""
    covered: dict[tuple[str, str, str], list[bool]] = {}
    widths: dict[tuple[str, str, str], list[float]] = {}
    for number in range(experiments):
        for key, (estimate, truth) in _intervals(regime, number).items():
            covered.setdefault(key, []).append(estimate.low <= truth <= estimate.high)
            widths.setdefault(key, []).append(estimate.high - estimate.low)
    return pd.DataFrame(
        {
            "quantity": quantity,
            "problems": problems,
            "estimator": estimator,
            "benchmarks": "+".join(map(str, regime.benchmarks)),
            "draws": regime.draws,
            "seeds": regime.seeds,
            "mean": regime.mean,
            "seed_sd_points": 100 * regime.seed_sd,
            "experiments": experiments,
            "coverage": round(100 * np.mean(covered[key]), 2),
            "width_points": round(100 * np.mean(widths[key]), 2),
        }
        for key in covered
        for quantity, problems, estimator in [key]
    )


def _intervals(regime: Regime, number: int) -> dict[tuple[str, str, str], tuple[Estimate, float]]:
    """The intervals of one experiment, each with the truth that it should hold."""
    simulated = simulate(generator("coverage", repr(regime), number), regime)
    metric = f"mean@{regime.draws}"
    first, second = ([scores_by_seed(c, metric) for c in side] for side in (simulated.first, simulated.second))
    spreads = None
    if regime.seeds == 1:  # else they are not used
        spreads = tuple([score_variances(c, metric) for c in side] for side in (simulated.first, simulated.second))
    difference_here = simulated.first_here - simulated.second_here
    truths = {"sampled": (regime.mean, NO_DIFFERENCE), "fixed": (simulated.first_here, difference_here)}
    found = {}
    for problems in PROBLEMS:
        mean, difference = truths[problems]
        if problems == "sampled" or regime.seeds > 1 or regime.draws > 1:
            one = interval(first, problems=problems, variances=spreads and spreads[0])
            two = paired_difference(first, second, problems=problems, variances=spreads)
            found["mean", problems, "t"] = (one, mean)
            found["difference", problems, "t"] = (two, difference)
            found["mean", problems, "naive"] = (_naive(simulated.first), mean)
            found["difference", problems, "naive"] = (_naive(simulated.first, simulated.second), difference)
            if bootstrapped(regime):
                how = Resampling(problems, RESAMPLES, number)
                one = bootstrap_interval(simulated.first, metric, how)
                two = bootstrap_difference(simulated.first, simulated.second, metric, how)
                found["mean", problems, "bootstrap"] = (one, mean)
                found["difference", problems, "bootstrap"] = (two, difference)
    if (len(regime.benchmarks), regime.draws, regime.seeds) == (1, 1, 1):
        right = simulated.first[0]
        found["mean", "sampled", "Wilson"] = (wilson(int(right.sum()), right.size), regime.mean)
    return found


def _naive(*sides: Sequence[np.ndarray]) -> Estimate:
    """Value +- 1.96 standard errors as if all draws were independent; of a difference, with two sides."""
    means = [float(np.mean([array.mean() for array in side])) for side in sides]
    parts = [array.mean() * (1 - array.mean()) / array.size / len(side) ** 2 for side in sides for array in side]
    value, half = means[0] - sum(means[1:]), 1.96 * math.sqrt(sum(parts))
    return Estimate(value, value - half, value + half)


def tables(measured: pd.DataFrame) -> str:
    """The Markdown of docs/statistics.md: the t-intervals by regime, and the other estimators beside them."""
    parts = []
    titles = {"mean": "Macro average", "difference": "Paired difference"}
    t = measured[measured["estimator"] == "t"]
    for quantity, problems in (pair for q in titles for pair in ((q, "sampled"), (q, "fixed"))):
        part = t[(t["quantity"] == quantity) & (t["problems"] == problems) & (t["mean"] == 0.7)]
        parts.append(f"**{titles[quantity]}, problems {problems}**, true accuracy 70 %\n\n{_by_regime(part)}")
    other = t[(t["mean"] != 0.7) & (t["problems"] == "sampled")].copy()
    other["quantity"] = other["quantity"].map(titles) + ", " + (100 * other["mean"]).map("{:.0f} %".format)
    other = other.sort_values("quantity", kind="stable")
    parts.append(f"**At other accuracies**, problems sampled\n\n{_by_regime(other, 'quantity')}")
    beside = measured[measured["mean"] == 0.7].pivot(
        index=["quantity", "problems", "benchmarks", "draws", "seeds", "seed_sd_points"],
        columns="estimator",
        values="coverage",
    )
    order = list(dict.fromkeys(measured["benchmarks"]))
    beside = (
        beside[beside["bootstrap"].notna() | beside["Wilson"].notna()]
        .reset_index()
        .sort_values("benchmarks", key=lambda column: column.map(order.index), kind="stable")
        .sort_values(["quantity", "problems"], ascending=False, kind="stable")
    )
    beside["problems"] = beside["quantity"].map(titles) + ", " + beside["problems"]
    names = ["t", "bootstrap", "Wilson", "naive"]
    lines = [f"| | problems | draws | seeds | {' | '.join(names)} |", "|---|---|---:|---|" + "---:|" * len(names)]
    for row in beside.to_dict("records"):
        seeds = _seeds(row["seeds"], row["seed_sd_points"])
        cells = [row["problems"], row["benchmarks"], str(row["draws"]), seeds, *(_percent(row[name]) for name in names)]
        lines.append(_line(cells))
    parts.append("**Estimators beside each other**, true accuracy 70 %\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def _by_regime(part: pd.DataFrame, *more: str) -> str:
    columns = sorted(set(zip(part["seeds"], part["seed_sd_points"], strict=True)))
    titles = [_seeds(*column) for column in columns]
    lines = [f"|{' |' * len(more)} problems | draws | {' | '.join(titles)} |"]
    lines.append("|---" * (len(more) + 1) + "|---:" * (len(titles) + 1) + "|")
    for names, rows in part.groupby([*more, "benchmarks", "draws"], sort=False):
        cells = dict(zip(zip(rows["seeds"], rows["seed_sd_points"], strict=True), rows["coverage"], strict=True))
        values = [_percent(cells.get(column, math.nan)) for column in columns]
        lines.append(_line([*map(str, names), *values]))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "".join(f"| {cell} " if cell else "| " for cell in cells) + "|"


def _seeds(seeds: int, sd: float) -> str:
    return f"{seeds} seed{'s' * (seeds > 1)}" + (f", SD {sd:g}" if sd else "")


def _percent(coverage: float) -> str:
    return "" if math.isnan(coverage) else f"{coverage:.1f}"


def with_tables(page: str, made: str) -> str:
    """The page with its tables between the two marks replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{made}\n\n{END}{after}"


def main() -> None:
    """Measure all regimes, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=EXPERIMENTS, help="comparisons for each regime")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    parts = []
    with ProcessPoolExecutor(args.processes) as pool:
        todo = regimes()
        for regime, part in zip(todo, pool.map(partial(measure, experiments=args.experiments), todo), strict=True):
            shown = part[part["estimator"] == "t"]
            words = [f"{row.quantity} {row.problems} {row.coverage:.1f}" for row in shown.itertuples()]
            print(f"{regime}: {', '.join(words)}", flush=True)
            parts.append(part)
    measured = pd.concat(parts)
    file = io.StringIO()
    measured.to_csv(file, index=False, lineterminator="\n", float_format="%g")
    write_text(CSV, file.getvalue())
    write_text(PAGE, with_tables(PAGE.read_text(encoding="utf-8"), tables(pd.read_csv(CSV))))
    print(f"written: {CSV}, the tables in {PAGE}")


if __name__ == "__main__":
    main()
