"""What a response to a walk has read and what it boxes (benchmarks/cell_readings.py), on responses made by hand."""

import csv
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from selfdistill.evaluation.draws import Draw, write_draws
from selfdistill.tasks.cells import Grid, Walk
from selfdistill.tasks.pictures import Picture
from selfdistill.tasks.schema import Problem, write_problems

ROOT = Path(__file__).parents[1]
GRID = Grid((("red", "green", "blue"), ("white", "yellow", "red"), ("black", "blue", "green")))


@pytest.fixture(scope="module")
def readings():
    folder = str(ROOT / "benchmarks")
    sys.path.append(folder)
    yield importlib.import_module("cell_readings")
    sys.path.remove(folder)


WALK = Walk(GRID, (0, 0), ("down", "right"))  # ends at row 2, column 2: yellow
RIGHT = WALK.worked() + r"\boxed{yellow}"
#: Response -> right, way, row, against, unread.
RESPONSES = {
    RIGHT: (1, 1, 1, 0, 0),
    RIGHT.replace("{yellow}", "{red}"): (0, 1, 1, 1, 0),  # the hint's colour in the box, against its eyes
    RIGHT.replace("{yellow}", "{green}"): (0, 1, 1, 1, 1),  # of no cell that was read
    RIGHT.replace("2 yellow", "2 red"): (1, 1, 0, 1, 1),  # misread, and right all the same
    RIGHT.replace("2 yellow", "2 red").replace("{yellow}", "{red}"): (0, 1, 0, 0, 0),  # misread, and true to itself
    RIGHT.replace("(2, 2)", "(2, 1)").replace("{yellow}", "{white}"): (0, 0, 1, 0, 0),  # a wrong way, read as it is
    r"(1, 1) -> (2, 1) -> (2, 2)" + "\n" + r"\boxed{yellow}": (1, 1, 0, 1, 1),  # no row
    r"\boxed{yellow}": (1, 0, 0, 1, 1),  # an answer at once
    RIGHT.replace("row 2", "row 9"): (1, 1, 0, 1, 0),
    WALK.worked(): (0, 1, 1, 1, 1),  # no box
    "": (0, 0, 0, 1, 1),
}


@pytest.mark.parametrize("response", RESPONSES)
def test_a_response_is_taken_apart(readings, response):
    right = r"\boxed{yellow}" in response
    assert tuple(readings.shares(response, GRID.rows, (2, 2), right)) == RESPONSES[response]


def test_a_picture_gives_its_colours_again(readings):
    assert tuple(map(tuple, readings.grid_of(Picture.of(GRID.png())))) == GRID.rows


def test_shares_of_variants_stand_beside_the_base_models(readings, tmp_path, monkeypatch):
    problems = [
        Problem(
            f"{walk}/{i}",
            walk,
            WALK.text(),
            "yellow",
            WALK.worked(),
            "vision",
            i,
            "val",
            images=(Picture.of(GRID.png()),),
        )
        for walk in readings.WALKS
        for i in range(6)
    ]
    write_problems(tmp_path / "val.parquet", problems)
    said = {"base": [RIGHT] * 12, "opsd": [*RESPONSES, ""]}
    for variant, texts in said.items():
        for walk in readings.WALKS:
            draws = [
                Draw(f"{walk}/{n // 2}", n % 2, text, 9, "stop", "yellow", bool(RESPONSES[text][0]))
                for n, text in enumerate(texts)
            ]
            write_draws(tmp_path / "draws" / variant / "seed0" / f"{walk}.parquet", draws)
    monkeypatch.setattr(readings, "OUTPUT", tmp_path / "out.csv")
    readings.main(["--draws", str(tmp_path / "draws"), "--problems", str(tmp_path / "val.parquet")])
    with (tmp_path / "out.csv").open() as file:
        found = {(row["variant"], row["share"]): row for row in csv.DictReader(file)}
    by_hand = dict(zip(readings.SHARES, 100 * np.mean([*RESPONSES.values(), RESPONSES[""]], axis=0), strict=True))
    for name, percent in by_hand.items():
        assert float(found["opsd", name]["percent"]) == pytest.approx(percent)
        at_base = 0 if name in ("against", "unread") else 100
        assert float(found["base", name]["percent"]) == at_base
        assert float(found["opsd", name]["minus_base"]) == pytest.approx(percent - at_base)
        assert found["base", name]["minus_base"] == ""
