"""What runs cost: from their files to the table, its totals and texts."""

import json
from pathlib import Path

import pytest

from selfdistill.errors import UserError
from selfdistill.reporting.read.runs import RunFiles
from selfdistill.reporting.render.table import html_table, markdown
from selfdistill.reporting.tables.costs import (
    EVALUATION,
    TRAINING,
    cost_views,
    costs_table,
    duration,
    total_line,
    totals,
)

NEW = {
    "wall_seconds": 7200.0,
    "gpu_hours": 16.0,
    "steps": 2,
    "peak_memory_gib": {"host": 180.5, "device": 71.25},
    "hardware": {"cpu": "Xeon", "gpu": "8 x H20"},
}
OLD = {"wall_seconds": 50.0, "gpu_hours": 0.0, "hardware": {"cpu": "Xeon", "gpu": None}}
ACCOUNT = {
    "wall_seconds": 100.0,
    "gpu_hours": 0.5,
    "tokens": 2500,
    "peak_memory_gib": {"host": 3.0, "device": None},
    "hardware": {"cpu": "Xeon", "gpu": "1 x H20"},
}
STEPS = [
    {"step": 0, "val/x": 0.5},
    {"step": 1, "tokens/generated": 1000, "tokens/teacher_forwarded": 4000},
    {"step": 2, "tokens/generated": 800, "tokens/teacher_forwarded": None},
]


def a_run(folder: Path, variant: str, *, seed=0, provenance=None, account=None, steps=()) -> RunFiles:
    folder = folder / variant / str(seed)
    folder.mkdir(parents=True)
    files = {}
    for name, facts in (("provenance", provenance), ("account", account)):
        if facts is not None:
            files[name] = folder / f"{name}.json"
            files[name].write_text(json.dumps(facts))
    if steps:
        files["metrics"] = folder / "metrics.jsonl"
        files["metrics"].write_text("".join(json.dumps(step) + "\n" for step in steps))
    return RunFiles("math", "qwen", variant, seed, variant, {}, **files)


@pytest.fixture
def runs(tmp_path):
    return [
        a_run(tmp_path, "base", account=ACCOUNT),
        a_run(tmp_path, "rlcsd", provenance=NEW, account=ACCOUNT, steps=STEPS),
        a_run(tmp_path, "grpo", provenance=OLD, steps=[{"step": 0}, {"step": 1, "tokens/generated": 100}]),
    ]


def row_of(table, job, variant):
    (row,) = table[(table["job"] == job) & (table["variant"] == variant)].to_dict("records")
    return row


def test_a_training_run_has_its_time_tokens_and_memory(runs):
    row = row_of(costs_table(runs), TRAINING, "rlcsd")
    assert (row["wall_seconds"], row["gpu_hours"], row["steps"]) == (7200.0, 16.0, 2)
    assert (row["tokens_generated"], row["tokens_teacher"]) == (1800, 4000)
    assert row["tokens_per_second"] == 0.25
    assert (row["peak_host_gib"], row["peak_device_gib"], row["hardware"]) == (180.5, 71.25, "8 x H20")


def test_an_evaluation_has_those_of_its_account(runs):
    table = costs_table(runs)
    row = row_of(table, EVALUATION, "base")
    assert (row["tokens_generated"], row["tokens_per_second"], row["gpu_hours"]) == (2500, 25.0, 0.5)
    assert row["peak_device_gib"] != row["peak_device_gib"]  # missing
    assert list(table["job"]) == [TRAINING] * 2 + [EVALUATION] * 2  # base is not trained; grpo has no account


def test_what_an_older_file_does_not_say_is_a_dash(runs):
    row = row_of(costs_table(runs), TRAINING, "grpo")
    assert row["steps"] == 1  # of the metrics
    (view,) = [view for view in cost_views(costs_table(runs)) if view.title.endswith("training")]
    (row,) = [row for row in view.rows if row.label == "grpo, seed 0"]
    cells = {column: cell.text for column, cell in zip(view.columns, row.cells, strict=True)}
    assert cells["peak GiB, host"] == cells["peak GiB, GPU"] == cells["tokens through the teacher"] == "\u2013"
    assert (cells["wall time"], cells["on"]) == ("50 s", "Xeon")


def test_totals_add_up_and_take_the_largest_peak(runs, tmp_path):
    more = [*runs, a_run(tmp_path, "rlcsd", seed=1, provenance=NEW | {"peak_memory_gib": {"host": 190.0}}, steps=STEPS)]
    total = totals(costs_table(more)).set_index("job").loc[TRAINING]
    assert (total["wall_seconds"], total["gpu_hours"], total["tokens_generated"]) == (14450.0, 32.0, 3700)
    assert (total["peak_host_gib"], total["peak_device_gib"]) == (190.0, 71.25)
    assert "3 x training: 4.0 h of wall time, 32.0 GPU-hours" in total_line(costs_table(more))


def test_a_column_without_any_value_is_left_out(tmp_path):
    table = costs_table([a_run(tmp_path, "grpo", provenance=OLD, steps=STEPS[:1])])
    (view,) = cost_views(table)
    assert view.columns == ["wall time", "GPU-hours", "steps", "on"]
    assert "| grpo, seed 0 | 50 s | 0.00 | 0 | Xeon |" in markdown([view], "", "")


def test_a_table_is_sorted_by_its_numbers_and_ends_with_their_total(runs):
    view = next(view for view in cost_views(costs_table(runs)) if view.title == "math, qwen: training")
    places = [view.columns.index(name) for name in ("wall time", "tokens through the teacher", "on")]
    shown = {row.label: [(row.cells[place].text, row.cells[place].order) for place in places] for row in view.rows}
    assert list(shown.items()) == [
        ("rlcsd, seed 0", [("2.0 h", 7200.0), ("4,000", 4000.0), ("8 x H20", None)]),
        ("grpo, seed 0", [("50 s", 50.0), ("\u2013", None), ("Xeon", None)]),
        ("all", [("2.0 h", 7250.0), ("4,000", 4000.0), ("", None)]),
    ]
    assert [row.total for row in view.rows] == [False, False, True]


def test_a_total_is_not_sorted_among_its_rows(runs):
    page = html_table(next(view for view in cost_views(costs_table(runs)) if view.title == "math, qwen: training"))
    body, foot = page.partition("</tbody>")[::2]
    assert body.count("<tr>") == 1 + 2
    assert foot.count("<tr>") == 1
    assert ">all</th>" in foot.partition("<tfoot>")[2]


def test_a_block_of_which_nothing_is_known_is_left_out(runs):
    table = costs_table(runs)
    unknown = table["job"] == "training"
    table.loc[unknown, table.columns[5:]] = None
    assert not [view for view in cost_views(table) if view.title.endswith("training")]


@pytest.mark.parametrize("content", ["{", "[]"])
def test_an_unreadable_file_is_named(tmp_path, content):
    run = a_run(tmp_path, "grpo", provenance=OLD)
    run.provenance.write_text(content)
    with pytest.raises(UserError, match=r"provenance\.json: (not JSON|expected a JSON object)"):
        costs_table([run])


def test_nothing_measured_is_said():
    assert "Nothing was measured" in total_line(costs_table([]))
    assert cost_views(costs_table([])) == []


@pytest.mark.parametrize(("seconds", "said"), [(59.4, "59 s"), (725, "12 min 5 s"), (3600 * 31.24, "31.2 h")])
def test_durations(seconds, said):
    assert duration(seconds) == said
