"""How rows are shared out to ranks."""

import pytest

verl = pytest.importorskip("verl")

from selfdistill.training.verl.ranks import shared_out

pytestmark = pytest.mark.verl

LENGTHS = [100, 7, 35, 64, 12, 90, 41, 5, 33, 80, 17]


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("count", [1, 2, 7, 11])
def test_every_row_is_there_once_and_the_rest_are_repetitions_of_the_shortest(ranks, count):
    lengths = LENGTHS[:count]
    order, real = shared_out(lengths, ranks)
    assert len(order) == len(real) == -(-count // ranks) * ranks
    assert sorted(row for row, is_real in zip(order, real, strict=True) if is_real) == list(range(count))
    assert {lengths[row] for row, is_real in zip(order, real, strict=True) if not is_real} <= {min(lengths)}


def test_ranks_get_about_equal_work():
    lengths = [
        1000,
        10,
        900,
        20,
        800,
        30,
        700,
        40,
    ]  # in this order one of two ranks would get nearly all at four a rank
    order, _ = shared_out(sorted(lengths), 2)
    ordered = sorted(lengths)
    halves = [sum(ordered[row] for row in order[part : part + 4]) for part in (0, 4)]
    assert max(halves) < 1.2 * min(halves)
