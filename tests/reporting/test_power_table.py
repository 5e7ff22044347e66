import dataclasses
import math

import pandas as pd
import pytest

from selfdistill.evaluation.power import Design, detectable, estimate
from selfdistill.reporting.power import ASSUMED_SEED_SD, COLUMNS, power_table
from selfdistill.reporting.tables import read_groups, write_csv


@pytest.fixture(scope="module")
def groups(seeded_study):
    return read_groups(seeded_study.runs, seeded_study.tasks)


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


def test_a_row_is_what_its_draws_say(groups, table):
    ours, theirs = (
        next(g for g in groups if (g.task, g.model, g.variant) == ("arithmetic", "tiny-b", v))
        for v in ("rlcsd", "grpo")
    )
    members = ["chain-3", "chain-5", "chain-8"]
    draws = [[g.results[m].draws.correct for m in members] for g in (ours, theirs)]
    variances = estimate(*draws, "mean@12")
    row = table[
        (table["task"] == "arithmetic")
        & (table["model"] == "tiny-b")
        & (table["variant"] == "rlcsd")
        & (table["reference"] == "grpo")
        & (table["benchmark"] == "average_in")
    ].set_index("problems")
    for problems in ("sampled", "fixed"):
        expected = detectable(variances, Design((60, 60, 60), 12, 2), problems=problems)
        assert row.loc[problems, "detectable"] == pytest.approx(100 * expected)
    assert row.loc["sampled", "n_problems"] == 180
    assert (row["n_seeds"] == 2).all()
    assert (row["seed_sd_from"] == "measured").all()


def test_more_is_needed_for_less(table):
    for what in ("seeds", "draws"):
        small, large = (table[f"{what}_for_{points}"].fillna(10**6) for points in (1, 5))
        assert (small >= large).all()
    seen = table[(table["detectable"] <= 5) & (table["n_seeds"] > 1)]
    assert len(seen)
    assert (seen["seeds_for_5"] <= seen["n_seeds"].clip(lower=2)).all()


def test_one_seed_has_an_assumed_spread_that_the_base_model_does_not_have(study):
    groups = read_groups(study.runs, study.tasks)
    table = power_table(groups, study.tasks)
    assert (table["seed_sd_from"] == "assumed").all()
    assert (table["seed_sd"] == 100 * ASSUMED_SEED_SD).all()
    assert not table["detectable"].isna().any()
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
    groups = [g for g in read_groups(study.runs, study.tasks) if g.variant == "rlcsd"]
    write_csv(tmp_path / "power.csv", power_table(groups, study.tasks))
    assert (tmp_path / "power.csv").read_text() == ",".join(COLUMNS) + "\n"


def test_numbers_of_seeds_are_whole_in_the_file_and_empty_where_none_is_enough(table, tmp_path):
    write_csv(tmp_path / "power.csv", table)
    back = pd.read_csv(tmp_path / "power.csv", dtype=str)
    cells = back["seeds_for_1"].dropna()
    assert cells.str.fullmatch(r"\d+").all()
    assert back["seeds_for_1"].isna().any()
    assert not any(math.isinf(x) for x in table["detectable"])
