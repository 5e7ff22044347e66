"""The table of power for readers: each cell is a row of power.csv."""

import pandas as pd
import pytest

from selfdistill.reporting.read.accuracy import read_groups
from selfdistill.reporting.render.cells import DASH
from selfdistill.reporting.render.table import Cell, html_page, latex, markdown
from selfdistill.reporting.tables.power import power_table
from selfdistill.reporting.tables.power_views import LEAD, NOTHING, power_views


@pytest.fixture(scope="module")
def table(seeded_study):
    return power_table(read_groups(seeded_study.runs, seeded_study.tasks), seeded_study.tasks)


@pytest.fixture(scope="module")
def views(seeded_study, table):
    return {view.title: view for view in power_views(table, seeded_study.tasks)}


def row_of(table, variant, benchmark, problems, reference="grpo"):
    wanted = {"task": "knights", "model": "tiny-a", "variant": variant, "reference": reference, "benchmark": benchmark}
    return table[(table[list(wanted)] == pd.Series(wanted)).all(axis=1) & (table["problems"] == problems)].iloc[0]


def test_every_task_model_and_reference_has_two_tables(seeded_study, views):
    blocks = {(run.task, run.model) for run in seeded_study.runs}
    whats = ("least difference to {}", "what a difference of averages to {} needs")
    assert set(views) == {
        f"{task}, {model}: {what.format(reference)}"
        for task, model in blocks
        for reference in ("base", "grpo")
        for what in whats
    }


def test_a_cell_has_the_least_difference_for_other_problems_and_for_these(table, views):
    view = views["knights, tiny-a: least difference to grpo"]
    assert view.columns[:3] == ["knights-2 (not counted)", "knights-3", "knights-4 (out)"]
    row = next(row for row in view.rows if row.label == "rlcsd")
    least = [row_of(table, "rlcsd", "knights-3", kind)["detectable"] for kind in ("sampled", "fixed")]
    assert row.cells[1] == Cell(f"{least[0]:.1f}", f"({least[1]:.1f})", order=least[0])
    assert [cell.quiet for cell in row.cells[:2]] == [True, False]


def test_seeds_and_draws_are_those_of_the_average(table, views):
    view = views["knights, tiny-a: what a difference of averages to base needs"]
    assert view.columns[0] == "1 point (other problems too)"
    assert view.columns[5] == "5 points (these problems)"
    row = next(row for row in view.rows if row.label == "rlcsd")
    for place, (kind, points) in enumerate((kind, points) for kind in ("sampled", "fixed") for points in (1, 2, 5)):
        found = row_of(table, "rlcsd", "average", kind, "base")
        seeds, draws = found[f"seeds_for_{points}"], found[f"draws_for_{points}"]
        text, detail = row.cells[place].text, row.cells[place].detail
        assert text == (DASH if pd.isna(seeds) else f"{seeds:,} {'seed' if seeds == 1 else 'seeds'}")
        assert detail.removeprefix("or ") == (
            "" if pd.isna(draws) else f"{draws:,} {'draw' if draws == 1 else 'draws'}"
        )
    assert {DASH} < {cell.text for cell in row.cells}  # both are there


def test_an_assumed_spread_is_said(views):
    (remark,) = views["knights, tiny-a: least difference to grpo"].remarks
    assert remark.startswith("the spread between training runs is assumed, 1.0 points, in ")


def test_what_one_seed_cannot_tell_is_a_dash(study):
    runs = [run for run in study.runs if run.task == "knights"]
    table = power_table(read_groups(runs, study.tasks), study.tasks)
    view = power_views(table, study.tasks)[0]
    assert {cell.detail for row in view.rows for cell in row.cells} == {f"({DASH})"}


def test_all_formats_can_be_written(views):
    shown = list(views.values())
    assert markdown(shown, LEAD, NOTHING).startswith(LEAD)
    assert latex(shown, LEAD, NOTHING).count("\\begin{table}") == len(shown)
    assert html_page("Power", shown, LEAD, NOTHING).count('class="sortable"') == len(shown)
    assert markdown([], LEAD, NOTHING) == f"{NOTHING}\n"
