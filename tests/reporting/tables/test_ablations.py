"""Studies on draws that are made for them: each variant solves a known share of the problems."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from selfdistill.evaluation.comparisons import holm
from selfdistill.evaluation.draws import Draw, write_draws
from selfdistill.randomness import generator
from selfdistill.reporting.read.accuracy import Result, gather_scores
from selfdistill.reporting.read.runs import MissingRun, RunFiles
from selfdistill.reporting.render.table import markdown
from selfdistill.reporting.tables.ablations import (
    ABLATIONS_COLUMNS,
    HINTS_COLUMNS,
    PLUGIN_COLUMNS,
    ablations_table,
    ablations_views,
    hints_table,
    hints_views,
    plugin_table,
    plugin_views,
)

TASKS = {
    "logic": {
        "metric": "pass@1",
        "benchmarks": {  # all of the last one is solved by the variants that are bad at the others
            "easy": {"distribution": "in"},
            "hard": {"distribution": "out"},
            "other": {"distribution": "in", "counted": False},
        },
    }
}
METHODS = {"opsd_ectr": "opsd_ectr", "rlsd_ectr": "rlsd_ectr"}
#: Variant -> share of easy problems that it solves; of the hard ones half as many.
CHANCES = {
    "base": 0.30,
    "grpo": 0.50,
    "opsd": 0.40,
    "opsd-own_rollout": 0.60,
    "opsd_ectr": 0.70,
    "rlsd": 0.55,
    "rlsd_ectr": 0.56,
    "rlcsd": 0.80,
    "rlcsd-one_sided_own_rollout": 0.50,
    "rlcsd-no_anchor": 0.60,
    "grpo-lr5e6": 0.52,
}


#: So alike that p-values are neither 0 nor 1.
CLOSE = {
    "opsd": 0.50,
    "opsd-own_rollout": 0.51,
    "opsd_ectr": 0.525,
    "rlsd": 0.55,
    "rlsd_ectr": 0.57,
    "rlcsd": 0.60,
    "rlcsd-one_sided_own_rollout": 0.585,
    "rlcsd-no_anchor": 0.58,
}


def study(root: Path, variants=None, model: str = "qwen3_4b", chances=CHANCES) -> tuple[list, dict[str, str]]:
    runs = []
    for variant in variants or chances:
        files = {}
        for benchmark in TASKS["logic"]["benchmarks"]:
            share = {"easy": 1.0, "hard": 0.5}.get(benchmark)
            chance = chances[variant] * share if share else float(chances[variant] < 0.5)
            ease = generator("ease", benchmark).random(300)
            files[benchmark] = root / model / variant / f"{benchmark}.parquet"
            files[benchmark].parent.mkdir(parents=True, exist_ok=True)
            right = (ease + 0.1 * generator(variant, benchmark).normal(size=300) < chance).tolist()
            write_draws(
                files[benchmark], [Draw(f"{benchmark}/{p}", 0, "", 9, "stop", None, r) for p, r in enumerate(right)]
            )
        method = METHODS.get(variant, variant.split("-")[0])
        runs.append(RunFiles("logic", model, variant, 0, method, files))
    return gather_scores(runs, TASKS), {run.variant: run.method for run in runs}


@pytest.fixture(scope="module")
def close(tmp_path_factory):
    return study(tmp_path_factory.mktemp("close"), chances=CLOSE)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return study(tmp_path_factory.mktemp("studies"))


def average(groups, variant: str) -> float:
    (group,) = (group for group in groups if group.variant == variant)
    return 100 * np.mean([group.results[name].draws.correct.mean() for name in ("easy", "hard")])


def test_the_plugin_is_compared_with_the_better_one_sided_setting(made):
    groups, _ = made
    table = plugin_table(groups, TASKS)
    assert list(table.columns) == PLUGIN_COLUMNS
    found = {row["method"]: row for row in table.to_dict("records")}
    assert {m: (r["contrastive"], r["one_sided"], r["one_sided_run"]) for m, r in found.items()} == {
        "opsd": ("opsd_ectr", "opsd-own_rollout", 2),
        "rlsd": ("rlsd_ectr", "rlsd", 1),
        "rlcsd": ("rlcsd", "rlcsd-one_sided_own_rollout", 1),
    }
    for row in found.values():
        gain = average(groups, row["contrastive"]) - average(groups, row["one_sided"])
        assert row["value"] == pytest.approx(gain, abs=1e-3)
        assert row["low"] < row["value"] < row["high"]
    assert [found[m]["published"] for m in ("opsd", "rlsd", "rlcsd")] == [2.3, 0.5, 5.4]
    assert found["rlcsd"]["published_within"] is False  # ours is some 22 points


def test_the_better_setting_is_better_on_what_counts(tmp_path):
    """On the benchmark that never counts the order is the other way round."""
    groups, _ = study(tmp_path, ["opsd", "opsd-own_rollout", "opsd_ectr"])
    (row,) = plugin_table(groups, TASKS).to_dict("records")
    assert row["one_sided"] == "opsd-own_rollout"


def test_hint_settings(made):
    groups, _ = made
    table = hints_table(groups, TASKS)
    assert list(table.columns) == HINTS_COLUMNS
    found = {row["variant"]: row for row in table.to_dict("records")}
    assert {v: (r["method"], r["setting"]) for v, r in found.items()} == {
        "opsd": ("opsd", 1),
        "opsd-own_rollout": ("opsd", 2),
        "opsd_ectr": ("opsd", 3),
        "rlsd": ("rlsd", 1),
        "rlsd_ectr": ("rlsd", 3),
        "rlcsd-one_sided_own_rollout": ("rlcsd", 2),
        "rlcsd": ("rlcsd", 3),
    }
    for variant, row in found.items():
        assert row["value"] == pytest.approx(average(groups, variant), abs=1e-3)
        if variant in ("opsd-own_rollout", "opsd_ectr", "rlsd_ectr"):
            assert row["gain"] == pytest.approx(row["value"] - found[row["method"]]["value"], abs=1e-3)
            assert row["gain_low"] < row["gain"] < row["gain_high"]
            assert row["gain_seeds"] == 1
        else:  # a first setting, or one without the first
            assert np.isnan(row["gain"])
            assert np.isnan(row["p_holm"])


def corrected(rows) -> None:
    """The rows are one of Holm's families, and what it does to them is to be seen."""
    assert rows["p_holm"].to_numpy() == pytest.approx(holm(rows["p_value"].to_numpy()), abs=5e-4)
    assert (rows["p_holm"] > rows["p_value"] + 0.01).any()


def test_p_values_are_corrected_within_their_family(close):
    """Methods of a task and model; all differences between hint settings; the variants of a method in a column."""
    groups, methods = close
    plugin = plugin_table(groups, TASKS)
    assert len(plugin) == 3
    corrected(plugin)
    hints = hints_table(groups, TASKS).dropna(subset="p_value")
    assert list(hints["variant"]) == ["opsd-own_rollout", "opsd_ectr", "rlsd_ectr"]
    corrected(hints)
    ablations = ablations_table(groups, TASKS, methods)
    for benchmark in ("easy", "average"):
        rows = ablations[(ablations["reference"] == "rlcsd") & (ablations["benchmark"] == benchmark)]
        assert len(rows) == 2
        corrected(rows)


def test_a_setting_with_fewer_seeds_is_not_taken_for_one_with_more(tmp_path):
    """Three seeds of the contrastive setting against one of the other: one is what the difference rests on."""
    groups, _ = study(tmp_path, ["opsd", "opsd_ectr", "rlcsd"])
    several = [
        dataclasses.replace(g, results={n: tripled(r) for n, r in g.results.items()}) if g.variant != "opsd" else g
        for g in groups
    ]
    (row,) = plugin_table(several, TASKS).to_dict("records")
    assert (row["contrastive"], row["n_seeds"]) == ("opsd_ectr", 1)
    rows = hints_table(several, TASKS).set_index("variant")
    assert (rows.loc["opsd_ectr", "n_seeds"], rows.loc["opsd_ectr", "gain_seeds"]) == (3, 1)


def tripled(result: Result) -> Result:
    draws = dataclasses.replace(result.draws, correct=result.draws.correct.repeat(3, axis=0))
    return dataclasses.replace(
        result, draws=draws, scores=result.scores.repeat(3, axis=0), variances=result.variances.repeat(3, axis=0)
    )


def test_methods_without_another_setting_are_left_out(tmp_path):
    groups, _ = study(tmp_path, ["base", "grpo", "opsd", "rlcsd"])
    assert hints_table(groups, TASKS).empty
    assert plugin_table(groups, TASKS).empty


def test_ablations_are_variants_minus_their_methods(made):
    groups, methods = made
    table = ablations_table(groups, TASKS, methods)
    assert list(table.columns) == ABLATIONS_COLUMNS
    assert set(zip(table["variant"], table["reference"], strict=True)) == {
        ("opsd-own_rollout", "opsd"),
        ("rlcsd-one_sided_own_rollout", "rlcsd"),
        ("rlcsd-no_anchor", "rlcsd"),
        ("grpo-lr5e6", "grpo"),
    }
    rows = {(row["variant"], row["benchmark"]): row for row in table.to_dict("records")}
    row = rows["rlcsd-no_anchor", "average"]
    assert row["value"] == pytest.approx(average(groups, "rlcsd-no_anchor") - average(groups, "rlcsd"), abs=1e-3)
    assert (row["published"], row["published_version"]) == (-4.5, "arXiv-2606.11709")  # 62.4 - 66.9
    assert np.isnan(rows["rlcsd-no_anchor", "easy"]["published"])
    assert np.isnan(rows["grpo-lr5e6", "average"]["published"])


def test_nothing_is_compared_with_a_method_that_was_not_run(tmp_path):
    groups, methods = study(tmp_path, ["grpo", "rlcsd-no_anchor", "rlcsd-one_sided_own_rollout"])
    table = ablations_table(groups, TASKS, methods)
    assert table.empty
    assert ablations_views(table, [], TASKS) == []


def lost(variant: str, method: str, status: str, why: str = "") -> MissingRun:
    return MissingRun("logic", "qwen3_4b", variant, 0, method, status, why)


def test_views_say_what_was_not_run(made):
    groups, methods = made
    kept = [group for group in groups if group.variant not in ("rlcsd", "rlsd_ectr")]
    missing = [lost("rlsd_ectr", "rlsd_ectr", "failed", "out of memory"), lost("rlcsd-self_hint", "rlcsd", "not run")]
    hints = markdown(hints_views(hints_table(kept, TASKS), missing, TASKS), "", "")
    assert "| rlcsd | – |" in hints  # noqa: RUF001
    plugin = markdown(plugin_views(plugin_table(kept, TASKS), missing, TASKS), "", "")
    assert "| rlsd | failed: rlsd_ectr |" in plugin
    assert "rlcsd" not in plugin
    ablations = markdown(ablations_views(ablations_table(groups, TASKS, methods), missing, TASKS), "", "")
    of_rlcsd = ablations.split("### logic, qwen3_4b: pass@1 minus that of rlcsd")[1].split("###")[0]
    assert "| rlcsd-self_hint | not run |" in of_rlcsd
    assert "rlsd_ectr" not in ablations


def test_views_show_the_paper(made):
    groups, methods = made
    assert "paper +5.4!" in markdown(plugin_views(plugin_table(groups, TASKS), [], TASKS), "", "")
    assert "paper -4.5!" in markdown(ablations_views(ablations_table(groups, TASKS, methods), [], TASKS), "", "")
    cells = markdown(hints_views(hints_table(groups, TASKS), [], TASKS), "", "").splitlines()[-3]
    assert cells.startswith("| opsd | ")
    assert cells.count("p < 0.001") == 2


def test_other_models_have_no_paper_beside_them(tmp_path):
    groups, methods = study(tmp_path, model="tiny")
    assert plugin_table(groups, TASKS)["published"].isna().all()
    assert ablations_table(groups, TASKS, methods)["published"].isna().all()
