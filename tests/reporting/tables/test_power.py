import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from selfdistill.evaluation.power import ASSUMED_SEED_SD, Design, detectable, estimate
from selfdistill.reporting.read.accuracy import gather_scores
from selfdistill.reporting.render.csv_tables import write_csv
from selfdistill.reporting.tables.power import COLUMNS, power_table


@pytest.fixture(scope="module")
def groups(seeded_study):
    return gather_scores(seeded_study.runs, seeded_study.tasks)


@pytest.fixture(scope="module")
def table(seeded_study, groups):
    return power_table(groups, seeded_study.tasks)


def test_every_variant_stands_against_base_and_grpo(table):
    assert list(table.columns) == list(COLUMNS)
    block = table[(table["task"] == "knights") & (table["model"] == "tiny-a")]
    pairs = list(dict.fromkeys(zip(block["variant"], block["reference"], strict=True)))
    assert pairs == [
        ("grpo", "base"),
        ("rlcsd", "base"),
        ("rlcsd-gt_cot", "base"),
        ("rlcsd", "grpo"),
        ("rlcsd-gt_cot", "grpo"),
    ]
    names = ["knights-2", "knights-3", "knights-4", "knights-5", "average", "average_in", "average_out"]
    one = block[(block["variant"] == "rlcsd") & (block["reference"] == "grpo")]
    assert list(dict.fromkeys(one["benchmark"])) == names
    assert list(one["problems"]) == ["sampled", "fixed"] * len(names)


MEMBERS = ["chain-3", "chain-5", "chain-8"]


def test_a_row_is_what_its_draws_say(groups, table):
    ours, theirs = (
        next(g for g in groups if (g.task, g.model, g.variant) == ("arithmetic", "tiny-b", v))
        for v in ("rlcsd", "grpo")
    )
    draws = [[g.results[m].draws.correct for m in MEMBERS] for g in (ours, theirs)]
    row = table[
        (table["task"] == "arithmetic")
        & (table["model"] == "tiny-b")
        & (table["variant"] == "rlcsd")
        & (table["reference"] == "grpo")
        & (table["benchmark"] == "average_in")
    ].set_index("problems")
    seed = 2 * (row.loc["sampled", "seed_sd"] / 100) ** 2
    variances = dataclasses.replace(estimate(*draws, "mean@12"), seed=seed)
    for problems in ("sampled", "fixed"):
        expected = detectable(variances, Design((60, 60, 60), 12, 2), problems=problems)
        assert row.loc[problems, "detectable"] == pytest.approx(100 * expected)
    assert row.loc["sampled", "n_problems"] == 180
    assert (row["n_seeds"] == 2).all()


def spread(groups, sds: dict[str, float], seeds: int) -> list:
    """The groups of a block, with scores of so many seeds that differ by a standard deviation, and by nothing else."""
    shifts = np.linspace(-1, 1, seeds)
    shifts /= shifts.std(ddof=1)
    found = []
    for group in groups:
        results = {}
        for name, result in group.results.items():
            scores = 0.5 + 0.1 * (np.arange(60) % 2) + sds[group.variant] * shifts[:, None]
            draws = dataclasses.replace(result.draws, correct=result.draws.correct[:1].repeat(seeds, axis=0))
            results[name] = dataclasses.replace(result, scores=scores, draws=draws)
        found.append(dataclasses.replace(group, results=results))
    return found


@pytest.mark.parametrize(
    ("sds", "seeds", "sd", "said"),
    [
        ({"grpo": 0.02, "rlcsd": 0.04}, 3, 100 * math.sqrt(0.001), "measured"),  # the mean of 0.0004 and 0.0016
        ({"grpo": 0.0, "rlcsd": 0.004}, 3, 100 * ASSUMED_SEED_SD, "assumed"),
        ({"grpo": 0.0, "rlcsd": 0.004}, 6, 100 * math.sqrt(0.000008), "measured"),  # ten seeds beyond the first
        ({"grpo": 0.0, "rlcsd": 0.0}, 6, 0.0, "measured"),
    ],
)
def test_the_spread_of_seeds_is_that_of_the_whole_block(study, sds, seeds, sd, said):
    """A small one of few seeds is not believed; base, with one seed or many, is no part of it."""
    groups = [g for g in gather_scores(study.runs, study.tasks) if g.task == "arithmetic"]
    table = power_table(spread(groups, {"base": 0.5, **sds}, seeds), study.tasks)
    assert table["seed_sd"].to_numpy() == pytest.approx(sd, abs=1e-6)
    assert set(table["seed_sd_from"]) == {said}


def test_spreads_are_pooled_before_they_are_cut_off(study):
    """Seeds that agree better than chance say a negative variance, which takes from what other methods' say."""
    groups = [g for g in gather_scores(study.runs, study.tasks) if g.task == "arithmetic"]
    agreeing = np.array([np.arange(60) % 2, 1 - np.arange(60) % 2, np.arange(60) % 2, 1 - np.arange(60) % 2], float)
    groups = spread(groups, {"base": 0.0, "grpo": 0.03, "rlcsd": 0.03}, 4)
    cut = [
        dataclasses.replace(g, results={n: dataclasses.replace(r, scores=agreeing) for n, r in g.results.items()})
        if g.variant == "grpo"
        else g
        for g in groups
    ]
    rest = 1 / 3  # of the variance of each score: it says nothing of the seeds
    expected = (0.03**2 - rest / 60) / 2
    assert expected < ASSUMED_SEED_SD**2 < 0.03**2 / 2
    table = power_table(cut, study.tasks)
    assert set(table.loc[table["benchmark"] == "chain-3", "seed_sd_from"]) == {"assumed"}


def test_more_is_needed_for_less(table):
    for what in ("seeds", "problems"):
        small, large = (table[f"{what}_for_{points}"].fillna(10**9) for points in (1, 5))
        assert (small >= large).all()
    seen = table[(table["detectable"] <= 5) & (table["n_seeds"] > 1)]
    assert len(seen)
    assert (seen["seeds_for_5"] <= seen["n_seeds"].clip(lower=2)).all()


def test_one_seed_has_an_assumed_spread_that_the_base_model_does_not_have(study):
    groups = gather_scores(study.runs, study.tasks)
    table = power_table(groups, study.tasks)
    assert (table["seed_sd_from"] == "assumed").all()
    assert (table["seed_sd"] == 100 * ASSUMED_SEED_SD).all()
    # One draw of one seed has no interval on fixed problems, and so sees nothing, however large.
    without = (table["problems"] == "fixed") & (table["n_draws"] == 1)
    assert without.any()
    assert table.loc[without, "detectable"].isna().all()
    assert not table.loc[~without, "detectable"].isna().any()
    assert table.loc[without, "seeds_for_5"].notna().any()  # two seeds or more would see it
    # The base model has nothing to train again: fewer seeds than against a trained method of the same spread.
    alone = table[(table["benchmark"] == "average") & (table["problems"] == "fixed") & (table["variant"] == "rlcsd")]
    assert set(alone["reference"]) == {"base", "grpo"}
    renamed = [
        dataclasses.replace(g, variant="grpo") if g.variant == "base" else g for g in groups if g.variant != "grpo"
    ]
    trained = power_table(renamed, study.tasks)
    for task in study.tasks:
        rows = [
            t[
                (t["task"] == task)
                & (t["benchmark"] == "average")
                & (t["variant"] == "rlcsd")
                & (t["reference"] == reference)
                & (t["problems"] == "fixed")
            ].iloc[0]
            for t, reference in ((table, "base"), (trained, "grpo"))
        ]
        assert rows[0]["seeds_for_1"] < rows[1]["seeds_for_1"]


def test_nothing_to_compare_is_a_header(study, tmp_path):
    groups = [g for g in gather_scores(study.runs, study.tasks) if g.variant == "rlcsd"]
    write_csv(tmp_path / "power.csv", power_table(groups, study.tasks))
    assert (tmp_path / "power.csv").read_text() == ",".join(COLUMNS) + "\n"


def test_numbers_of_seeds_are_whole_in_the_file_and_empty_where_none_is_enough(table, tmp_path):
    write_csv(tmp_path / "power.csv", table)
    back = pd.read_csv(tmp_path / "power.csv", dtype=str)
    cells = back["seeds_for_1"].dropna()
    assert cells.str.fullmatch(r"\d+").all()
    assert back["seeds_for_1"].isna().any()
    assert not any(math.isinf(x) for x in table["detectable"])
