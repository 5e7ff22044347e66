import dataclasses
import json

import pandas as pd
import pytest

from selfdistill.errors import UserError
from selfdistill.reporting.read.accuracy import gather_scores
from selfdistill.reporting.read.runs import MissingRun
from selfdistill.reporting.render.table import markdown
from selfdistill.reporting.tables.accuracy import main_table
from selfdistill.reporting.tables.behaviour import COLUMNS, behaviour_table, behaviour_views


@pytest.fixture(scope="module")
def main(seeded_study):
    return main_table(gather_scores(seeded_study.runs, seeded_study.tasks), seeded_study.tasks)


@pytest.fixture(scope="module")
def table(seeded_study, main):
    return behaviour_table(main, seeded_study.runs)


def test_a_row_for_each_variant_with_the_numbers_of_its_average(table, main):
    assert list(table.columns) == COLUMNS
    averages = main[main["benchmark"] == "average"]
    assert len(table) == len(averages) == 16
    for row, average in zip(table.to_dict("records"), averages.to_dict("records"), strict=True):
        for ours, theirs in (("accuracy", "value"), *((name, name) for name in COLUMNS[:3] + COLUMNS[4:9])):
            assert row[ours] == average[theirs]


def test_entropy_is_that_of_the_ends_of_training_over_seeds(seeded_study, table):
    ends = []
    for run in seeded_study.runs:
        if (run.task, run.model, run.variant) == ("knights", "tiny-b", "grpo"):
            logged = [json.loads(line) for line in run.metrics.read_text().splitlines()]
            entropy = [record["actor/entropy"] for record in logged if "actor/entropy" in record]
            assert len(entropy) == 40
            ends.append((sum(entropy[:4]) / 4, sum(entropy[-4:]) / 4))
    row = table[(table["task"] == "knights") & (table["model"] == "tiny-b") & (table["variant"] == "grpo")].iloc[0]
    assert row["entropy_seeds"] == len(ends) == 2
    assert row["entropy_first"] == pytest.approx(sum(first for first, _ in ends) / 2, abs=1e-4)
    assert row["entropy_last"] == pytest.approx(sum(last for _, last in ends) / 2, abs=1e-4)


def test_untrained_models_and_runs_without_metrics_have_no_entropy(study):
    main = main_table(gather_scores(study.runs, study.tasks), study.tasks)
    table = behaviour_table(main, [run for run in study.runs if run.variant != "rlcsd"])
    known = table.groupby("variant")["entropy_last"].apply(lambda values: values.notna().all())
    assert dict(known) == {"base": False, "grpo": True, "rlcsd": False}
    assert dict(table.groupby("variant")["entropy_seeds"].max()) == {"base": 0, "grpo": 1, "rlcsd": 0}


def test_it_reads_back_from_the_csv_of_the_main_table(study, tmp_path):
    main = main_table(gather_scores(study.runs, study.tasks), study.tasks)
    main.to_csv(tmp_path / "main.csv", index=False)
    pd.testing.assert_frame_equal(
        behaviour_table(pd.read_csv(tmp_path / "main.csv"), study.runs), behaviour_table(main, study.runs)
    )


def test_markdown(seeded_study, table):
    lost = [
        MissingRun("knights", "tiny-a", "rlsd", 0, "rlsd", "failed", "x"),
        MissingRun("knights", "tiny-a", "grpo", 2, "grpo", "not run"),
        MissingRun("knights", "big", "rlsd", 0, "rlsd", "not run"),
    ]
    text = markdown(behaviour_views(table, lost, seeded_study.tasks), "", "")
    assert text.count("### ") == 5
    of_a = text.split("### knights, tiny-a")[1].split("###")[0]
    lines = [line for line in of_a.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0] for line in lines] == [
        "| Variant",
        "| base",
        "| grpo (2 of 3 seeds)",
        "| rlcsd",
        "| rlcsd-gt_cot",
        "| rlsd",
    ]
    row = table[(table["task"] == "knights") & (table["model"] == "tiny-a") & (table["variant"] == "rlcsd")].iloc[0]
    cells = f"{row['accuracy']:.1f} [{row['low']:.1f}, {row['high']:.1f}] | 20 | 100.0 | {row['entropy_first']:.3f}"
    assert lines[3] == f"| rlcsd | {cells} | {row['entropy_last']:.3f} | 0 | 0 |"
    assert lines[1].endswith("| – | – | – | – |")  # noqa: RUF001
    assert lines[5] == "| rlsd |" + 7 * " failed |"
    assert "* rlsd, seed 0: failed: x" in of_a
    assert "| rlsd | not run |" in text.split("### knights, big")[1]


def test_metrics_that_cannot_be_read_are_an_error(study, main, tmp_path):
    broken = tmp_path / "metrics.jsonl"
    broken.write_text("{\n")
    with pytest.raises(UserError, match=r"metrics.jsonl, line 1: not JSON"):
        behaviour_table(main, [dataclasses.replace(study.runs[1], metrics=broken)])
