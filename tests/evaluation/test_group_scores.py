"""We-Math's score over groups of rows, against a slow reference."""

import numpy as np
import pytest

from selfdistill.errors import UserError
from selfdistill.evaluation.draws import DrawMatrix
from selfdistill.evaluation.group_scores import CATEGORIES, RULES, group_categories, grouped
from selfdistill.tasks.vision.rows import group_name


def of_groups(groups, draws, seed=0):
    """Groups of so many rows, right at random; rows in the order of their names, as draws have them."""
    rng, names, clusters = np.random.default_rng(seed), [], []
    for group, size in enumerate(groups):
        names += [f"wemath/{len(names) + i}" for i in range(size)]
        clusters += [f"g{group}"] * size
    order = sorted(range(len(names)), key=names.__getitem__)
    right = rng.random((len(names), draws)) < 0.7
    matrix = DrawMatrix(
        tuple(names[i] for i in order),
        right[order],
        rng.integers(1, 9, right.shape)[order],
        np.zeros_like(right)[order],
        tuple(clusters[i] for i in order),
    )
    return matrix, right


def reference(right, groups, rule):
    """Categories and worth of each group and draw, in loops."""
    found, first = [], 0
    for size in groups:
        for draw in range(right.shape[1]):
            *steps, composed = right[first : first + size, draw]
            if composed:
                rote = (not all(steps)) if rule == "strict" else not any(steps)
                found.append(("RM", 0.0) if rote else ("CM", 1.0))
            else:
                found.append(("IG", 0.5) if all(steps) else ("IK", 0.0))
        first += size
    return found


@pytest.mark.parametrize("rule", RULES)
def test_categories_and_score_are_those_of_loops(rule):
    groups = [3, 4, 3, 4, 3, 3, 4, 3, 3, 3, 3, 4]
    draws, right = of_groups(groups, 3)
    expected = reference(right, groups, rule)
    made = group_categories(draws, rule)
    names = [CATEGORIES[each] for group in range(len(groups)) for each in made[f"g{group}"]]
    assert names == [name for name, _ in expected]
    assert set(names) == set(CATEGORIES)
    scored = grouped(draws, rule)
    assert scored.correct.mean() == pytest.approx(np.mean([worth for _, worth in expected]))
    assert scored.n_tokens.sum() == draws.n_tokens.sum()
    assert scored.clusters == tuple(name for name in sorted({f"g{i}" for i in range(12)}) for _ in range(2))


def test_rows_without_a_group_are_refused():
    draws, _ = of_groups([3], 1)
    lone = DrawMatrix(draws.problems, draws.correct, draws.n_tokens, draws.truncated)
    with pytest.raises(UserError, match="wemath/0 belong to no group"):
        grouped(lone, "strict")


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        (2, r"number 2 have no draws \(1 of 6\)"),  # the composed question of the first group
        (0, r"group g0 \(3 rows\) has draws of 2 problems"),
        (5, r"group g1 \(3 rows\) has draws of 2 problems"),
    ],
)
def test_a_group_that_lost_a_row_is_refused(lost, said):
    draws, _ = of_groups([3, 3], 1)
    kept = [row for row, name in enumerate(draws.problems) if name != f"wemath/{lost}"]
    part = DrawMatrix(
        tuple(draws.problems[row] for row in kept),
        draws.correct[kept],
        draws.n_tokens[kept],
        draws.truncated[kept],
        tuple(group_name(draws.clusters[row], 3) for row in kept),
    )
    with pytest.raises(UserError, match=said):
        grouped(part, "strict")
