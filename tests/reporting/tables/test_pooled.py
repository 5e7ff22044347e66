import pandas as pd
import pytest
from plain_draws import drawn_study

from selfdistill.evaluation.pooled import Block, pooled_difference
from selfdistill.randomness import generator
from selfdistill.reporting.read.accuracy import gather_scores
from selfdistill.reporting.tables.pooled import ALL, pooled_table, pooled_views


@pytest.fixture(scope="module")
def table(seeded_study):
    return pooled_table(gather_scores(seeded_study.runs, seeded_study.tasks), seeded_study.tasks)


def test_every_scope_of_several_blocks_has_rows(table, seeded_study, study):
    assert list(dict.fromkeys(table["scope"])) == ["arithmetic", "knights", ALL]
    assert dict(table.groupby("scope", sort=False)["n_blocks"].max()) == {"arithmetic": 2, "knights": 2, ALL: 4}
    of_all = table[table["scope"] == ALL]
    pairs = list(zip(of_all["variant"], of_all["reference"], strict=True))
    assert pairs == [
        ("grpo", "base"),
        ("rlcsd", "base"),
        ("rlcsd", "grpo"),
        ("rlcsd-gt_cot", "base"),
        ("rlcsd-gt_cot", "grpo"),
    ]
    assert (table["ahead"] <= table["n_blocks"]).all()
    assert (table["told_ahead"] + table["told_behind"] <= table["n_blocks"]).all()
    assert (table["improvement_low"] <= table["improvement"]).all()
    one_model = [run for run in study.runs if run.task == "arithmetic"]
    assert pooled_table(gather_scores(one_model, study.tasks), study.tasks).empty


def test_a_row_is_what_its_blocks_say(tmp_path, study):
    """Two models, one of which lacks a variant: it is compared where it was run, and not ranked."""
    chances, draws = {"base": 0.3, "grpo": 0.5, "rlcsd": 0.6, "sdpo": 0.55}, {}
    runs = []
    for model in ("m", "n"):
        shown = {v: c for v, c in chances.items() if (model, v) != ("n", "sdpo")}
        draws[model] = {
            v: {"b": (generator(model, v).random((2 if v != "base" else 1, 80, 2)) < c).astype(int)}
            for v, c in shown.items()
        }
        (tmp_path / model).mkdir()
        more, tasks = drawn_study(study, tmp_path / model, draws[model], "mean@2", model)
        runs += more
    table = pooled_table(gather_scores(runs, tasks), tasks).set_index(["variant", "reference"])
    row = table.loc["rlcsd", "grpo"]
    sides = [[draws[model][v]["b"].mean(axis=2) for model in ("m", "n")] for v in ("rlcsd", "grpo")]
    expected = pooled_difference([Block("b", [a], [b]) for a, b in zip(*sides, strict=True)])
    assert [row["value"], row["low"], row["high"]] == pytest.approx(
        [100 * expected.value, 100 * expected.low, 100 * expected.high], abs=1e-3
    )
    assert row["ahead"] == sum(a.mean() > b.mean() for a, b in zip(*sides, strict=True))
    assert (row["n_blocks"], row["n_seeds"], row["n_ranked"], row["rank"]) == (2, 2, 3, 1)
    assert row["rank_low"] <= row["rank"] <= row["rank_high"]
    lone = table.loc["sdpo", "base"]
    assert lone["n_blocks"] == 1
    assert pd.isna(lone["rank"])
    (view,) = pooled_views(table.reset_index(), [], tasks)
    cells = {row.label: [cell.text for cell in row.cells] for row in view.rows}
    assert cells["rlcsd"][0] == "1 of 3"
    assert cells["sdpo"][0] == "\u2013"
