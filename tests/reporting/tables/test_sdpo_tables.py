"""What SDPO's paper asks for: best within hours and last, two graders, oddities of its tables."""

import json

import numpy as np
import pytest

from selfdistill.errors import UserError
from selfdistill.evaluation.draws import Draw, write_draws
from selfdistill.reporting.read.published_sdpo import RESULTS, published_best, sdpo_code, sdpo_results
from selfdistill.reporting.read.runs import RunFiles, read_metrics
from selfdistill.reporting.render.table import markdown
from selfdistill.reporting.tables.graders import graders_table, graders_views
from selfdistill.reporting.tables.preflight import preflight_table, preflight_views
from selfdistill.reporting.tables.sdpo_audit import sdpo_audit_line, sdpo_audit_table, sdpo_audit_views
from selfdistill.reporting.tables.sdpo_code import MEASURES, sdpo_code_table, sdpo_code_views
from selfdistill.reporting.tables.within import COLUMNS, best_within, within_table, within_views

BENCHMARK = "sciknoweval_chemistry"


def metrics_file(path, accuracies, seconds, first=0, **more):
    """Validated every second step; each step takes so many seconds of step time, and validation an hour."""
    lines = []
    for step in range(first, 2 * len(accuracies) - 1 + first):
        record = {"step": step} | ({"timing_s/step": seconds} if step else {})
        record |= {name: values[min(step, len(values) - 1)] for name, values in more.items()}
        if step % 2 == 0:
            record |= {f"val/{BENCHMARK}/mean@16": accuracies[step // 2], "timing_s/validation": 3600.0}
        lines.append(json.dumps(record))
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (360.0, {"hours": 0.8, "best_1h": 70, "best_5h": 70}),
        (1800.0, {"hours": 4.0, "best_1h": 50, "best_5h": 70}),  # step 2 is reached at 1 h sharp
        (1801.0, {"hours": 4.0022, "best_1h": 40, "best_5h": 70}),
        (3600.0, {"hours": 8.0, "best_1h": 40, "best_5h": 50}),
    ],
)
def test_the_best_within_hours_is_of_step_time_alone(tmp_path, seconds, expected):
    metrics = read_metrics(metrics_file(tmp_path / "m", [0.4, 0.5, 0.45, 0.7, 0.1], seconds))
    found = best_within(metrics, BENCHMARK)
    rest = {"first": 40, "last": 10, "best": 70, "fall": 60}
    assert found == pytest.approx(expected | rest, abs=1e-4)
    assert best_within(metrics, "another") == {}


def test_means_are_over_seeds_with_both_publications_beside(tmp_path):
    entropy = {"actor/entropy": [1.0] * 8 + [0.2], "response/length_mean": [300.0], "response/truncated": [0.01]}
    runs = [
        RunFiles(
            BENCHMARK,
            "qwen3_8b",
            variant,
            seed,
            "m",
            {},
            metrics_file(tmp_path / f"{variant}{seed}", values, 400.0, **entropy),
        )
        for variant, of_seeds in {
            "sdpo_official-siblings": ([0.4, 0.8, 0.6, 0.6, 0.6], [0.4, 0.6, 0.6, 0.6, 0.2]),
            "grpo-sdpo": ([0.4, 0.4, 0.4, 0.4, 0.4],),
        }.items()
        for seed, values in enumerate(of_seeds)
    ]
    runs.append(RunFiles(BENCHMARK, "qwen3_8b", "base", 0, "base", {}))
    table = within_table(runs)
    assert list(table.columns) == COLUMNS
    sdpo, grpo = table.to_dict("records")
    assert (sdpo["n_seeds"], sdpo["best_5h"], sdpo["last"], sdpo["fall"]) == pytest.approx((2, 70, 40, 30))
    assert (sdpo["entropy_first"], sdpo["entropy_last"], sdpo["truncated_last"]) == pytest.approx((1.0, 0.2, 1.0))
    assert [sdpo[f"published_{h}h_{v}"] for v in ("1.0.0", "0e6d510") for h in (1, 5)] == [60.0, 70.1, 73.2, 80.9]
    assert grpo["published_5h_0e6d510"] == 74.5
    text = markdown(within_views(table), "", "")
    assert "best and last" in text
    assert "does it hold?" in text
    assert "80.9" in text


def test_a_table_without_runs_has_its_columns():
    assert list(within_table([]).columns) == COLUMNS
    assert within_views(within_table([])) == []


def test_two_graders_are_counted_on_the_same_draws(tmp_path):
    def drawn(name, verdicts):
        draws = [
            Draw(f"q/{i}", 0, "r", 1, "stop", None, first, second_correct=second)
            for i, (first, second) in enumerate(verdicts)
        ]
        write_draws(tmp_path / name, draws)
        return RunFiles("tool_use", "m", "v", len(name), "grpo", {"tooluse": tmp_path / name})

    runs = [
        drawn("a", [(True, True), (True, False), (False, True), (False, False)]),
        drawn("bb", [(True, True), (False, True), (False, True), (False, True)]),
        drawn("ccc", [(True, None)]),
    ]
    table = graders_table(runs, {"tool_use": ("tool_use", "tool_use_as_published")})
    (row,) = table.to_dict("records")
    assert (row["n_seeds"], row["draws"]) == (2, 8)
    shares = (row["accuracy"], row["second_accuracy"], row["first_alone"], row["second_alone"])
    assert shares == pytest.approx((37.5, 75.0, 12.5, 50.0))
    assert "tool_use and tool_use_as_published" in markdown(graders_views(table), "", "")
    assert graders_table(runs, {}).empty


def test_contexts_are_a_row_each_and_a_file_that_lacks_a_key_is_named(tmp_path):
    of = {"task": "code", "model": "m", "variant": "v"}
    row = {"context": "v", "rollouts": 8, "rollouts_with_place": 0, "hinted_share": 0.5, "accuracy": 0.75}
    row |= {"student_accuracy": 0.5, "gap": 0.125, "gap_low": -0.1, "gap_high": 0.35}
    (tmp_path / "a.json").write_text(json.dumps({**of, "rows": [row], "findings": []}))
    table = preflight_table([tmp_path / "a.json"])
    assert table.to_dict("records")[0]["gap"] == 0.125
    shown = markdown(preflight_views(table), "", "")
    assert "+12.5" in shown
    assert "75.0" in shown
    assert "first wrong token" not in shown, "no grader told it"
    (tmp_path / "b.json").write_text(json.dumps(of))
    with pytest.raises(UserError, match=r"b\.json: key 'findings' is missing; run this pre-flight again"):
        preflight_table([tmp_path / "a.json", tmp_path / "b.json"])


def test_what_is_printed_of_code_stands_beside_what_was_run(tmp_path):
    def run(variant, seed, model="qwen3_8b", **curve):
        path = tmp_path / f"{variant}{seed}{model}"
        found = {int(step[1:]): {"val/livecodebench/mean@4": value} for step, value in curve.items()}
        lines = [{"step": step} | found.get(step, {}) for step in range(max(found) + 1)]
        path.write_text("\n".join(map(json.dumps, lines)))
        return RunFiles("livecodebench", model, variant, seed, "m", {}, path)

    table = sdpo_code_table(
        [
            run("sdpo_official-code", 0, _0=0.2, _60=0.4, _80=0.5, _90=0.3, _95=0.9),
            run("sdpo_official-code", 1, _0=0.3, _60=0.2),
            run("sdpo_official-code-own", 0, _0=0.25, _60=0.4),
            run("grpo-sdpo-code", 0, model="tiny", _60=0.4),
        ]
    )
    cells = {(r["model"], r["variant"], r["measure"], r["place"]): r for r in table.to_dict("records")}
    best = [cells["qwen3_8b", "sdpo_official-code", "best", place] for place in ("text", "teacher study")]
    assert [(row["percent"], row["published"], row["n_seeds"]) for row in best] == [(35, 48.8, 2), (35, 49.3, 2)]
    assert cells["qwen3_8b", "sdpo_official-code", "mean", "teacher study"]["percent"] == 30
    assert cells["qwen3_8b", "sdpo_official-code", "end", "figure"]["percent"] == 25
    assert cells["qwen3_8b", "sdpo_official-code", "step_80", "figure"]["percent"] == 50
    assert cells["qwen3_8b", "base", "best", "text"]["percent"] == 25
    assert cells["qwen3_8b", "grpo-sdpo-code", "best", "text"]["n_seeds"] == 0, "printed, and not run"
    assert np.isnan(cells["qwen3_8b", "sdpo_official-code-own", "best", ""]["published"])
    assert {name for model, name, *_ in cells if model == "tiny"} == {"grpo-sdpo-code"}, "no other model is printed"
    shown = markdown(sdpo_code_views(table), "", "")
    assert "paper 48.8 (text), 49.3 (teacher study)" in shown
    assert "not run" in shown


def test_the_published_tables_are_whole():
    keys = [tuple(row[name] for name in ("version", "model", "method", "benchmark", "hours")) for row in sdpo_results()]
    assert len(keys) == len(set(keys)) == 2 * 2 * 5 * (1 + 3 * 2), RESULTS
    assert published_best("olmo3_7b_instruct", "grpo-sdpo-on_policy", "tooluse", 5) == {"1.0.0": 60.6, "0e6d510": 60.6}
    assert published_best("qwen3_8b", "base", "sciknoweval_biology", 1) == {"1.0.0": 27.9, "0e6d510": 30.8}
    assert published_best("qwen3_4b", "base", "sciknoweval_biology", 1) == {}
    assert {row["measure"] for row in sdpo_code()} == MEASURES.keys()


def test_what_is_odd_in_the_published_tables_is_found():
    table = sdpo_audit_table()
    found = dict(iter(table.groupby("finding")))
    assert found.keys() == {"changed", "winner", "chance", "repeated", "twice", "beyond"}
    assert set(found["changed"]["benchmark"]) == {"sciknoweval_biology", "sciknoweval_chemistry"}
    chance = {(row["model"], row["benchmark"]) for row in found["chance"].to_dict("records")}
    assert ("Qwen3-8B", "sciknoweval_biology") in chance
    assert ("Olmo-3-7B-Instruct", "sciknoweval_chemistry") in chance
    winners = found["winner"].set_index(["model", "benchmark", "hours"]).sort_index()
    assert winners.loc[("Qwen3-8B", "sciknoweval_biology", 5), ["method", "note"]].tolist() == ["grpo", "sdpo in 1.0.0"]
    assert found["repeated"].to_dict("records")[0]["percent"] == 49.8
    assert "cells that changed" in sdpo_audit_line(table)
    assert found["twice"][["method", "percent", "against"]].values.tolist() == [["sdpo_official-code", 49.3, 48.8]]
    assert found["beyond"][["percent", "against"]].values.tolist() == [[49.8, 49.3]]
    assert len(sdpo_audit_views(table)) == 6


def test_each_kind_of_oddity_shows():
    at = {"version": "0e6d510", "model": "M", "method": "sdpo", "benchmark": "tooluse"}
    rows = [{**at, "hours": "1", "percent": "98.5"}, {**at, "hours": "5", "percent": "97.0"}]
    assert sdpo_audit_table(rows, [])["finding"].tolist() == ["later", "ceiling"]
    assert np.isclose(sdpo_audit_table(rows, [])["against"].tolist(), [98.5, 97.1]).all()
