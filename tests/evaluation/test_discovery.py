"""discovery@k against enumeration, its intervals, and the files that it is computed from."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from selfdistill.errors import UserError
from selfdistill.evaluation.attempts import Attempt, read_attempts, write_attempts
from selfdistill.evaluation.discovery import (
    Curve,
    attempt_grid,
    discovery,
    discovery_interval,
    first_passes,
    needed_attempts,
    needed_ratio,
    pass_at,
)

ONE = Attempt("q/0", 1, 1, "r", "stop", "f", False, None, 10, 5)


def rows(*marks):
    """Attempts at questions: a text each, of . (fails), x (passes), X (passes and holds)."""
    return pd.DataFrame(
        vars(
            replace(
                ONE,
                question=f"q/{q}",
                attempt=i + 1,
                correct=mark in "xX",
                held_back=None if mark == "." else mark == "X",
            )
        )
        for q, text in enumerate(marks)
        for i, mark in enumerate(text)
    )


@pytest.mark.parametrize(("n", "c"), [(5, 0), (5, 1), (5, 3), (5, 5), (7, 2)])
def test_the_closed_form_is_the_share_of_all_subsets_that_hold_a_pass(n, c):
    draws = [1] * c + [0] * (n - c)
    for k in range(1, n + 1):
        subsets = list(itertools.combinations(draws, k))
        assert pass_at([c], n, k)[0] == pytest.approx(sum(map(max, subsets)) / len(subsets), abs=1e-12)


def test_thousands_of_draws_are_as_exact_as_whole_numbers():
    for n, c, k in ((2944, 3, 1000), (2944, 40, 64), (2944, 2900, 64), (1472, 0, 1472)):
        exact = 1 - math.comb(n - c, k) / math.comb(n, k)
        assert pass_at([c], n, k)[0] == pytest.approx(exact, abs=1e-10)
    assert pass_at([0, 0], 16, 16).tolist() == pass_at([0, 0], 2944, 1000).tolist() == [0, 0]
    for passes, draws, k, words in (
        (1, 5, 6, "pass@6 needs 6 draws or more"),
        (1, 5, 0, "k is 1 or more"),
        (6, 5, 2, "6 to 6 pass"),
        (-1, 5, 2, "-1 to -1 pass"),
        (math.nan, 5, 2, "nan to nan pass"),
        (1, math.nan, 2, "there are nan"),
    ):
        with pytest.raises(ValueError, match=words):
            pass_at([passes], draws, k)


def test_the_closed_form_is_what_sampling_gives_in_the_mean():
    rng, n = np.random.default_rng(0), 40
    draws = rng.random((6, n)) < np.array([0.0, 0.02, 0.1, 0.3, 0.6, 1.0])[:, None]
    grid = [1, 2, 4, 8, 16]
    closed = Curve.of_draws(draws.sum(axis=1), n, grid)
    orders = np.stack([rng.permutation(n) for _ in range(4000)])
    first = np.where(draws.any(axis=1), draws[:, orders].argmax(axis=2).T + 1.0, np.inf)
    sampled = Curve.of_searches(first, grid)
    error = np.sqrt(0.25 / 4000)
    assert np.abs(closed.scores.mean(axis=1) - sampled.scores.mean(axis=1)).max() < 5 * error


def test_a_pool_of_its_own_gives_what_searches_give_however_small_and_a_large_one_gives_it_closely():
    """Questions as rare as the toy's; those that failed draws of their own choose them, as study.discovery has it."""
    rng, k, seeds = np.random.default_rng(1), 320, 3
    rates = np.repeat([0.0004, 0.0015, 0.003, 0.006, 0.02], 400)
    hard = rates[rng.binomial(192, rates) <= 1]
    truth = 1 - (1 - hard) ** k
    first = rng.geometric(hard, size=(seeds, len(hard))).astype(float)
    searched = Curve.of_searches(first, [k]).scores.mean()
    assert abs(searched - truth.mean()) < 4 * np.sqrt((truth * (1 - truth)).sum() / seeds) / len(hard)
    spread = {}
    for pool in (448, 4096):
        closed = Curve.of_draws(rng.binomial(pool, hard), pool, [k]).scores[0, 0]
        error = closed - truth
        spread[pool] = error.std()
        assert abs(error.mean()) < 4 * error.std() / np.sqrt(len(hard))
    assert spread[448] > 0.25
    assert spread[4096] < 0.12


def test_a_first_pass_counts_held_back_only_where_it_holds():
    attempts = rows("..x.", "X", "....", ".xX")
    questions = ["q/0", "q/1", "q/2", "q/3", "q/4"]
    assert first_passes(attempts, questions).tolist() == [3, 1, np.inf, 2, np.inf]
    assert first_passes(attempts, questions, held_back=True).tolist() == [np.inf, 1, np.inf, np.inf, np.inf]


def test_discovery_is_the_share_of_first_passes_within_k():
    first = np.array([[1, 3, np.inf], [2, 5, 9]])
    for k in range(1, 11):
        assert discovery(first, k).mean() == sum(t <= k for t in (1, 3, np.inf, 2, 5, 9)) / 6
    found = discovery_interval(discovery(first, 3))
    assert 0 <= found.low < found.value < found.high <= 1


def test_attempts_needed_are_read_off_the_mean():
    first = np.array([[1.0, 4, 16, np.inf]] * 2)
    curve = Curve.of_searches(first, attempt_grid(64))
    assert [curve.needed(level) for level in (0.25, 0.5, 0.75, 1.0)] == [1, 4, 16, np.inf]
    found = needed_attempts(curve, 0.5)
    assert found.low <= found.value == 4 <= found.high


def test_a_ratio_is_taken_on_the_same_questions():
    first = np.array([[2.0, 4, 8, 16, 32]] * 3)
    grid = [2**i for i in range(10)]
    slow, fast = Curve.of_searches(4 * first, grid), Curve.of_searches(first, grid)
    found = needed_ratio(fast, slow, 0.6)
    assert (found.low, found.value, found.high) == (4, 4, 4)
    never = Curve.of_searches(np.full((3, 5), np.inf), grid)
    assert needed_ratio(fast, never, 0.6).value == np.inf
    assert math.isnan(needed_ratio(never, never, 0.6).value)
    with pytest.raises(ValueError, match="curves of 5 and 4 questions"):
        needed_ratio(fast, Curve.of_searches(first[:, :4], grid), 0.6)


def test_a_grid_has_its_ends_and_all_powers_of_two():
    grid = attempt_grid(2750)
    assert grid == sorted(set(grid))
    assert {2**i for i in range(12)} | {2750} <= set(grid)


def test_attempts_are_read_back_and_spoilt_files_are_named(tmp_path):
    file = tmp_path / "a.parquet"
    kept = [
        ONE,
        replace(ONE, attempt=2, correct=True, held_back=False),
        replace(ONE, attempt=3, correct=True, held_back=True),
    ]
    write_attempts(file, kept)
    frame = read_attempts(file)
    assert [None if value is None else bool(value) for value in frame["held_back"]] == [None, False, True]
    assert frame["attempt"].tolist() == [1, 2, 3]
    write_attempts(file, [])
    assert read_attempts(file).empty
    write_attempts(file, [ONE, ONE])
    with pytest.raises(UserError, match=r"a\.parquet: attempt 1 is there twice"):
        read_attempts(file)
    file.write_text("no")
    with pytest.raises(UserError, match=r"a\.parquet: cannot be read as a parquet file of attempts"):
        read_attempts(file)
