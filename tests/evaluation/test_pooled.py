"""Comparisons over blocks against loops, scipy and enumeration."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from scipy import stats

from selfdistill.evaluation.estimators import paired_difference
from selfdistill.evaluation.pooled import Block, improvement, pooled_difference, rank_intervals
from selfdistill.randomness import generator


def scores(key: str, seeds: int, *problems: int, ease: float = 0.0) -> list[np.ndarray]:
    rng = generator("pooled", key)
    shift = 0.1 * rng.standard_normal((seeds, 1))
    return [
        np.clip(ease + shift + rng.uniform(0.1, 0.7, (1, p)) + rng.uniform(0, 0.2, (seeds, p)), 0, 1) for p in problems
    ]


@pytest.mark.parametrize(("seeds", "others", "trained"), [(1, 1, True), (3, 2, True), (3, 1, True), (3, 1, False)])
def test_of_one_block_it_is_the_paired_difference(seeds, others, trained):
    ours, theirs = scores("ours", seeds, 9, 12), scores("theirs", others, 9, 12)
    expected = paired_difference(ours, theirs, trained=(True, trained))
    found = pooled_difference([Block("", ours, theirs, (True, trained))])
    assert dataclasses.astuple(found) == pytest.approx(dataclasses.astuple(expected))


def test_equal_blocks_on_the_same_problems_tell_no_more_than_one_and_on_others_they_do():
    """A model that answers as another does adds nothing; the same gaps on other problems halve the variance."""
    ours, theirs = scores("a", 1, 200), scores("b", 1, 200)
    alone = pooled_difference([Block("p", ours, theirs)])
    twice = pooled_difference([Block("p", ours, theirs)] * 2)
    assert (twice.value, twice.low, twice.high) == pytest.approx((alone.value, alone.low, alone.high))
    apart = pooled_difference([Block(name, ours, theirs) for name in "pq"])
    assert apart.value == pytest.approx(alone.value)
    assert (apart.high - apart.low) / (alone.high - alone.low) == pytest.approx(math.sqrt(0.5), rel=0.01)


def test_runs_of_two_blocks_are_other_runs():
    """With gaps that do not vary between problems, the seeds' variance of the mean of two blocks is half of one's."""
    rng = generator("runs of blocks")
    ours, theirs = ([rng.normal(0.5, 0.1, (4, 1)) + np.linspace(-0.1, 0.1, 20_000)] for _ in range(2))
    widths = []
    for count in (1, 2):
        found = pooled_difference([Block("p", ours, theirs)] * count)
        quantile = stats.t.ppf(0.975, 6 * count)  # roughly
        widths.append((found.high - found.low) / quantile)
    assert widths[0] / widths[1] == pytest.approx(math.sqrt(2), rel=0.1)


def test_pooled_intervals_hold_the_truth():
    covered, studies = 0, 300
    for number in range(studies):
        rng = generator("pooled studies", number)
        blocks = []
        for task in range(2):
            shared = rng.normal(0, 0.2, 60)  # what a problem does for the first method, with every model
            for _ in range(2):
                sides = []
                for sign in (1, -1):
                    move = 0.02 * rng.standard_normal((3, 1))
                    sides.append([np.clip(0.5 + sign * shared / 2 + move + rng.normal(0, 0.1, (3, 60)), 0, 1)])
                blocks.append(Block(str(task), *sides))
        found = pooled_difference(blocks)
        covered += found.low <= 0 <= found.high
    assert covered / studies == pytest.approx(0.95, abs=0.035)


@pytest.mark.parametrize(("seeds", "others"), [(1, 1), (4, 3), (5, 1)])
def test_improvement_counts_pairs_of_runs(seeds, others):
    """Mann and Whitney's U over the number of pairs, as scipy has it, and by counting."""
    ours, theirs = scores("x", seeds, 20, 20, ease=0.05), scores("y", others, 20, 20)
    found = improvement([Block("", ours, theirs, (True, others > 1))])
    shares, counted = [], []
    for a, b in zip(ours, theirs, strict=True):
        runs = a.mean(axis=1), b.mean(axis=1)
        shares.append(stats.mannwhitneyu(*runs).statistic / seeds / others)
        counted.append(np.mean([(x > y) + (x == y) / 2 for x, y in itertools.product(*runs)]))
    assert found.value == pytest.approx(np.mean(shares)) == pytest.approx(np.mean(counted))
    assert math.isnan(found.low) == (seeds == 1)
    if seeds > 1:
        assert 0 <= found.low <= found.value <= found.high <= 1
    assert improvement([Block("", ours, ours)]).value == 0.5


def test_improvement_covers_the_chance_that_a_run_is_better():
    covered, studies, gap = 0, 300, 0.5
    truth = stats.norm.cdf(gap / math.sqrt(2))
    for number in range(studies):
        rng = generator("improvement", number)
        blocks = [
            Block(str(b), [0.5 + 0.02 * rng.normal(gap, 1, (5, 1))], [0.5 + 0.02 * rng.normal(0, 1, (5, 1))])
            for b in range(3)
        ]
        found = improvement(blocks)
        covered += found.low <= truth <= found.high
    assert covered / studies >= 0.93


def test_ranks_lie_between_those_told_better_and_those_told_worse():
    apart = np.zeros((4, 4), dtype=bool)
    apart[0, 3] = apart[3, 0] = apart[1, 3] = apart[3, 1] = True
    assert rank_intervals([0.9, 0.8, 0.7, 0.5], apart) == [(1, 1, 3), (2, 1, 3), (3, 1, 4), (4, 3, 4)]
    assert rank_intervals([0.5, 0.5], np.zeros((2, 2), dtype=bool)) == [(1, 1, 2), (1, 1, 2)]
