"""interval and paired_difference against plain loops, and what they must and must not depend on."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from selfdistill.evaluation.estimators import (
    difference_variances,
    interval,
    paired_difference,
    score_variances,
    scores_by_seed,
)
from selfdistill.evaluation.variance import Term, by_cluster, total
from selfdistill.randomness import generator


def studies(seeds: int, *problems: int, key: str = "studies", low: float = 0.0, high: float = 1.0) -> list[np.ndarray]:
    """Scores with effects of seeds and of problems."""
    rng = generator(key, seeds, *problems)
    shift = 0.1 * rng.standard_normal((seeds, 1))
    return [np.clip(rng.uniform(low, high, p) + shift + 0.1 * rng.random((seeds, p)), 0, 1) for p in problems]


def mean(numbers) -> float:
    numbers = list(numbers)
    return sum(numbers) / len(numbers)


def variance(numbers) -> float:
    numbers = list(numbers)
    return sum((x - mean(numbers)) ** 2 for x in numbers) / (len(numbers) - 1)


def slow_seed_terms(benchmarks: list[np.ndarray]) -> list[tuple[float, float]]:
    """(variance, degrees of freedom) of the seeds' macro averages, then, with a minus, of what is left in each cell."""
    seeds, count = len(benchmarks[0]), len(benchmarks)
    if seeds == 1:
        return []
    macro = [mean(mean(b[s]) for b in benchmarks) for s in range(seeds)]
    terms = [(variance(macro) / seeds, seeds - 1)]
    for b in benchmarks:
        problems = b.shape[1]
        squares = 0.0
        for s in range(seeds):
            for p in range(problems):
                squares += (b[s, p] - mean(b[s]) - mean(b[:, p]) + mean(b.ravel())) ** 2
        freedom = (seeds - 1) * (problems - 1)
        terms.append((-squares / freedom / (seeds * problems) / count**2, freedom))
    return terms


Z2 = stats.norm.ppf(0.975) ** 2


def slow_softened(values: list[float], more: float, deviations: float | None = None) -> tuple[float, float]:
    """Variance of one of these and `more` others, half 0 and half 1, around the mean of all, and that mean.

    deviations: mean square of the values around what each is expected to be, where that is not their mean.
    """
    count = len(values)
    centre = (sum(values) + more / 2) / (count + more)
    if deviations is None:
        deviations = variance(values)
    squares = count * deviations + count * (mean(values) - centre) ** 2
    squares += more / 2 * (centre**2 + (1 - centre) ** 2)
    return squares / (count + more), centre


def slow_gap_variance(gaps: list[float], more: float) -> float:
    """Of the mean of these gaps."""
    count, centre = len(gaps), mean(gaps)
    moments = [sum((g - centre) ** power for g in gaps) for power in (2, 3)]
    skewness = moments[1] / moments[0] ** 1.5 if moments[0] else 0.0
    of_mean = moments[0] / (count - 1) / count * (1 + 2 * skewness**2)
    seen = min(4 * mean(abs(g - c) for g in gaps) - 3 * abs(centre - c) for c in (0, statistics.median(gaps)))
    return max(of_mean, max(more / (count + more) - seen, 0) ** 2 / more)


def slow_total(problem_terms: list, sides: list[list[np.ndarray]], trained: bool = True) -> tuple[float, float]:
    """Variance and degrees of freedom of a macro average, problems sampled."""
    terms, seed_terms = list(problem_terms), [term for side in sides for term in slow_seed_terms(side)]
    seeds = sorted(len(side[0]) for side in sides)
    if trained and len(sides) == 2 and seeds[0] == 1 < seeds[1]:
        seed_terms = [(value + seeds[1] * value, df) for value, df in seed_terms]
    if sum(value for value, _ in seed_terms) > 0:
        terms += seed_terms
    total = sum(value for value, _ in terms)
    freedom = total**2 / sum(value**2 / df for value, df in terms)
    return total, max(freedom, min(df for value, df in terms if value > 0))


def slow_wilson(value: float, error: float, quantile: float, around: float) -> tuple[float, float]:
    """The bounds of { m: |value - m| <= quantile * error * sqrt(m (1 - m) / (a (1 - a))) } with a = around."""

    def outside(m: float) -> bool:
        return abs(value - m) > quantile * error * math.sqrt(m * (1 - m) / (around * (1 - around)))

    bounds = []
    for edge in (0.0, 1.0):
        out, within = edge, value
        for _ in range(60):
            middle = (out + within) / 2
            out, within = (middle, within) if outside(middle) else (out, middle)
        bounds.append(within)
    return bounds[0], bounds[1]


SHAPES = [(1, (12,)), (2, (12,)), (3, (8, 5)), (5, (6, 9, 4)), (3, (40, 2))]


@pytest.mark.parametrize(("seeds", "problems"), SHAPES)
@pytest.mark.parametrize("level", [0.95, 0.8])
def test_interval_equals_plain_loops(seeds, problems, level):
    scores = studies(seeds, *problems)
    count = len(scores)
    softened = [slow_softened([mean(b[:, p]) for p in range(b.shape[1])], Z2 / count) for b in scores]
    parts = [(v / b.shape[1] / count**2, b.shape[1] - 1) for (v, _), b in zip(softened, scores, strict=True)]
    total, freedom = slow_total(parts, [scores])
    value, around = mean(mean(b.ravel()) for b in scores), mean(centre for _, centre in softened)
    estimate = interval(scores, level=level)
    assert estimate.value == pytest.approx(value)
    low, high = slow_wilson(value, math.sqrt(total), stats.t.ppf((1 + level) / 2, freedom), around)
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=1e-9)


@pytest.mark.parametrize(("seeds", "problems"), SHAPES)
@pytest.mark.parametrize(("other_seeds", "trained"), [(1, True), (1, False), (3, True)])
def test_paired_difference_equals_plain_loops(seeds, problems, other_seeds, trained):
    ours, theirs = studies(seeds, *problems, key="ours"), studies(other_seeds, *problems, key="theirs")
    gaps = [[mean(a[:, p]) - mean(b[:, p]) for p in range(a.shape[1])] for a, b in zip(ours, theirs, strict=True)]
    more = Z2 / len(gaps)
    parts = [(slow_gap_variance(row, more) / len(gaps) ** 2, len(row) - 1) for row in gaps]
    total, freedom = slow_total(parts, [ours, theirs], trained)
    value, error = mean(mean(row) for row in gaps), math.sqrt(total)
    found = paired_difference(ours, theirs, trained=(True, trained))
    half = stats.t.ppf(0.975, freedom) * error
    assert (found.value, found.low, found.high) == pytest.approx((value, max(value - half, -1), min(value + half, 1)))
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(value) / error, freedom))


def unseen(scores: list[np.ndarray], draws: int) -> float:
    """What is added to the variance of a macro average on fixed problems."""
    parts = [slow_softened([b.mean()] * (b.size * draws), Z2 / len(scores), 0.0)[0] / b.size / draws for b in scores]
    return sum(parts) / len(scores) ** 2


def around(scores: list[np.ndarray], draws: int) -> float:
    return mean(slow_softened([b.mean()] * (b.size * draws), Z2 / len(scores), 0.0)[1] for b in scores)


def test_on_fixed_problems_one_seed_varies_as_the_other_sides_do():
    ours, theirs = studies(3, 20, key="ours"), studies(1, 20, key="theirs")
    between = variance(mean(ours[0][s]) for s in range(3)) / 3 + unseen(ours, 8)
    for sides in ((ours, theirs), (theirs, ours)):
        found = paired_difference(*sides, problems="fixed", draws=8)
        half = stats.t.ppf(0.975, 2) * math.sqrt(4 * between)
        assert (found.low, found.high) == pytest.approx((max(found.value - half, -1), min(found.value + half, 1)))
    base = paired_difference(ours, theirs, problems="fixed", trained=(True, False), draws=8)
    assert math.isnan(base.low)  # what its draws vary by was not said
    drawn = [np.full((1, 20), 0.004)]
    base = paired_difference(ours, theirs, problems="fixed", trained=(True, False), variances=(None, drawn), draws=8)
    total = between + 0.004 / 20 + unseen(theirs, 8)
    half = stats.t.ppf(0.975, total**2 / (between**2 / 2)) * math.sqrt(total)
    assert base.high - base.low == pytest.approx(2 * half)


def test_problems_fixed_is_the_t_interval_of_the_seeds():
    """Welch's, but for the little that draws that were not seen add."""
    ours, theirs = studies(4, 9, 7, key="ours", high=0.8), studies(3, 9, 7, key="theirs")
    macro = [[mean(mean(b[s]) for b in side) for s in range(len(side[0]))] for side in (ours, theirs)]
    estimate = interval(ours, problems="fixed", draws=12)
    error = math.sqrt(variance(macro[0]) / 4 + unseen(ours, 12))
    low, high = slow_wilson(mean(macro[0]), error, stats.t.ppf(0.975, 3), around(ours, 12))
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=1e-9)
    welch = stats.ttest_ind(*macro, equal_var=False)
    found = paired_difference(ours, theirs, problems="fixed", draws=10**6)
    assert found.p_value == pytest.approx(welch.pvalue, abs=1e-6)
    assert (found.low, found.high) == pytest.approx(tuple(welch.confidence_interval(0.95)), abs=1e-6)


def test_one_seed_on_fixed_problems_speaks_of_draws():
    correct = [generator("one seed", p).random((1, p, 12)) < 0.6 for p in (20, 10)]
    scores, variances = ([of(c, "mean@12") for c in correct] for of in (scores_by_seed, score_variances))
    total = sum(sum(s * (1 - s) / 11 for s in b[0]) / b.shape[1] ** 2 for b in scores) / 4
    estimate = interval(scores, problems="fixed", variances=variances, draws=12)
    error = math.sqrt(total + unseen(scores, 12))
    low, high = slow_wilson(estimate.value, error, stats.norm.ppf(0.975), around(scores, 12))
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=1e-6)
    other = [s[:, ::-1] for s in scores], [v[:, ::-1] for v in variances]
    found = paired_difference(scores, other[0], problems="fixed", variances=(variances, other[1]), draws=12)
    assert found.high - found.low == pytest.approx(2 * stats.norm.ppf(0.975) * math.sqrt(2) * error)
    turned = [c[:, :, ::-1] for c in correct]  # other draws of the same chances
    for second, pairs in ((correct, 0.0), (turned, None)):
        of_difference = [difference_variances(a, b, "mean@12") for a, b in zip(correct, second, strict=True)]
        pairs = sum(v.sum() / v.size**2 for v in of_difference) / 4 if pairs is None else pairs
        found = paired_difference(scores, scores, problems="fixed", of_difference=of_difference, draws=12)
        half = stats.norm.ppf(0.975) * math.sqrt(pairs + 2 * unseen(scores, 12))
        assert found.high - found.low == pytest.approx(2 * half)


def test_where_nothing_can_be_said_the_bounds_are_nan():
    one_draw, fixed = np.array([[1.0, 0, 1]]), {"problems": "fixed", "draws": 1}
    for estimate in (
        interval([one_draw], **fixed),
        interval([one_draw], variances=[score_variances(np.array([[1], [0], [1]]), "pass@1")], **fixed),
        interval([np.array([0.5])]),
        paired_difference([one_draw], [studies(3, 3)[0]], trained=(False, True), **fixed),
        paired_difference([np.array([0.5])], [np.array([0.25])]),
    ):
        assert math.isnan(estimate.low)
        assert math.isnan(estimate.high)
        assert not math.isnan(estimate.value)
    assert math.isnan(paired_difference([np.array([0.5])], [np.array([0.25])]).p_value)


score_arrays = st.tuples(st.integers(1, 3), st.integers(2, 6)).flatmap(
    lambda shape: st.lists(
        st.lists(st.integers(0, 4).map(lambda c: c / 4), min_size=shape[1], max_size=shape[1]),
        min_size=shape[0],
        max_size=shape[0],
    ).map(np.array)
)


@settings(max_examples=100, deadline=None)
@given(score_arrays, st.sampled_from(["sampled", "fixed"]))
def test_interval_holds_the_value_and_lies_in_range(scores, problems):
    estimate = interval([scores, scores[:, :2]], problems=problems, draws=4)
    if problems == "fixed" and len(scores) == 1:
        assert math.isnan(estimate.low)
        return
    assert -1e-9 <= estimate.low <= estimate.value + 1e-9
    assert estimate.value - 1e-9 <= estimate.high <= 1 + 1e-9
    assert estimate.high - estimate.low > 1e-3  # nothing is certain after six problems


def test_a_vector_is_one_seed():
    scores = studies(1, 9)[0]
    assert interval([scores]) == interval([scores[0]])
    assert paired_difference([scores], [1 - scores]) == paired_difference([scores[0]], [1 - scores[0]])


def test_seeds_weigh_the_same_and_their_order_does_not_matter():
    scores = studies(4, 10, 6)
    turned = [b[::-1] for b in scores]
    first, second = interval(scores), interval(turned)
    assert (first.low, first.high) == pytest.approx((second.low, second.high))
    # Turning one benchmark alone breaks runs apart: what a seed does to both is no longer seen.
    apart = [scores[0], scores[1][::-1]]
    assert interval(apart).high - interval(apart).low != pytest.approx(first.high - first.low)


def test_interval_is_wider_for_draws_that_agree_within_a_problem():
    rng = generator("clusters")
    split = np.repeat(rng.random((50, 1)) < 0.5, 12, axis=1)  # every problem all right or all wrong
    mixed = rng.permutation(split.ravel()).reshape(split.shape)
    clustered, spread = interval([split.mean(axis=1)]), interval([mixed.mean(axis=1)])
    assert clustered.value == pytest.approx(spread.value)
    assert clustered.high - clustered.low > 2 * (spread.high - spread.low)


def test_seeds_that_differ_widen_the_interval_and_seeds_that_agree_do_not_narrow_it():
    problems = np.linspace(0.2, 0.8, 40)
    alike = interval([np.stack([problems] * 3)])
    unlike = interval([np.stack([problems - 0.1, problems, problems + 0.1])])
    assert unlike.high - unlike.low > 1.5 * (alike.high - alike.low)
    assert (alike.low, alike.high) == pytest.approx((interval([problems]).low, interval([problems]).high))


def test_seeds_that_agree_by_chance_are_no_certainty():
    """Two seeds, one draw a problem, equally many right: on fixed problems a plain t-interval has no width at all."""
    scores = [np.array([[1.0] * 70 + [0] * 30, [0] * 30 + [1.0] * 70])]
    estimate = interval(scores, problems="fixed", draws=1)
    expected = slow_wilson(0.7, math.sqrt(unseen(scores, 1)), stats.t.ppf(0.975, 1), around(scores, 1))
    assert (estimate.low, estimate.high) == pytest.approx(expected)
    assert estimate.high - estimate.low > 0.1


def test_seeds_that_agree_better_than_chance_take_nothing_away():
    """Each seed right where the other is wrong: the seeds' averages agree, and the problems' variance stays whole."""
    problems = np.linspace(0.2, 0.8, 40)
    turned = np.where(np.arange(40) % 2, 0.1, -0.1)
    both = interval([np.stack([problems + turned, problems - turned])])
    alone = interval([problems])
    assert (both.low, both.high) == pytest.approx((alone.low, alone.high))


def test_a_sum_is_never_surer_than_its_least_certain_term_allows():
    assert total([Term(2.0, 4), Term(1.0, 10)]) == Term(3.0, pytest.approx(9 / (1 + 0.1)))
    assert total([Term(1.0, 1), Term(-0.5, 2)]) == Term(0.5, 1)  # Satterthwaite's own would be 0.22
    assert total([Term(1.0, 1), Term(-1.0, 2), Term(0.1, 30)]).freedom == 1
    assert total([]).freedom == math.inf


def wilson_at(count: int, quantile: float) -> float:
    """Wilson's lower bound for `count` of `count`."""
    return count / (count + quantile**2)


def test_no_variation_is_not_certainty():
    """All right: Wilson's interval of as many problems, or draws where the problems are fixed."""
    perfect = interval([np.ones(100)])
    assert (perfect.value, perfect.high) == (1, 1)
    assert perfect.low == pytest.approx(wilson_at(100, stats.t.ppf(0.975, 99)))
    assert interval([np.zeros(100)]).high == pytest.approx(1 - perfect.low)
    pooled = interval([np.ones(50), np.ones(50)])
    assert pooled.low == pytest.approx(wilson_at(100, stats.t.ppf(0.975, 98)))
    variances = [np.zeros((1, 100))]
    one_seed = interval([np.ones(100)], problems="fixed", variances=variances, draws=12)
    assert one_seed.low == pytest.approx(wilson_at(1200, stats.norm.ppf(0.975)))
    assert one_seed.low == pytest.approx(stats.binomtest(1200, 1200).proportion_ci(method="wilson").low)
    three = interval([np.ones((3, 100))], problems="fixed", draws=12)
    assert three.low == pytest.approx(wilson_at(3600, stats.t.ppf(0.975, 2)))
    tied = paired_difference([np.ones(100)], [np.ones(100)])
    assert (tied.low, tied.p_value) == (pytest.approx(-tied.high), 1)
    assert tied.high == pytest.approx(stats.t.ppf(0.975, 99) * math.sqrt(Z2) / (100 + Z2))


@pytest.mark.parametrize("problems", [5, 30, 100])
@pytest.mark.parametrize("draws", [1, 12])
@pytest.mark.parametrize("order", ["problem by problem", "one of each", "at random"])
def test_one_more_wrong_answer_does_not_raise_the_lower_bound(problems, draws, order):
    """Of a run that is right throughout, until a tenth of its answers are wrong; and mirrored, of one that is wrong."""
    places = np.arange(problems * draws).reshape(problems, draws)
    places = {"problem by problem": places, "one of each": places.T}.get(order, places).ravel()
    if order == "at random":
        places = generator("wrong", problems, draws).permutation(places)
    right, other, before = np.ones(problems * draws), np.ones(problems), [2.0] * 3
    for place in [None, *places[: math.ceil(len(places) / 10)]]:
        if place is not None:
            right[place] = 0
        correct = right.reshape(problems, draws)
        variances = [score_variances(correct, f"mean@{draws}")]
        found = [interval([correct.mean(axis=1)]), paired_difference([correct.mean(axis=1)], [other])]
        if draws > 1:
            found.append(interval([correct.mean(axis=1)], problems="fixed", variances=variances, draws=draws))
        lows = [estimate.low for estimate in found]
        slack = [1e-12, 0.5 / problems / draws, 1e-12]  # of a difference: half a draw
        assert all(low <= last + more for low, last, more in zip(lows, before, slack, strict=False))
        before = lows
    mirrored = interval([1 - correct.mean(axis=1)])
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - found[0].high, 1 - found[0].low))


def test_a_benchmark_without_variance_keeps_its_guard_in_an_average():
    varied = [generator("guard", place).random(100) for place in range(2)]
    gaps = [paired_difference([*varied, np.ones(n)], [*(1 - v for v in varied), np.ones(n)]) for n in (20, 100, 10_000)]
    widths = [gap.high - gap.low for gap in gaps]
    assert widths[0] > widths[1] > widths[2]
    levels = [interval([*varied, np.ones(n)]) for n in (20, 100, 10_000)]
    widths = [level.high - level.low for level in levels]
    assert widths[0] > widths[1] > widths[2]


@pytest.mark.parametrize(("first", "second"), [(0.52, 0.5), (1.0, 1.0), (0.02, 0.0)])
def test_the_p_value_without_variation_agrees_with_the_interval(first, second):
    """Where the interval of some level just reaches 0, that level is 1 - p."""
    sides = [np.full(100, first)], [np.full(100, second)]
    found = paired_difference(*sides)
    assert 0 < found.p_value <= 1
    at_its_level = paired_difference(*sides, level=1 - found.p_value)
    assert at_its_level.low == pytest.approx(0, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=10))
def test_paired_difference_changes_sign_with_its_order(pairs):
    first, second = np.array(pairs).T
    ahead, behind = paired_difference([first], [second]), paired_difference([second], [first])
    assert ahead.value == pytest.approx(first.mean() - second.mean())
    assert (ahead.value, ahead.low, ahead.high) == pytest.approx((-behind.value, -behind.high, -behind.low))
    assert ahead.p_value == pytest.approx(behind.p_value)


def test_the_p_value_is_small_exactly_where_the_interval_leaves_zero_out():
    for gap in np.linspace(-0.1, 0.1, 41):
        first = studies(3, 30, key="p", low=0.3, high=0.6)[0]
        found = paired_difference([first], [np.clip(studies(2, 30, key="p", low=0.3, high=0.6)[0] + gap, 0, 1)])
        assert (found.p_value < 0.05) == (found.low > 0 or found.high < 0)


def test_variants_of_one_problem_are_drawn_together():
    """Three alike variants of each problem tell no more than one; the variance is that of clusters' sums, by hand."""
    alone, other = studies(1, 30)[0], studies(1, 30, key="other")[0]
    thrice, theirs = (np.repeat(scores, 3, axis=1) for scores in (alone, other))
    names = [np.repeat(np.arange(30), 3)]
    for once, together in (
        (interval([alone]), interval([thrice], clusters=names)),
        (paired_difference([alone], [other]), paired_difference([thrice], [theirs], clusters=names)),
    ):
        assert (once.low, once.high) == pytest.approx((together.low, together.high))
    assert paired_difference([thrice], [theirs]).high < together.high
    values, groups = studies(1, 7)[0][0], [[0, 4], [1], [2, 3, 6], [5]]
    numbers = np.array([next(g for g, members in enumerate(groups) if p in members) for p in range(7)])
    centre = mean(values)
    robust = 4 / 3 * sum(sum(values[p] - centre for p in members) ** 2 for members in groups) / 7**2
    units = by_cluster(values, numbers)
    assert units.mean() == pytest.approx(centre)
    assert variance(units) / 4 == pytest.approx(robust)
    assert by_cluster(values, None) is values
    assert interval([values], clusters=[None]) == interval([values])


def test_pairing_removes_what_problems_share():
    rng = generator("pairs")
    base = rng.random(80)
    better = np.clip(base + 0.05 + 0.02 * rng.standard_normal(80), 0, 1)
    paired = paired_difference([better], [base])
    assert paired.low > 0
    alone = interval([better])
    assert paired.high - paired.low < 0.2 * (alone.high - alone.low)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_difference([np.ones(3)], [np.ones(4)])
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_difference([np.ones(3)], [np.ones(3), np.ones(3)])
    for bad in ([], [np.ones((2, 2, 2))], [np.array([])]):
        with pytest.raises(ValueError, match="list of benchmarks"):
            interval(bad)
    for bad in (50.0, -0.1, math.nan):
        with pytest.raises(ValueError, match="between 0 and 1"):
            interval([np.array([0.5, bad])])
    with pytest.raises(ValueError, match="same seeds"):
        interval([np.ones((2, 3)), np.ones((3, 3))])
    with pytest.raises(ValueError, match="problems is 'some': expected one of sampled, fixed"):
        interval([np.ones(3)], problems="some")
    with pytest.raises(ValueError, match="problems is 'some'"):
        paired_difference([np.ones(3)], [np.ones(3)], problems="some")
    with pytest.raises(ValueError, match="shapes of the scores"):
        interval([np.ones(3)], problems="fixed", variances=[np.ones(4)], draws=2)
    with pytest.raises(ValueError, match="needs the number of draws"):
        interval([np.ones((2, 3))], problems="fixed")
