import subprocess
import sys

import numpy as np
import pytest

from selfdistill.errors import UserError
from selfdistill.tasks import arithmetic, knights
from selfdistill.tasks.exercises import EVALUATION_SHARE, exercise_kind, is_training

KINDS = {"arithmetic": 5, "knights": 3}


@pytest.mark.parametrize(("kind", "size"), KINDS.items())
def test_the_split_has_its_share(kind, size):
    rng = np.random.default_rng(0)
    exercises = {e.canonical: e for e in (exercise_kind(kind).make(rng, size) for _ in range(4000))}
    share = np.mean([not is_training(e) for e in exercises.values()])
    assert share == pytest.approx(EVALUATION_SHARE, abs=0.03)


def test_names_do_not_change_the_side_of_a_puzzle():
    rng = np.random.default_rng(0)
    for _ in range(50):
        puzzle = knights.generate(rng, 3)
        assert is_training(knights.Puzzle(("Leo", "Ivy", "Ben"), puzzle.statements)) == is_training(puzzle)


def test_the_side_does_not_depend_on_the_process():
    """Python's own hash does, by its seed."""
    code = (
        "import numpy as np; from selfdistill.tasks.exercises import *; rng = np.random.default_rng(0);"
        "print([is_training(exercise_kind('arithmetic').make(rng, 3)) for _ in range(40)])"
    )
    rng = np.random.default_rng(0)
    here = [is_training(arithmetic.generate(rng, 3)) for _ in range(40)]
    assert set(here) == {True, False}
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == str(here)


@pytest.mark.parametrize("kind", KINDS)
def test_every_size_at_the_ends_of_the_range_can_be_made(kind):
    about = exercise_kind(kind)
    smallest = about.make(np.random.default_rng(0), about.sizes.start)
    assert smallest.answer
    if kind == "arithmetic":
        assert about.make(np.random.default_rng(0), about.sizes.stop - 1).answer
    else:
        with pytest.raises(ValueError, match="people"):
            about.make(np.random.default_rng(0), about.sizes.stop)
    with pytest.raises((ValueError, IndexError)):
        about.make(np.random.default_rng(0), about.sizes.start - 1).answer  # noqa: B018


def test_an_unknown_kind_is_refused_and_the_known_ones_listed():
    with pytest.raises(UserError, match=r"'sudoku'.*arithmetic, knights"):
        exercise_kind("sudoku")
