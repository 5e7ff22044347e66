"""What the intervals of selfdistill.evaluation cover: simulated comparisons with a known truth, 1,000 for each regime.

And how often marks are wrong: best and tied among equal methods, "!" beside a value that another such run gave.

python benchmarks/coverage.py [--experiments N] [--processes N]; run from the repository's root. Writes
docs/coverage.csv and its tables in docs/statistics.md. Equal numbers give equal files, on however many processes.
"""

import argparse
import functools
import io
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from bootstrap import Resampling, bootstrap_difference, bootstrap_interval
from simulated_comparisons import DIFFICULTY, OF_RUNS, Regime, logit_level, simulate

from selfdistill.evaluation.comparisons import holm, wilson
from selfdistill.evaluation.draws import DrawMatrix
from selfdistill.evaluation.estimators import (
    PROBLEMS,
    Estimate,
    difference_variances,
    interval,
    paired_difference,
    score_variances,
    scores_by_seed,
)
from selfdistill.files import write_text
from selfdistill.randomness import generator
from selfdistill.reporting.read.accuracy import Result, VariantScores
from selfdistill.reporting.read.published import Published
from selfdistill.reporting.tables.accuracy import (
    FAMILY_WISE,
    family_p,
    level,
    run_variance,
    set_against,
    told_apart,
)

CSV, MARKS = Path("docs/coverage.csv"), Path("docs/marks.csv")
PAGE = Path("docs/statistics.md")
BEGIN, END = "<!-- coverage: made by benchmarks/coverage.py -->", "<!-- end of coverage -->"
EXPERIMENTS = 1000
RESAMPLES = 300
SMALL, MATHS, LOGIC, LARGE = (30,), (83, 30, 30), (100,), (500,)
#: The paper's average of Knights and Knaves.
KNIGHTS = (500, 100, 100, 100)
#: Seeds and their standard deviation.
SEEDS = ((1, 0.0), (2, 0.02), (3, 0.0), (3, 0.02), (5, 0.02))
#: Methods that are equally good, in the studies of marks; of those there are fewer, each has 36 comparisons.
EQUAL, STUDIES_OF_MARKS = 9, 500


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
    found += [
        Regime(KNIGHTS, 1, seeds, mean=mean, seed_sd=sd) for mean in (0.5, 0.7) for seeds, sd in ((1, 0.0), (3, 0.02))
    ]
    return [*found, *unlike_regimes()]


def unlike_regimes() -> list[Regime]:
    """What the first world lacks: gaps of every method, ends of the scale, collapses, unlike numbers of seeds."""
    made = functools.partial(Regime, world="logit")
    usual = ((1, 0.0), (3, 0.01), (3, 0.02))
    return [
        *(made(MATHS, 12, seeds, seed_sd=sd) for seeds, sd in (*usual, (5, 0.02))),
        *(made(KNIGHTS, 1, seeds, mean=0.6, seed_sd=sd) for seeds, sd in usual),
        *(made(MATHS, 12, seeds, mean=0.94, seed_sd=sd) for seeds, sd in usual[:2]),
        *(made(SMALL, 12, seeds, mean=mean, seed_sd=sd) for mean in (0.1, 0.94) for seeds, sd in usual[:2]),
        *(made(LOGIC, 12, seeds, mean=mean, seed_sd=sd) for mean in (0.94, 0.98) for seeds, sd in ((1, 0), (3, 0.005))),
        *(made(MATHS, 12, seeds, seed_sd=sd, gap=gap) for gap in (0.04, 0.07) for seeds, sd in usual[:2]),
        *(made(KNIGHTS, 1, seeds, mean=0.6, seed_sd=sd, gap=0.07) for seeds, sd in usual[:2]),
        *(made(MATHS, 12, seeds, seed_sd=0.01, collapsing=0.2) for seeds in (1, 3, 5)),
        *(made(benchmarks, 12, 3, seed_sd=0.01, of_second=1) for benchmarks in (MATHS, LOGIC)),
        *(made(*kind, 1, seed_sd=sd) for kind in ((MATHS, 12), (KNIGHTS, 1)) for sd in (0.01, 0.02)),
        *(Regime(LOGIC, draws, 1, mean=mean, world="rare") for draws, mean in ((1, 0.7), (12, 0.7), (12, 0.95))),
    ]


def bootstrapped(regime: Regime) -> bool:
    """Whether the bootstrap, a hundred times slower, is measured too."""
    if regime.world != "beta" or regime.mean != 0.7 or regime.draws == 1 or (regime.seeds > 1 and regime.seed_sd == 0):
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
            "world": regime.world,
            "quantity": quantity,
            "problems": problems,
            "estimator": estimator,
            "benchmarks": "+".join(map(str, regime.benchmarks)),
            "draws": regime.draws,
            "seeds": regime.seeds,
            "of_second": regime.of_second or regime.seeds,
            "mean": regime.mean,
            "gap_points": round(100 * regime.gap, 9),
            "seed_sd_points": 100 * regime.seed_sd,
            "collapsing": regime.collapsing,
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
    spreads = of_difference = None
    if 1 in (regime.seeds, regime.of_second):  # else they are not used
        spreads = tuple([score_variances(c, metric) for c in side] for side in (simulated.first, simulated.second))
    if regime.seeds == (regime.of_second or regime.seeds) == 1:
        pairs = zip(simulated.first, simulated.second, strict=True)
        of_difference = [difference_variances(*pair, metric) for pair in pairs]
    true = regime.truth
    difference_here = simulated.first_here - simulated.second_here
    truths = {"sampled": (true[0], true[0] - true[1]), "fixed": (simulated.first_here, difference_here)}
    found = {}
    for problems in PROBLEMS:
        mean, difference = truths[problems]
        if problems == "sampled" or regime.seeds > 1 or regime.draws > 1:
            how = {"problems": problems, "draws": regime.draws}
            one = interval(first, variances=spreads and spreads[0], **how)
            two = paired_difference(first, second, variances=spreads, of_difference=of_difference, **how)
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
    if (len(regime.benchmarks), regime.draws, regime.seeds, regime.world) == (1, 1, 1, "beta"):
        right = simulated.first[0]
        found["mean", "sampled", "Wilson"] = (wilson(int(right.sum()), right.size), regime.mean)
    return found


def _naive(*sides: Sequence[np.ndarray]) -> Estimate:
    """Value +- 1.96 standard errors as if all draws were independent; of a difference, with two sides."""
    means = [float(np.mean([array.mean() for array in side])) for side in sides]
    parts = [array.mean() * (1 - array.mean()) / array.size / len(side) ** 2 for side in sides for array in side]
    value, half = means[0] - sum(means[1:]), 1.96 * math.sqrt(sum(parts))
    return Estimate(value, value - half, value + half)


def wrong_marks(of_runs: tuple[Regime, float]) -> dict[str, object]:
    """Of studies of equally good methods, in how many a mark says that they are not.

    "marks": one of EQUAL methods is told from the best. "holm": one of the others is told from the first, as in
    gains.csv, after Holm. "published": a value that another run of the same method gave, rounded as the paper's, is
    marked "!". of_runs: the regime, and what share of its studies is made.
    """
    regime, share = of_runs
    studies, wrong = round(STUDIES_OF_MARKS * share), {"marks": 0, "holm": 0, "published": 0}
    names = [str(place) for place in range(len(regime.benchmarks))]
    for number in range(studies):
        key = ("marks", repr(regime), number)
        chances = generator(*key).normal(0, DIFFICULTY, size=sum(regime.benchmarks))
        found = [_run_of_equals(chances, regime, (*key, method)) for method in range(EQUAL + 1)]
        apart = told_apart(found[:EQUAL], names)
        top = int(np.argmax([np.mean([r.scores.mean() for r in v.results.values()]) for v in found[:EQUAL]]))
        wrong["marks"] += bool(apart[top].any())
        wrong["holm"] += bool((holm(family_p(found[1:EQUAL], found[0], names)) <= FAMILY_WISE).any())
        ours, other = found[0], found[EQUAL]
        papers = 100 * np.mean([r.scores[0].mean() for r in other.results.values()])
        row = {"variant": "0", "n_seeds": regime.seeds}
        for kind, ends in (("sampled", ("low", "high")), ("fixed", ("low_fixed", "high_fixed"))):
            estimate = level([ours.results[name] for name in names], kind)
            row |= {"value": 100 * estimate.value, ends[0]: 100 * estimate.low, ends[1]: 100 * estimate.high}
        paper = Published("", "", "", "", round(papers, 1), "")
        within = set_against(row, paper, run_variance(found[:EQUAL], names)[0])["published_within"]
        wrong["published"] += within is False
    rates = {f"{what}_wrong": round(100 * count / studies, 2) for what, count in wrong.items()}
    return {
        "benchmarks": "+".join(map(str, regime.benchmarks)),
        "draws": regime.draws,
        "seeds": regime.seeds,
        "seed_sd_points": 100 * regime.seed_sd,
        "experiments": studies,
        **rates,
    }


def regimes_of_marks() -> list[Regime]:
    """The paper's two averages, with one seed and with three, whose runs differ by 0 to 2 points."""
    cases = ((1, 0.0), (1, 0.01), (1, 0.02), (3, 0.01), (3, 0.02))
    return [
        Regime(benchmarks, draws, seeds, seed_sd=sd, mean=mean, world="logit")
        for benchmarks, draws, mean in ((MATHS, 12, 0.7), (KNIGHTS, 1, 0.6))
        for seeds, sd in cases
    ]


def _run_of_equals(difficulties: np.ndarray, regime: Regime, key: tuple) -> VariantScores:
    """The runs of one of several equally good methods on the same problems; its own gaps are small, OF_RUNS."""
    rng, results, first = generator(*key), {}, 0
    level_of, move = logit_level(regime.mean, regime.seed_sd)
    moves = rng.normal(0, move, size=(regime.seeds, 1))
    for place, problems in enumerate(regime.benchmarks):
        logits = level_of + difficulties[first : first + problems] + moves
        chances = 1 / (1 + np.exp(-logits - rng.normal(0, OF_RUNS, size=(regime.seeds, problems))))
        correct = rng.random((*chances.shape, regime.draws)) < chances[:, :, None]
        first += problems
        metric = f"mean@{regime.draws}"
        matrix = DrawMatrix(tuple(map(str, range(problems))), correct, np.zeros_like(correct), np.zeros_like(correct))
        scored = (scores_by_seed(correct, metric), score_variances(correct, metric))
        results[str(place)] = Result(matrix, metric, *scored)
    return VariantScores("", "", str(key[-1]), results)


def tables(measured: pd.DataFrame, marks: pd.DataFrame) -> str:
    """The Markdown of docs/statistics.md: the t-intervals of the world beta at 70 %, by regime, and the marks."""
    measured, parts = measured[measured["world"] == "beta"], []
    titles = {"mean": "Macro average", "difference": "Paired difference"}
    t = measured[measured["estimator"] == "t"]
    for quantity, problems in (pair for q in titles for pair in ((q, "sampled"), (q, "fixed"))):
        part = t[(t["quantity"] == quantity) & (t["problems"] == problems) & (t["mean"] == 0.7)]
        parts.append(f"**{titles[quantity]}, problems {problems}**, true accuracy 70 %\n\n{_by_regime(part)}")
    parts.append(
        f"**Marks that are wrong**, of nine equally good methods and of another run of one\n\n{_of_marks(marks)}"
    )
    return "\n\n".join(parts)


def _of_marks(marks: pd.DataFrame) -> str:
    titles = ["told from the best", "told from a reference (p_holm)", "marked !"]
    lines = [f"| problems | draws | seeds | {' | '.join(titles)} |", "|---|---:|---|---:|---:|---:|"]
    for row in marks.to_dict("records"):
        seeds = _seeds(row["seeds"], row["seed_sd_points"])
        rates = [_percent(row[f"{what}_wrong"]) for what in ("marks", "holm", "published")]
        lines.append(_line([row["benchmarks"], str(row["draws"]), seeds, *rates]))
    return "\n".join(lines)


def _by_regime(part: pd.DataFrame) -> str:
    columns = sorted(set(zip(part["seeds"], part["seed_sd_points"], strict=True)))
    titles = [_seeds(*column) for column in columns]
    lines = [f"| problems | draws | {' | '.join(titles)} |", "|---" + "|---:" * (len(titles) + 1) + "|"]
    for names, rows in part.groupby(["benchmarks", "draws"], sort=False):
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
        for regime, part in zip(
            todo, pool.map(functools.partial(measure, experiments=args.experiments), todo), strict=True
        ):
            shown = part[part["estimator"] == "t"]
            words = [f"{row.quantity} {row.problems} {row.coverage:.1f}" for row in shown.itertuples()]
            print(f"{regime}: {', '.join(words)}", flush=True)
            parts.append(part)
        marks = pd.DataFrame(pool.map(wrong_marks, [(r, args.experiments / EXPERIMENTS) for r in regimes_of_marks()]))
        print(marks.to_string(), flush=True)
    for table, path in ((pd.concat(parts), CSV), (marks, MARKS)):
        file = io.StringIO()
        table.to_csv(file, index=False, lineterminator="\n", float_format="%g")
        write_text(path, file.getvalue())
    made = tables(pd.read_csv(CSV), pd.read_csv(MARKS))
    write_text(PAGE, with_tables(PAGE.read_text(encoding="utf-8"), made))
    print(f"written: {CSV}, {MARKS}, the tables in {PAGE}")


if __name__ == "__main__":
    main()
