"""Own, blank and swapped pictures, with a model that is not trained."""

from dataclasses import replace

import pytest
from tiny_vision_entry import ENTRY

from selfdistill.errors import UserError
from selfdistill.evaluation.picture_controls import run_controls, shown_with
from selfdistill.files import write_json
from selfdistill.models.base_model import provide
from selfdistill.reporting.tables.pictures import pictures_table, pictures_views
from selfdistill.tasks.datasets import generate_problems
from selfdistill.tasks.schema import write_problems

RECIPE = {"exercise": "cells", "seed": 0, "dataset": "x", "problems": 6, "sizes": [1]}
SETTINGS = {
    "problems": 6,
    "grader": "cells",
    "grading": {},
    "evaluation": {"temperature": 0.6, "top_p": 1.0, "top_k": 0, "max_response_tokens": 6},
    "rollout": {},
    "hints": {},
    "chat": {},
}


@pytest.fixture(scope="module")
def problems():
    return generate_problems(RECIPE, "train")


def test_blank_pictures_are_alike_and_swapped_ones_are_somebody_elses(problems):
    blank, swapped = (shown_with(problems, each) for each in ("blank", "swapped"))
    assert len({p.images for p in blank}) == 1
    assert (blank[0].images[0].width, blank[0].images[0].height) == (24, 24)
    assert {p.images for p in swapped} == {p.images for p in problems}
    assert all(a.images != b.images and a.problem == b.problem for a, b in zip(problems, swapped, strict=True))
    assert shown_with(problems, "own") == problems


def test_a_row_for_each_hint_and_picture_and_the_own_picture_moves_nothing(problems, tmp_path):
    provide(ENTRY, "cells", tmp_path / "model", lambda line: None)
    write_problems(tmp_path / "train.parquet", problems)
    rows = run_controls(SETTINGS, tmp_path / "train.parquet", tmp_path / "model", lambda line: None)
    assert [(row["hint"], row["picture"]) for row in rows] == [
        (hint, picture) for hint in ("none", "answer") for picture in ("own", "blank", "swapped")
    ]
    assert rows[0]["moved"] == rows[0]["delta"] == rows[3]["moved"] == 0.0
    assert all(row["moved"] > 0 for row in rows if row["picture"] != "own")
    assert rows[3]["delta"] != 0
    write_json(tmp_path / "found.json", {"task": "cells", "model": "tiny", "rows": rows})
    table = pictures_table([tmp_path / "found.json"])
    assert len(table) == 6
    assert len(pictures_views(table)[0].rows) == 6


def test_problems_without_pictures_are_refused(problems, tmp_path):
    write_problems(tmp_path / "plain.parquet", [replace(p, images=(), problem=p.problem[7:]) for p in problems])
    with pytest.raises(UserError, match="0 problems with pictures"):
        run_controls(SETTINGS, tmp_path / "plain.parquet", tmp_path, lambda line: None)


def test_a_problem_that_would_be_swapped_with_itself_is_left_out(problems, tmp_path):
    twice = replace(problems[0], problem="<image>" + problems[0].problem, images=problems[0].images * 2)
    provide(ENTRY, "cells", tmp_path / "model", lambda line: None)
    write_problems(tmp_path / "train.parquet", [twice, *problems[1:3]])
    rows = run_controls(SETTINGS, tmp_path / "train.parquet", tmp_path / "model", lambda line: None)
    assert {row["problems"] for row in rows} == {2}
    write_problems(tmp_path / "train.parquet", [twice, problems[1]])
    with pytest.raises(UserError, match="2 problems with pictures, no two with as many"):
        run_controls(SETTINGS, tmp_path / "train.parquet", tmp_path / "model", lambda line: None)
