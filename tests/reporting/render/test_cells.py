import math

import pandas as pd
import pytest

from selfdistill.reporting.read.accuracy import gather_scores
from selfdistill.reporting.read.runs import MissingRun
from selfdistill.reporting.render.cells import (
    gain_cell,
    gains_views,
    main_cell,
    main_views,
    p_text,
)
from selfdistill.reporting.render.table import markdown
from selfdistill.reporting.render.texts import CONTAMINATION, PAPER, RATE, TABLES, THESE_RUNS
from selfdistill.reporting.tables.accuracy import gains_table, main_lead, main_table

LOST = [
    MissingRun("knights", "tiny-qwen3", "rlsd", 0, "rlsd", "failed", "x"),
    MissingRun("knights", "big", "grpo", 0, "grpo", "not run"),
]


@pytest.fixture(scope="module")
def tables(study):
    groups = gather_scores(study.runs, study.tasks)
    return main_table(groups, study.tasks), gains_table(groups, study.tasks)


def row_of(table, **wanted):
    for column, value in wanted.items():
        table = table[table[column] == value]
    (row,) = table.to_dict("records")
    return row


def lines_of(text: str, title: str) -> list[str]:
    return [line for line in text.split(f"### {title}\n")[1].split("###")[0].splitlines() if line.startswith("|")]


def test_the_main_table_is_shaped_like_the_paper(study, tables):
    text = markdown(main_views(tables[0], [], study.tasks), "", "")
    assert text.count("### ") == 2
    table = lines_of(text, "knights, tiny-qwen3: pass@1")
    header = [cell.strip() for cell in table[0].split("|")[1:-1]]
    benchmarks = ["knights-2 (not counted)", "knights-3", "knights-4 (out)", "knights-5 (out)"]
    assert header == ["Variant", *benchmarks, "Average", "Average in", "Average out"]
    assert [line.split("|")[1].strip() for line in table[2:]] == ["base", "grpo", "rlcsd"]
    row = row_of(tables[0], task="knights", variant="base", benchmark="knights-3")
    assert table[2].split("|")[3].strip() == f"{row['value']:.1f} [{row['low']:.1f}, {row['high']:.1f}]"
    assert {line.count("|") for line in table} == {9}
    assert "**" not in table[2]  # base is best nowhere
    best = tables[0][(tables[0]["task"] == "knights") & (tables[0]["best"] == "best")]
    assert sum(line.count("**") for line in table) == 2 * len(best) > 0


def test_gains_show_signs_and_p_values(study, tables):
    text = markdown(gains_views(tables[1], [], study.tasks), "", "")
    (rlcsd,) = [line for line in lines_of(text, "knights, tiny-qwen3: pass@1 minus that of grpo") if "rlcsd" in line]
    row = row_of(tables[1], task="knights", variant="rlcsd", reference="grpo", benchmark="knights-3")
    cell = f"{row['value']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}] (p = {row['p_holm']:.3f})"
    assert rlcsd.split("|")[3].strip() == cell


def test_what_is_missing_is_said(study, tables):
    main = markdown(main_views(tables[0], LOST, study.tasks), "", "")
    assert lines_of(main, "knights, tiny-qwen3: pass@1")[-1] == "| rlsd |" + " failed |" * 7
    assert "* rlsd, seed 0: failed: x" in main
    assert lines_of(main, "knights, big: pass@1")[2:] == ["| grpo |" + " not run |" * 7]
    gains = markdown(gains_views(tables[1], LOST, study.tasks), "", "")
    assert lines_of(gains, "knights, tiny-qwen3: pass@1 minus that of base")[-1].startswith("| rlsd | failed")
    assert "big: pass@1 minus that of grpo" in gains


def test_the_paper_is_explained_only_where_it_stands_beside(tables):
    assert "Paper" not in main_lead(tables[0])
    lead = f"{TABLES['main'].lead} {THESE_RUNS}"  # one seed
    assert main_lead(tables[0].assign(published=70.0)) == f"{lead} {PAPER}"
    assert (
        main_lead(tables[0].assign(published=70.0, published_version="upstream-readme-2026-08-17", task="logic"))
        == f"{lead} {PAPER} {RATE}"
    )


def test_cells():
    main = {"value": 78.04, "low": 74.0, "high": 81.0, "best": "best", "counted": True, "published": 90.1}
    cell = main_cell({**main, "published_within": False})
    assert (cell.text, cell.detail, cell.beside, cell.outside) == ("78.0", "[74.0, 81.0]", "paper 90.1", True)
    assert (cell.mark, cell.quiet, cell.order) == ("best", False, 78.04)
    cell = main_cell({**main, "published": float("nan"), "published_within": float("nan"), "counted": False})
    assert (cell.beside, cell.outside, cell.quiet) == ("", False, True)
    cell = main_cell({**main, "published_within": None})
    assert (cell.beside, cell.outside) == ("paper 90.1", False)  # nothing to judge it by
    gain = {"value": -0.04, "low": float("nan"), "high": float("nan"), "p_holm": float("nan"), "counted": True}
    assert (gain_cell(gain).text, gain_cell(gain).detail, gain_cell(gain).beside) == ("-0.0", "", "")
    assert [p_text(p) for p in (0.0009, 0.001, 1.0)] == ["p < 0.001", "p = 0.001", "p = 1.000"]


def test_two_years_of_aime_stand_beside_each_other(study):
    """Bounds by Newcombe's method from those of each year; where a year is missing there is no such table."""
    rows = []
    for variant in ("base", "rlcsd"):
        for benchmark, value, low, high in (("aime24", 70.0, 55.0, 80.0), ("aime25", 50.0, 40.0, 62.0)):
            about = {"task": "math", "model": "m", "variant": variant, "benchmark": benchmark, "metric": "mean@12"}
            more = {"best": "", "counted": True, "distribution": "in", "published": math.nan, "published_within": None}
            rows.append({**about, "value": value, "low": low, "high": high, "n_seeds": 1, **more})
    table = pd.DataFrame(rows)
    _, years = main_views(table, [], study.tasks)
    assert years.title == "math, m: two years of AIME"
    assert years.remarks == [CONTAMINATION]
    assert [cell.text for cell in years.rows[0].cells] == ["70.0", "50.0", "+20.0"]
    low, high = 20 - math.hypot(15, 12), 20 + math.hypot(10, 10)
    assert years.rows[0].cells[2].detail == f"[{low:+.1f}, {high:+.1f}]"
    assert len(main_views(table[table["benchmark"] == "aime24"], [], study.tasks)) == 1
