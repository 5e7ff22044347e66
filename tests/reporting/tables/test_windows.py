"""Dynamics by window, against plain means over the steps, and beside the paper's."""

import json

import numpy as np
import pytest

from selfdistill.reporting.read.runs import RunFiles
from selfdistill.reporting.tables.windows import COLUMNS, windows_table, windows_views

TASKS = {
    "math": {"metric": "mean@12", "benchmarks": {"aime25": {"distribution": "in"}, "amc23": {"distribution": "in"}}},
    "toy": {"metric": "pass@1", "benchmarks": {"chain": {"distribution": "in"}}},
}


def logged(step: int, seed: int, selects: bool = True) -> dict:
    record = {"step": step}
    if step:
        record |= {"response/length_mean": 100.0 + step + seed, "reward/mean": step / 1000, "actor/entropy": 1 / step}
        record |= {"signal/selected_share": 0.3 - step / 10_000} if selects else {}
    if step % 50 == 0:
        record |= {"val/aime25/mean@12": 0.5 + step / 1000, "val/amc23/mean@12": 0.7}
    return record


@pytest.fixture
def make(tmp_path):
    def build(variant, steps, seed=0, task="math", model="qwen3_8b", method="rlcsd", selects=True):
        path = tmp_path / f"{variant}-{seed}-{task}.jsonl"
        path.write_text("".join(json.dumps(logged(step, seed, selects)) + "\n" for step in range(steps + 1)))
        return RunFiles(task, model, variant, seed, method, {}, metrics=path)

    return build


def test_each_window_is_the_mean_over_its_steps_and_seeds(make):
    runs = [make("rlcsd-v2", 480, seed=seed) for seed in (0, 1)]
    table = windows_table(runs, TASKS, "v2")
    assert list(table.columns) == COLUMNS
    assert list(table["window"][:2]) == ["1-50", "51-100"]
    assert table["window"].iloc[-1] == "451-480"
    for row in table.to_dict("records"):
        steps = range(row["first_step"], row["last_step"] + 1)
        assert row["response_length"] == pytest.approx(np.mean([100.5 + step for step in steps]))
        assert row["selected_percent"] == pytest.approx(np.mean([30 - step / 100 for step in steps]))
        assert row["entropy"] == pytest.approx(np.mean([1 / step for step in steps]))
        last = max(step for step in (*steps, 0) if step % 50 == 0)
        if last in steps:
            assert row["aime25_percent"] == pytest.approx(50 + last / 10)
            assert row["validation_percent"] == pytest.approx((50 + last / 10 + 70) / 2)
        else:
            assert np.isnan(row["aime25_percent"])
        assert row["n_seeds"] == 2


def test_the_papers_windows_stand_beside_those_of_its_variants(make):
    runs = [make("rlcsd-v2", 480), make("rlcsd-v2-tau0.65", 480), make("opsd", 480, method="opsd", selects=False)]
    table = windows_table(runs, TASKS, "v2").set_index(["variant", "window"])
    row = table.loc[("rlcsd-v2", "351-400")]  # of both published tables
    names = ("selected_percent", "response_length", "reward", "entropy", "aime25_percent")
    assert row[[f"published_{name}" for name in names]].tolist() == [28.24, 9617, 0.749, 0.183, 69.72]
    assert table.loc[("rlcsd-v2", "1-50"), "published_entropy"] == 0.321
    assert np.isnan(table.loc[("rlcsd-v2", "1-50"), "published_aime25_percent"])
    assert table.loc[("rlcsd-v2-tau0.65", "351-400"), "published_selected_percent"] == 39.56
    assert table.loc["opsd", "published_entropy"].isna().all()
    assert table.loc["opsd", "selected_percent"].isna().all()
    assert windows_table(runs, TASKS, "v1")["published_entropy"].isna().all()
    (view,) = windows_views(table.reset_index())
    shown = [(row.label, row.note) for row in view.rows if row.label == "rlcsd-v2"]
    assert shown == [("rlcsd-v2", f"steps {window}") for window in ("1-50", "201-250", "351-400", "451-480")]
    cells = {(row.label, row.note): row.cells for row in view.rows}
    assert "paper 9,617" in cells["rlcsd-v2", "steps 351-400"][1].beside


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (12, ["1-3", "4-6", "7-9", "10-12"]),
        (3, ["1-1", "2-2", "3-3"]),
        (99, ["1-20", "21-40", "41-60", "61-80", "81-99"]),
    ],
)
def test_a_short_run_has_shorter_windows(make, steps, expected):
    assert list(windows_table([make("grpo", steps, task="toy")], TASKS)["window"]) == expected


def test_runs_without_metrics_have_no_window(make):
    none = RunFiles("toy", "m", "base", 0, "base", {})
    assert windows_table([none], TASKS).empty
    assert windows_views(windows_table([], TASKS)) == []
