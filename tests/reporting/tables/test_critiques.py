"""Tables about critiques: what was written in training, and what the TC-RLSD note's numbers can resolve."""

import json
import math

import pytest

from selfdistill.reporting.read.runs import RunFiles
from selfdistill.reporting.tables.critiques import critiques_table, critiques_views
from selfdistill.reporting.tables.critiques_audit import (
    critiques_audit_line,
    critiques_audit_table,
    critiques_audit_views,
)

RECORDS = [
    {"step": 0, "val/math_test/mean@1": 0.3},
    {
        "step": 1,
        "reward/mean": 0.5,
        "critique/coverage": 0.4,
        "critique/of_wrong": 0.8,
        "critique/failed": 0.0,
        "teacher/delta_wrong": -0.2,
    },
    {
        "step": 2,
        "reward/mean": 0.7,
        "critique/coverage": 0.2,
        "critique/of_wrong": 1.0,
        "critique/failed": 0.1,
        "val/math_test/mean@1": 0.6,
    },
    {"step": 3, "reward/mean": 0.9, "critique/coverage": 0.0, "critique/of_wrong": 0.0, "val/math_test/mean@1": 0.5},
]


@pytest.fixture
def table(tmp_path):
    runs = []
    for task, variant, seed in [
        ("math_lighteval", "rlsd-critique", 0),
        ("math_lighteval", "rlsd-critique", 1),
        ("toy", "grpo", 0),
    ]:
        path = tmp_path / f"{task}{variant}{seed}.jsonl"
        kept = (
            RECORDS
            if variant != "grpo"
            else [{k: v for k, v in r.items() if "/mean" in k or k == "step"} for r in RECORDS]
        )
        path.write_text("\n".join(map(json.dumps, kept)) + "\n")
        runs.append(RunFiles(task=task, model="m", variant=variant, seed=seed, method="m", draws={}, metrics=path))
    return critiques_table(runs)


def test_a_row_has_means_over_steps_and_seeds_and_the_published_row_beside(table):
    row, plain = table.to_dict("records")
    assert (row["variant"], row["n_seeds"]) == ("rlsd-critique", 2)
    assert row["wrong"] == pytest.approx(0.4), "of the steps in which the critic was asked"
    assert row["coverage"] == pytest.approx(0.3)
    assert row["of_wrong"] == pytest.approx(0.9)
    assert row["delta_wrong"] == pytest.approx(-0.2)
    assert (row["peak"], row["final"]) == (60.0, 50.0)
    assert (row["published_peak"], row["published_delta_gap"], row["published_coverage"]) == (52.5, -0.037, 0.136)
    assert math.isnan(plain["coverage"])
    assert math.isnan(plain["published_peak"])


def test_seeds_that_are_all_alike_tell_no_interval(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"step": 1, "critique/failed": 0.0, "teacher/delta_gap": -0.2}\n')
    own = {"task": "toy", "model": "m", "variant": "rlsd", "method": "m", "draws": {}, "metrics": tmp_path / "m.jsonl"}
    [row] = critiques_table([RunFiles(seed=seed, **own) for seed in range(3)]).to_dict("records")
    assert row["delta_gap"] == pytest.approx(-0.2)
    assert math.isnan(row["delta_gap_low"])


def test_what_three_seeds_say_has_an_interval_and_rewards_stand_beside_those_of_grpo(tmp_path):
    runs, gaps, rewards = [], (-0.2, -0.3, -0.5), {"grpo": (0.5, 0.6), "rlsd": (0.52, 0.55)}
    for seed, gap in enumerate(gaps):
        for variant, both in rewards.items():
            path = tmp_path / f"{variant}{seed}.jsonl"
            lines = [{"step": i + 1, "reward/mean": value + 0.1 * (seed == 2)} for i, value in enumerate(both)]
            if variant == "rlsd":
                lines[0] |= {"critique/coverage": 0.4, "critique/failed": 0.0, "teacher/delta_gap": gap}
            path.write_text("\n".join(map(json.dumps, lines)) + "\n")
            own = {"task": "toy", "model": "m", "variant": variant, "seed": seed, "method": "m"}
            if (variant, seed) != ("grpo", 2):
                runs.append(RunFiles(**own, draws={}, metrics=path))
    plain, row = critiques_table(runs).to_dict("records")
    # By hand: mean -1/3, SD of (-.2, -.3, -.5) .15275, t(2) 4.3027.
    assert row["delta_gap"] == pytest.approx(-1 / 3)
    half = 4.302653 * 0.1527525 / math.sqrt(3)
    assert (row["delta_gap_low"], row["delta_gap_high"]) == pytest.approx((-1 / 3 - half, -1 / 3 + half), abs=1e-6)
    assert row["reward_apart"] == pytest.approx(0.05), "of seeds that both have, the larger step"
    assert math.isnan(plain["reward_apart"])
    views = critiques_views(critiques_table(runs))
    assert "Published coverage" not in views[0].columns
    (line,) = views[1].rows
    assert line.cells[views[1].columns.index("Difference")].detail == "[-0.713, +0.046]"


def test_views_are_of_critics_teachers_and_validations(table):
    titles = [view.title for view in critiques_views(table)]
    assert [title.partition(": ")[2] for title in titles] == [
        "what was written",
        "what it did to the teacher, nats a token",
        "validation, percent",
        "validation, percent",
    ]


def test_the_notes_differences_are_held_against_the_error_of_a_draw():
    table = critiques_audit_table()
    rows = {(row["task"], row["variant"], row["measure"]): row for row in table.to_dict("records")}
    small = rows["gsm8k_level1", "rlsd-critique_gold", "peak"]
    assert small["error"] == pytest.approx(100 * math.sqrt(0.374 * 0.626 / 500))
    assert round(small["error"], 1) == 2.2
    assert small["difference"] == 0.8
    assert small["least_resolved"] > 5
    large = rows["math_lighteval", "rlsd-critique", "peak"]
    assert round(large["error"], 1) == 0.7
    assert round(large["error_of_difference"], 1) == 1.0
    assert large["least_resolved"] == pytest.approx(1.96, abs=0.02)
    assert large["problems_needed"] == pytest.approx(
        (1.96 + 0.8416) ** 2 * (0.525 * 0.475 + 0.514 * 0.486) / 0.011**2, rel=1e-3
    )
    assert not table["resolved"].isin([True]).any()
    assert critiques_audit_line(table).startswith("0 of 8 differences")
    assert len(critiques_audit_views(table)) == 2
