"""How the paper's numbers moved between its versions, against what the issue of the second version names."""

import pytest

from selfdistill.reporting.tables.drift import drift_line, drift_table, drift_views


@pytest.fixture(scope="module")
def drift():
    return drift_table()


@pytest.mark.parametrize(
    ("place", "before", "after"),
    [
        (("logic", "qwen3_8b", "rlcsd", "kk_11"), 65.0, 54.0),
        (("logic", "qwen3_8b", "rlcsd", "average"), 74.0, 69.3),
        (("logic", "qwen3_4b", "rlsd", "average"), 65.0, 66.8),
        (("logic", "qwen3_8b", "opsd", "average"), 64.8, 59.0),
        (("math", "qwen3_4b", "rlcsd", "average"), 78.0, 78.4),
    ],
)
def test_known_moves(drift, place, before, after):
    (row,) = drift[(drift[["task", "model", "method", "benchmark"]] == place).all(axis=1)].to_dict("records")
    assert (row["v1"], row["v2"]) == (before, after)
    assert row["difference"] == pytest.approx(after - before, abs=1e-9)


def test_every_cell_is_there_once_and_models_that_ran_alike_did_not_move(drift):
    assert len(drift) == 4 * 7 * 9
    assert not drift.duplicated(["task", "model", "method", "benchmark"]).any()
    assert not drift.loc[drift["method"] == "base", "difference"].any()
    assert {tuple(pair) for pair in drift.loc[drift["method"] == "rlcsd", ["v1_hints", "v2_hints"]].to_numpy()} == {
        ("self_rollout", "gt_cot")
    }


def test_only_what_both_versions_have_is_compared_and_the_latest_publication_counts():
    cells = [
        ("x-2026-01-01", "rlsd", "", "kk_9", "50.0"),
        ("x-2026-02-01", "rlsd", "", "kk_9", "51.0"),
        ("x-2026-02-01", "rlsd", "", "kk_10", "40.0"),
        ("x-2026-02-01", "rlcsd", "gt_cot", "kk_9", "10.0"),
        ("paper-v2", "rlcsd", "gt_cot", "kk_9", "60.0"),
        ("paper-v2", "rlsd", "gt_cot", "kk_9", "53.5"),
    ]
    names = ("source", "method", "hint_source", "benchmark", "percent")
    table = drift_table([{"model": "Qwen3-4B", **dict(zip(names, cell, strict=True))} for cell in cells])
    (row,) = table.to_dict("records")
    assert (row["method"], row["v1"], row["v2"], row["difference"]) == ("rlsd", 51.0, 53.5, 2.5)
    assert row["v1_source"] == "x-2026-02-01"


def test_what_is_said_of_it(drift):
    said = drift_line(drift)
    assert (
        "logic: 19 of 24 averages moved, by 2.1 points (root mean square), most opsd on qwen3_8b, 64.8 to 59.0" in said
    )
    assert "grpo on qwen3_4b" in said.partition("All cells are the same: ")[2]
    assert drift_line(drift[:0]) == "No number is in both versions."
    views = drift_views(drift)
    assert [(view.title, len(view.rows)) for view in views] == [("math", 28), ("logic", 28)]
