import math

import numpy as np
import pytest
from scipy import stats

from selfdistill.evaluation.estimators import paired_difference
from selfdistill.evaluation.power import (
    Design,
    Variances,
    detectable,
    estimate,
    needed,
    pooled_seed_variance,
    seed_variance,
)
from selfdistill.randomness import generator

GIVEN = Variances(problem=(0.02, 0.03), run=(0.01, 0.0), draw=(0.16, 0.2), seed=0.0004)
DESIGN = Design(benchmarks=(60, 30), draws=12, seeds=3)


def simulated(key, problems, seeds, draws, *, gap=0.0, problem=0.0, run=0.0, seed=0.0):
    """Draws of two methods around chances of 1/2: normal effects, small enough to stay within 0 and 1."""
    rng = generator("power", *key)
    shared = rng.uniform(0.4, 0.6, problems)
    own = math.sqrt(problem) * rng.standard_normal(problems)
    found = []
    for sign in (1, -1):
        chances = shared + sign * (gap + own) / 2 + math.sqrt(seed / 2) * rng.standard_normal((seeds, 1))
        chances = chances + math.sqrt(run / 2) * rng.standard_normal((seeds, problems))
        assert chances.min() > 0
        assert chances.max() < 1
        found.append(rng.random((seeds, problems, draws)) < chances[:, :, None])
    return found


def test_variances_are_found_again():
    first, second = simulated((0,), 4000, 12, 8, problem=0.004, run=0.003, seed=0.0004)
    found = estimate([first], [second], "mean@8")
    assert found.problem[0] == pytest.approx(0.004, rel=0.15)
    assert found.run[0] == pytest.approx(0.003, rel=0.15)
    assert found.draw[0] == pytest.approx(2 * 0.25, rel=0.05)
    seeds = [
        estimate(*([side] for side in simulated((1, i), 300, 4, 8, seed=0.0004)), "mean@8").seed for i in range(60)
    ]
    assert np.mean(seeds) == pytest.approx(0.0004, rel=0.3)


def test_draws_that_share_their_random_numbers_are_taken_in_pairs():
    """Two methods with equal chances whose draws of equal number agree: neither gaps nor draws vary."""
    rng = generator("shared")
    chances, numbers = rng.uniform(0.2, 0.8, (3, 2000, 1)), rng.random((3, 2000, 8))
    first, second = numbers < chances, numbers < chances + 0.1
    found = estimate([first], [second], "mean@8")
    between = 0.1 * 0.9  # of one draw, one method is right and the other wrong in a tenth
    assert found.draw[0] == pytest.approx(between, rel=0.05)
    assert found.run[0] + found.problem[0] == pytest.approx(0, abs=0.002)
    apart = estimate([first], [second[:2]], "mean@8")  # unlike numbers of seeds: both sides added up
    assert apart.draw[0] > 4 * found.draw[0]


def test_what_one_seed_cannot_tell_apart_is_kept_together():
    first, second = simulated((2,), 8000, 1, 32, problem=0.004, run=0.003)
    found = estimate([first], [second], "mean@32")
    assert found.problem[0] == pytest.approx(0.007, rel=0.15)
    assert found.run == (0.0,)
    assert math.isnan(found.seed)
    by_one_draw = estimate([first[:, :, :1]], [second[:, :, :1]], "pass@1")
    assert by_one_draw.draw[0] == pytest.approx(0.4 * 2 * 0.25, rel=0.05)  # what the protocol says of draws


def test_the_detectable_difference_by_hand():
    """Two methods of three seeds: 2 x 2 degrees of freedom between seeds, 4 (P - 1) of what is left."""
    sampled, fixed = [], []
    for problem, run, draw, size in zip(GIVEN.problem, GIVEN.run, GIVEN.draw, DESIGN.benchmarks, strict=True):
        by_chance = (run + draw / 12) / 3
        sampled.append((problem + by_chance) / size / 4)
        fixed.append(by_chance / size / 4)
    seed = GIVEN.seed / 3
    error = sum(sampled) + seed
    uncertain = sampled[0] ** 2 / 59 + sampled[1] ** 2 / 29 + fixed[0] ** 2 / (4 * 59) + fixed[1] ** 2 / (4 * 29)
    freedom = error**2 / (uncertain + (seed + sum(fixed)) ** 2 / 4)
    by_hand = (stats.t.ppf(0.975, freedom) + stats.t.ppf(0.8, freedom)) * math.sqrt(error)
    assert detectable(GIVEN, DESIGN) == pytest.approx(by_hand)
    by_hand = (stats.t.ppf(0.975, 4) + stats.t.ppf(0.8, 4)) * math.sqrt(sum(fixed) + seed)
    assert detectable(GIVEN, DESIGN, problems="fixed") == pytest.approx(by_hand)
    by_hand = (stats.t.ppf(0.95, 4) + stats.t.ppf(0.9, 4)) * math.sqrt(sum(fixed) + seed)
    assert detectable(GIVEN, DESIGN, problems="fixed", level=0.9, power=0.9) == pytest.approx(by_hand)


def test_one_seed_leaves_the_seeds_out_and_more_need_them_known():
    one, two = Design((60, 30), 12, 1), Design((60, 30), 12, 2)
    unknown = Variances(GIVEN.problem, GIVEN.run, GIVEN.draw, math.nan)
    for problems in ("sampled", "fixed"):
        assert detectable(unknown, one, problems=problems) == detectable(GIVEN, one, problems=problems)
        assert math.isnan(detectable(unknown, two, problems=problems))
        assert needed(0.05, unknown, one, problems=problems).seeds == math.inf


def test_draws_that_are_all_alike_tell_nothing_of_other_draws_and_little_of_other_problems():
    """All answers right: on these problems nothing is known; on others what problems not seen may differ by is."""
    alike = [np.ones((1, 50, 4), dtype=int)]
    variances, design = estimate(alike, alike, "mean@4"), Design((50,), draws=4, seeds=1)
    assert math.isnan(detectable(variances, design, problems="fixed"))
    assert needed(0.01, variances, design, problems="fixed").seeds == math.inf
    error = paired_difference([np.ones(50)], [np.ones(50)]).high / stats.t.ppf(0.975, 49)
    expected = (stats.t.ppf(0.975, 49) + stats.t.ppf(0.8, 49)) * error
    assert detectable(variances, design) == pytest.approx(expected)


def test_one_draw_of_one_seed_sees_nothing_on_fixed_problems():
    """There is no interval, as `paired_difference` says; on other problems, with draws or seeds, there is one."""
    assert math.isnan(detectable(GIVEN, Design((60, 30), 1, 1), problems="fixed"))
    for design, problems in (((1, 1), "sampled"), ((2, 1), "fixed"), ((1, 2), "fixed")):
        assert detectable(GIVEN, Design((60, 30), *design), problems=problems) > 0
    assert needed(0.2, GIVEN, Design((60, 30), 1, 1), problems="fixed").seeds == 2


@pytest.mark.parametrize("seeds", [1, 3])
def test_one_problem_says_nothing_of_others(seeds):
    design = Design((60, 1), 12, seeds)
    assert math.isnan(detectable(GIVEN, design))
    assert needed(0.2, GIVEN, design).seeds == math.inf


def test_spreads_of_seeds_are_pooled_by_their_degrees_of_freedom():
    rng = generator("pooled")
    methods = [[rng.random((seeds, 9)), rng.random((seeds, 4))] for seeds in (2, 4, 1)]
    alone = [pooled_seed_variance([method]) for method in methods]
    assert [term.freedom for term in alone] == [1, 3, 0]
    assert math.isnan(alone[2].value)
    pooled = pooled_seed_variance(methods)
    assert pooled.freedom == 4
    assert pooled.value == pytest.approx((alone[0].value + 3 * alone[1].value) / 4)
    agreeing = [np.array([[1.0, 0], [0, 1]])]
    assert pooled_seed_variance([agreeing]).value < 0
    assert seed_variance(agreeing) == 0


@pytest.mark.parametrize("problems", ["sampled", "fixed"])
@pytest.mark.parametrize("difference", [0.03, 0.05, 0.08, 0.2])
def test_needed_is_the_first_that_is_enough(problems, difference):
    found = needed(difference, GIVEN, DESIGN, problems=problems)

    def seen(times, seeds):
        design = Design(tuple(times * size for size in DESIGN.benchmarks), DESIGN.draws, seeds)
        return detectable(GIVEN, design, problems=problems) <= difference

    assert found.seeds == min((seeds for seeds in range(2, 200) if seen(1, seeds)), default=math.inf)
    if problems == "fixed":
        assert math.isnan(found.problems)
        return
    assert found.problems == 90 * min((times for times in range(1, 100) if seen(times, 3)), default=math.inf)


def test_what_more_seeds_or_problems_do_not_answer():
    found = needed(0.01, GIVEN, DESIGN)
    assert found.seeds == math.inf  # other problems stay unlike
    assert found.problems == math.inf  # and so do runs
    assert needed(0.01, GIVEN, DESIGN, problems="fixed").seeds < math.inf
    one = Design(DESIGN.benchmarks, DESIGN.draws, seeds=1)
    assert math.isnan(needed(0.05, GIVEN, one).problems)  # no number of problems speaks of other runs
    assert needed(0.05, GIVEN, one).seeds == needed(0.05, GIVEN, DESIGN).seeds


@pytest.mark.parametrize(("problems", "seeds"), [("sampled", 1), ("sampled", 4), ("fixed", 4)])
def test_four_of_five_studies_see_the_detectable_difference(problems, seeds):
    parts = {"problem": 0.004, "run": 0.002, "seed": 0.0002}
    variances = Variances((parts["problem"],), (parts["run"],), (2 * 0.25,), parts["seed"])
    if seeds == 1:  # the interval of one seed speaks of its runs, whose own chances belong to the problems
        variances = Variances((parts["problem"] + parts["run"],), (0.0,), (2 * 0.25,), math.nan)
        parts["seed"] = 0.0
    gap = detectable(variances, Design((80,), 8, seeds), problems=problems)
    seen, studies = 0, 300
    for study in range(studies):
        if problems == "fixed":
            parts["problem"] = 0.0
        first, second = simulated((3, problems, seeds, study), 80, seeds, 8, gap=gap, **parts)
        found = paired_difference([first.mean(axis=2)], [second.mean(axis=2)], problems=problems, draws=8)
        seen += found.p_value < 0.05
    assert seen / studies == pytest.approx(0.8, abs=0.09)


def test_another_word_for_problems_is_refused():
    with pytest.raises(ValueError, match="problems is 'some'"):
        detectable(GIVEN, DESIGN, problems="some")
