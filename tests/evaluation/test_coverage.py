"""docs/coverage.csv and docs/statistics.md say what the intervals cover: a few regimes are measured again."""

import importlib.util
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmark_scripts import load

from selfdistill.evaluation import estimators
from selfdistill.evaluation.estimators import paired_difference, scores_by_seed
from selfdistill.randomness import generator

simulated_comparisons = load("simulated_comparisons")
Regime, simulate = simulated_comparisons.Regime, simulated_comparisons.simulate

ROOT = Path(__file__).parents[2]
WHERE = ["world", "benchmarks", "draws", "seeds", "of_second", "mean", "gap_points", "seed_sd_points", "collapsing"]
PAGE = (ROOT / "docs/statistics.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("coverage_benchmark", ROOT / "benchmarks/coverage.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def measured():
    return pd.read_csv(ROOT / "docs/coverage.csv")


@pytest.fixture(scope="module")
def marks():
    return pd.read_csv(ROOT / "docs/marks.csv")


def test_every_regime_was_measured_in_a_thousand_studies(benchmark, measured, marks):
    assert (measured["experiments"] == 1000).all()
    assert len(marks) == len(benchmark.regimes_of_marks())
    t = measured[
        (measured["estimator"] == "t") & (measured["problems"] == "sampled") & (measured["quantity"] == "mean")
    ]
    found = set(zip(*(t[name] for name in WHERE), strict=True))
    expected = [
        (
            r.world,
            "+".join(map(str, r.benchmarks)),
            r.draws,
            r.seeds,
            r.of_second or r.seeds,
            r.mean,
            round(100 * r.gap, 9),
            100 * r.seed_sd,
            r.collapsing,
        )
        for r in benchmark.regimes()
    ]
    assert found == set(expected)
    assert len(t) == len(expected)


def test_what_module_and_page_say_is_what_was_measured(measured, marks):
    """Each sentence with its rows, rounded outwards to whole percents."""
    t = measured[measured["estimator"] == "t"]
    of_methods, collapse = (t["seeds"] == 1) & (t["seed_sd_points"] > 0), t["collapsing"] > 0
    held = ~of_methods & ~collapse
    accuracy, sampled, large = t["quantity"] == "mean", t["problems"] == "sampled", t["benchmarks"] != "30"
    middle, twelve = t["mean"].between(0.5, 0.7), t["draws"] == 12
    ends, rare, unequal = ~middle, t["world"] == "rare", t["seeds"] != t["of_second"]
    said = {
        (93, 100): held,
        (93, 97): held & accuracy & sampled & large & middle,
        (93, 99): held & ~accuracy & sampled & large & middle,
        (94, 97): held & ~accuracy & sampled & large & middle & (t["seeds"] != 3),
        (94, 96.1): held & accuracy & ~sampled & large & middle & twelve & t["seeds"].isin([1, 5]) & ~rare,
        (94, 98.3): t["gap_points"] > 0,
        (94, 98.2): unequal,
        (95, 97): rare & sampled,
        (93, 99.2): held & accuracy & sampled & ends,
        (94, 100): held & ~accuracy & sampled & ends,
        (94, 99): held & ~sampled & ends & twelve & ~rare,
        (72, 74): collapse & accuracy & ~sampled & (t["seeds"] > 1),
        (83, 95): of_methods & accuracy & sampled & ~collapse,
        (80, 82.5): of_methods & ~accuracy & sampled & ~collapse & (t["seed_sd_points"] == 1),
        (57.5, 60): of_methods & ~accuracy & sampled & (t["seed_sd_points"] == 2),
        (94, 96): of_methods & ~sampled,
    }
    for (low, high), rows in said.items():
        found = t.loc[rows, "coverage"]
        assert len(found) >= 2
        assert low - 0.5 <= found.min() <= found.max() <= high + 0.5, (low, high)
    several, two_points = marks["seeds"] > 1, marks["seed_sd_points"] == 2
    none = marks["seed_sd_points"] == 0
    for name, (low, high), rows in (
        ("marks", (2, 5), several),
        ("holm", (0, 3), several),
        ("published", (3.8, 6), several),
        ("marks", (2.5, 4), none),
        ("marks", (16, 29), ~several & ~two_points & ~none),
        ("marks", (57, 85), two_points & ~several),
        ("published", (4.8, 6.2), ~several & ~two_points & ~none),
        ("published", (14.8, 25), two_points & ~several),
    ):
        found = marks.loc[rows, f"{name}_wrong"]
        assert low <= found.min() <= found.max() <= high, name
    words = " ".join(estimators.__doc__.split())
    for sentence in ("at least 93 %", "`interval` 93 to 97 % with one to five seeds", "`paired_difference` 93 to 99 %"):
        assert sentence in words


def test_the_page_has_the_tables_of_the_files(benchmark, measured, marks):
    assert benchmark.with_tables(PAGE, benchmark.tables(measured, marks)) == PAGE


@pytest.mark.parametrize(
    "regime",
    [
        Regime((83, 30, 30), 12, 1),
        Regime((83, 30, 30), 12, 3, seed_sd=0.02),
        Regime((83, 30, 30), 12, 3, mean=0.94, seed_sd=0.01, world="logit"),
        Regime((100,), 12, 1, mean=0.95, world="rare"),
    ],
    ids=str,
)
def test_a_regime_measured_again_agrees(benchmark, measured, regime, monkeypatch):
    monkeypatch.setattr(benchmark, "bootstrapped", lambda _: False)
    again, studies = benchmark.measure(regime, experiments=150), 150
    both = again.merge(measured, on=["quantity", "problems", "estimator", *WHERE], suffixes=("", "_file"))
    assert len(both) == len(again)
    for row in both.to_dict("records"):
        p = row["coverage_file"] / 100
        error = math.sqrt(max(p * (1 - p), 0.01) * (1 / studies + 1 / 1000))
        assert row["coverage"] / 100 == pytest.approx(p, abs=4 * error), row


def test_the_simulated_comparisons_are_as_described():
    """Mean, share between problems, and the paired differences of the protocol: 1.8 points, 1.1 on fixed problems."""
    rng = generator("simulated studies")
    simulated = simulate(rng, Regime((60_000,), 12, 2, seed_sd=0.02))
    draws = simulated.first[0][0]
    assert draws.mean() == pytest.approx(0.7, abs=0.07)  # the seed's own, of SD 0.02
    one = simulate(rng, Regime((60_000,), 12, 1)).first[0][0]
    within = (one.mean(axis=1) * (1 - one.mean(axis=1)) * 12 / 11).mean()
    assert one.mean() == pytest.approx(0.7, abs=0.01)
    assert 1 - within / (0.7 * 0.3) == pytest.approx(0.6, abs=0.01)
    values, here = [], []
    for _ in range(600):
        simulated = simulate(rng, Regime((83, 30, 30), 12, 1))
        first, second = ([scores_by_seed(c, "mean@12") for c in side] for side in (simulated.first, simulated.second))
        values.append(paired_difference(first, second).value)
        here.append(values[-1] - (simulated.first_here - simulated.second_here))
    assert 100 * np.std(values) == pytest.approx(1.8, abs=0.15)
    assert 100 * np.std(here) == pytest.approx(1.1, abs=0.1)
    seeds = [simulate(rng, Regime((4000,), 12, 2, seed_sd=0.02)).first[0].mean(axis=(1, 2)) for _ in range(200)]
    assert np.std([a - b for a, b in seeds]) == pytest.approx(0.02 * math.sqrt(2), rel=0.2)


@pytest.mark.parametrize("mean", [0.1, 0.7, 0.98])
def test_the_other_world_has_the_accuracy_and_the_spread_of_seeds_that_it_says(mean):
    rng, regime = generator("logit world"), Regime((300,), 1, 400, mean=mean, seed_sd=0.01, gap=0.04, world="logit")
    simulated = [simulate(rng, regime) for _ in range(8)]
    firsts, seconds = ([getattr(s, side)[0].mean(axis=(1, 2)) for s in simulated] for side in ("first", "second"))
    assert np.mean(firsts) == pytest.approx(mean, abs=0.02)
    assert np.mean(firsts) - np.mean(seconds) == pytest.approx(0.04, abs=0.012)
    here = [s.first_here for s in simulated]
    assert np.mean(firsts, axis=1) == pytest.approx(here, abs=0.004)
    both = np.concatenate([s.first[0] == s.second[0] for s in simulated]).mean()
    assert both > 0.7 - 0.1 * (mean == 0.7)  # draws of equal number agree
    noise = np.mean([v * (1 - v) for f in firsts for v in f]) / 300
    assert np.var(firsts, axis=1).mean() < 0.01**2 + noise
    assert np.var(firsts, axis=1).mean() > 0.5 * 0.01**2


def test_the_pages_snippet_prints_what_it_says(capsys):
    (snippet,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    exec(snippet, {})
    said = re.findall(r"\)  # (.*)", snippet)
    assert said
    assert capsys.readouterr().out.splitlines() == said
