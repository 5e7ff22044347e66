"""We-Math's score over groups of rows, against a slow reference."""

from dataclasses import replace

import numpy as np
import pytest

from selfdistill.errors import UserError
from selfdistill.evaluation.draws import DrawMatrix, stack_seeds
from selfdistill.evaluation.estimators import difference_variances
from selfdistill.evaluation.group_scores import CATEGORIES, RULES, group_categories, grouped
from selfdistill.evaluation.variance import draw_term
from selfdistill.reporting.read.accuracy import _scored
from selfdistill.reporting.tables.accuracy import _sizes
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
    lengths = [draws.n_tokens[[c == name for c in draws.clusters]].mean(axis=0) for name in scored.clusters[::2]]
    assert np.abs(scored.n_tokens.reshape(12, 2, 3).mean(axis=1) - lengths).max() <= 0.25
    assert scored.clusters == tuple(name for name in sorted({f"g{i}" for i in range(12)}) for _ in range(2))


def test_the_two_rows_of_a_group_vary_as_their_sum_does():
    groups = [3, 4, 3, 4, 3, 3]
    (draws, right), (others, _) = (of_groups(groups, 8, seed) for seed in (0, 1))
    worth = np.array([worth for _, worth in reference(right, groups, "strict")]).reshape(len(groups), 8)
    expected = (worth.var(axis=1, ddof=1) / 8).sum() / len(groups) ** 2  # of the mean over groups and draws
    results = [_scored(grouped(each, "strict"), "mean@8") for each in (draws, others)]
    assert draw_term([results[0].variances]).value == pytest.approx(expected)
    worths = [r.draws.correct.reshape(len(groups), 2, 8).mean(axis=1) for r in results]
    gap = (np.subtract(*worths).var(axis=1, ddof=1) / 8).sum() / len(groups) ** 2
    sides = [r.draws.correct for r in results]
    assert draw_term([difference_variances(*sides, "mean@8", results[0].together)]).value == pytest.approx(gap)
    assert draw_term([difference_variances(*sides, "mean@8")]).value != pytest.approx(gap)


def test_what_is_of_problems_each_on_its_own_is_not_said_of_groups():
    one, _ = of_groups([3, 4, 3], 1)
    stacked = stack_seeds({"a": grouped(one, "strict")})
    scored = _scored(stacked, "mean@1")
    assert scored.answers is None
    assert _sizes([scored])["n_problems"] == 3
    assert _scored(replace(stacked, clusters=stacked.problems), "mean@1").answers is not None


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
