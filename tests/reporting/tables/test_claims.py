"""Verdicts on made-up blocks: where all claims of the paper hold, where none does, and where nothing can be told."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from selfdistill.evaluation.draws import DrawMatrix
from selfdistill.evaluation.estimators import Estimate, scores_by_seed
from selfdistill.reporting.read.accuracy import Result, VariantScores
from selfdistill.reporting.read.runs import MissingRun
from selfdistill.reporting.render.csv_tables import read_csv, write_csv
from selfdistill.reporting.render.table import markdown
from selfdistill.reporting.tables import claims
from selfdistill.reporting.tables.claim_statistics import ClaimInputs, Measured
from selfdistill.reporting.tables.claims import (
    INCONCLUSIVE,
    NOT_REPRODUCED,
    NOT_RUN,
    PARTS,
    REPRODUCED,
    claims_table,
    claims_views,
    estimate_text,
    verdict,
)

ROOT = Path(__file__).parents[3]
FAMILIES = ("maths", "knights")
BENCHMARKS = {
    "near": {"distribution": "in", "counted": True},
    "far": {"distribution": "out", "counted": True},
    "extra": {"distribution": "out", "counted": False},
}
PROBLEMS, STEPS = 400, 40

#: Variant -> share of right draws in and out of distribution.
GOOD = {
    "base": (0.50, 0.30),
    "grpo": (0.60, 0.42),
    "opsd": (0.55, 0.38),
    "sdpo": (0.45, 0.25),
    "srpo": (0.45, 0.25),
    "rlsd": (0.60, 0.44),
    "rlcsd": (0.70, 0.75),
    "opsd_ectr": (0.70, 0.70),
    "rlsd_ectr": (0.70, 0.70),
    "opsd-own_rollout": (0.55, 0.38),
    "rlsd-own_rollout": (0.60, 0.44),
    "rlcsd-one_sided_solution": (0.50, 0.50),
    "rlcsd-one_sided_own_rollout": (0.50, 0.50),
}
BAD = GOOD | {
    "rlcsd": (0.48, 0.20),
    "opsd_ectr": (0.40, 0.20),
    "rlsd_ectr": (0.40, 0.20),
    "opsd-own_rollout": (0.70, 0.70),
    "rlsd-own_rollout": (0.70, 0.70),
    "rlcsd-one_sided_own_rollout": (0.70, 0.70),
}
#: Variant -> what each metric is at the end, having begun at 1; the reward, and the accuracy of validation, at 0.5.
_ENTROPY, _LENGTH, _REWARD, _VALIDATION = "actor/entropy", "response/length_mean", "reward/mean", "validation"
_COLLAPSE = {_ENTROPY: 4.0, _LENGTH: 1.6, _REWARD: 0.2, _VALIDATION: 0.3}
_FLOURISH = {_ENTROPY: 0.5, _LENGTH: 0.9, _REWARD: 0.9, _VALIDATION: 0.8}
GOOD_CURVES = {
    "opsd": _COLLAPSE,
    "sdpo": _COLLAPSE,
    "srpo": _COLLAPSE,
    "rlsd": {_LENGTH: 0.7},
    "rlcsd": {_ENTROPY: 0.96, _LENGTH: 1.05},
    "opsd_ectr": {_ENTROPY: 1.3},
    "rlsd_ectr": {_LENGTH: 0.93},
    "rlcsd-one_sided_solution": {_LENGTH: 0.6},
    "rlcsd-one_sided_own_rollout": {_LENGTH: 0.6},
}
BAD_CURVES = {
    "opsd": _FLOURISH,
    "sdpo": _FLOURISH,
    "srpo": _FLOURISH,
    "rlsd": {_LENGTH: 1.0},
    "rlcsd": {_ENTROPY: 0.6, _LENGTH: 1.5},
    "opsd_ectr": {_ENTROPY: 2.0},
    "rlsd_ectr": {_LENGTH: 0.6},
    "rlcsd-one_sided_solution": {_LENGTH: 0.95},
    "rlcsd-one_sided_own_rollout": {_LENGTH: 1.4},
}
#: Token class -> size of the one-sided and of the contrastive signal.
GOOD_TOKENS = {"style": (0.26, 0.08), "task": (0.08, 0.08), "other": (0.10, 0.05)}
BAD_TOKENS = {"style": (0.08, 0.26), "task": (0.26, 0.08), "other": (0.10, 0.05)}
#: Seeds' ends, as factors of what is wanted: close to each other, and so wide that they tell nothing.
CLOSE, WIDE = (0.99, 1.0, 1.01), (0.2, 1.0, 5.0)


def result(draws):
    scores = scores_by_seed(draws.correct, "pass@1")
    return Result(draws, scores, np.full(scores.shape, np.nan))


def group(variant, shares, seeds, problems=PROBLEMS):
    results = {}
    for name, about in BENCHMARKS.items():
        share = shares[about["distribution"] == "out"]
        # The easiest problems are the right ones, so that methods differ on as few problems as their shares allow.
        right = np.arange(problems) < round(share * problems)
        correct = np.repeat(right[None, :, None], seeds, axis=0)
        draws = DrawMatrix(
            tuple(map(str, range(problems))), correct, np.ones(correct.shape, int), np.zeros(correct.shape, bool)
        )
        results[name] = result(draws)
    return VariantScores("task", "model", variant, results)


def metrics(ends, factor):
    """One run with the ends asked for: metrics change evenly, but for the first and last tenth of its steps."""
    records = [{"step": 0}, *({"step": step} for step in range(1, STEPS + 1))]
    for key, end in ends.items():
        start = 0.5 if key in (_REWARD, _VALIDATION) else 1.0
        last = start + (end - start) * factor if key in (_REWARD, _VALIDATION) else end * factor
        for record in records[1:]:
            done = min(max((record["step"] - 4) / (STEPS - 7), 0), 1)
            value = start + (last - start) * done
            if key != _VALIDATION:
                record[key] = value
            elif record["step"] % 10 == 0:
                record["val/near/mean@4"] = value
                record["val/far/mean@4"] = 0.9  # out of distribution: not asked
    if _VALIDATION in ends:
        records[0] |= {"val/near/mean@4": 0.5, "val/far/mean@4": 0.9}
    return records


def block(
    family="maths", shares=GOOD, ends=GOOD_CURVES, sizes=GOOD_TOKENS, factors=CLOSE, seeds=3, missing=(), without=()
):
    shares = {variant: share for variant, share in shares.items() if variant not in without}
    tokens = [
        {
            "task": "task",
            "model": "model",
            "variant": "rlcsd",
            "seed": seed,
            "token_class": kind,
            "one_sided_abs_mean": one_sided * (factor if kind == "style" else 1),
            "contrast_abs_mean": contrast * (factor**2 if kind == "style" else 1),
        }
        for seed, factor in enumerate(factors[:seeds])
        for kind, (one_sided, contrast) in sizes.items()
    ]
    return ClaimInputs(
        task="task",
        model="model",
        family=family,
        settings={"metric": "pass@1", "benchmarks": BENCHMARKS},
        variants={variant: group(variant, share, seeds) for variant, share in shares.items()},
        metrics={
            v: {seed: metrics(e, f) for seed, f in enumerate(factors[:seeds])}
            for v, e in ends.items()
            if v not in without
        },
        tokens=pd.DataFrame(tokens, columns=["task", "model", "variant", "seed", "token_class", *_SIGNALS]),
        missing=missing,
    )


_SIGNALS = ("one_sided_abs_mean", "contrast_abs_mean")


def verdicts(*blocks):
    table = claims_table(blocks)
    return {(r["claim"], r["part"], r["variant"]): r["verdict"] for r in table.to_dict("records")}


def row_of(table, part):
    rows = table[(table["claim"] == part.claim) & (table["part"] == part.part) & (table["variant"] == part.variant)]
    assert len(rows) == 1
    return rows.iloc[0]


def asked(family):
    return [part for part in PARTS if not part.families or family in part.families]


def test_the_parts_cover_all_claims():
    assert list(dict.fromkeys(part.claim for part in PARTS)) == [f"C{number}" for number in range(1, 12)]


@pytest.mark.parametrize("family", FAMILIES)
def test_where_the_paper_is_right_all_is_reproduced(family):
    found = verdicts(block(family))
    assert len(found) == len(asked(family))
    assert set(found.values()) == {REPRODUCED}, found


@pytest.mark.parametrize("family", FAMILIES)
def test_where_it_is_wrong_nothing_is(family):
    found = verdicts(block(family, BAD, BAD_CURVES, BAD_TOKENS))
    assert set(found.values()) == {NOT_REPRODUCED}, found


@pytest.mark.parametrize("family", FAMILIES)
def test_wide_intervals_are_inconclusive(family):
    noisy = block(family, factors=WIDE)
    rng = np.random.default_rng(0)
    for found in noisy.variants.values():
        for name, even in found.results.items():  # forty problems, three seeds, all variants alike
            found.results[name] = result(replace(even.draws, correct=rng.random((3, 40, 1)) < 0.5))
    found = verdicts(noisy)
    assert set(found.values()) == {INCONCLUSIVE}, found


def test_one_seed_of_a_curve_is_never_enough():
    for ends, sizes in ((GOOD_CURVES, GOOD_TOKENS), (BAD_CURVES, BAD_TOKENS)):
        table = claims_table([block(ends=ends, sizes=sizes, seeds=1)])
        curves = table[table["claim"].isin([f"C{number}" for number in (4, 5, 6, 7, 8, 9, 11)])]
        assert set(curves["verdict"]) == {INCONCLUSIVE}
        assert curves["low"].isna().all()
        assert curves["estimate"].notna().all()


@pytest.mark.parametrize(("shares", "expected"), [(GOOD, REPRODUCED), (BAD, NOT_REPRODUCED)])
def test_one_seed_of_accuracy_speaks_of_its_problems_and_says_so(shares, expected):
    table = claims_table([block("knights", shares, seeds=1)])
    rows = table[table["claim"].isin(["C1", "C2", "C3", "C10"])]
    assert set(rows["verdict"]) == {expected}
    assert rows["why"].str.contains("one seed says nothing of other training runs").all()
    assert not claims_table([block("knights")])["why"].str.contains("one seed").any()


@pytest.mark.parametrize("part", PARTS, ids=lambda part: f"{part.claim}-{part.part}-{part.variant}")
def test_what_was_not_run_is_named_with_the_reason(part):
    family = part.families[0] if part.families else "knights"
    for absent in (part.variant, *part.others):
        gone = MissingRun("task", "model", absent, 0, absent, "failed", "out of memory")
        row = row_of(claims_table([block(family, missing=[gone], without=[absent])]), part)
        assert row["verdict"] == NOT_RUN
        assert f"{absent} (failed: out of memory)" in row["why"]
        assert (row["n_seeds"], row["figure"]) == (0, "")
        row = row_of(claims_table([block(family, without=[absent])]), part)
        assert f"{absent} (not in the matrix)" in row["why"]


def test_other_blocks_and_claims_stand_when_one_method_failed():
    table = claims_table([block("maths", without=["sdpo"]), block("knights")])
    maths = table[: len(table)][table["why"].str.contains("sdpo")]
    assert set(maths["claim"]) == {"C1", "C4"}
    assert set(table.drop(maths.index)["verdict"]) == {REPRODUCED}


def test_seeds_that_are_missing_are_counted():
    gone = MissingRun("task", "model", "grpo", 2, "grpo", "not finished")
    table = claims_table([block(missing=[gone])])
    row = table[(table["claim"] == "C2") & (table["part"] == "grpo")].iloc[0]
    assert row["verdict"] == REPRODUCED
    assert row["why"].endswith("grpo: 3 of 4 seeds (seed 2 not finished)")
    assert not table.loc[table["claim"] == "C5", "why"].str.contains("grpo").any()


def test_draws_without_metrics_leave_curves_not_run():
    bare = block(ends={}, sizes={})
    table = claims_table([bare])
    assert set(table.loc[table["claim"].isin(["C1", "C2", "C10"]), "verdict"]) == {REPRODUCED}
    assert set(table.loc[~table["claim"].isin(["C1", "C2", "C10"]), "verdict"]) == {NOT_RUN}
    row = table[table["claim"] == "C5"].iloc[0]
    assert row["why"] == "needs the metrics of rlsd: there are only its draws"


@pytest.mark.parametrize("rival", ["base", "grpo", "opsd", "sdpo", "srpo", "rlsd"])
def test_any_rival_can_be_ahead(rival):
    row = claims_table([block(shares=GOOD | {rival: (0.9, 0.9)})]).iloc[0]
    assert (row["claim"], row["verdict"]) == ("C1", NOT_REPRODUCED)
    assert row["estimate"] == pytest.approx(-17.5, abs=0.1)


@pytest.mark.parametrize("method", ["opsd", "rlsd", "rlcsd"])
@pytest.mark.parametrize("setting", [0, 1])
def test_contrast_is_compared_with_the_better_one_sided_setting(method, setting):
    better = claims.HINT_SETTINGS[method][setting]
    table = claims_table([block(shares=GOOD | {better: (0.9, 0.9)})])
    contrastive = claims.HINT_SETTINGS[method][2]
    rows = table[(table["claim"] == "C10") & (table["part"] == "contrast") & (table["variant"] == contrastive)]
    assert rows["verdict"].tolist() == [NOT_REPRODUCED]
    assert rows["why"].str.contains(f"the best of them is {better}").all()


def test_each_part_reads_its_own_metric():
    table = claims_table([block()])
    for word, metric in (("entropy", "actor/entropy"), ("length", "response/length_mean")):
        rows = table[(table["part"] == word) & (table["verdict"] != NOT_RUN)]
        assert len(rows) >= 4
        assert rows["statistic"].str.startswith(metric).all()
    for word, metric in (("reward", "reward/mean"), ("validation", "validation accuracy")):
        assert table.loc[table["part"] == word, "statistic"].str.startswith(metric).all()
    assert table.loc[table["claim"] == "C9", "variant"].tolist() == [
        "rlcsd-one_sided_solution",
        "rlcsd-one_sided_own_rollout",
    ]


def test_the_best_is_compared_with_every_rival_at_once():
    """One rival that is level is enough to leave the claim open."""
    level = claims_table([block(shares=GOOD | {"srpo": GOOD["rlcsd"]})]).iloc[0]
    assert (level["claim"], level["verdict"]) == ("C1", INCONCLUSIVE)
    assert "the best of them is srpo" in level["why"]


def test_the_rival_that_is_most_certainly_ahead_refutes():
    """Another is ahead by more, but of such spread that it tells nothing."""
    rows = block()
    rng = np.random.default_rng(0)
    flat = np.full((3, PROBLEMS), 0.5)
    unsure = 0.59 + np.array([[-0.12], [0.0], [0.12]]) + np.resize([0.2, -0.2], PROBLEMS)
    for variant, scores in (("rlcsd", flat), ("opsd", unsure), ("grpo", flat + 0.07 + rng.normal(0, 0.02, flat.shape))):
        for name, even in rows.variants[variant].results.items():
            rows.variants[variant].results[name] = replace(even, scores=scores)
    row = claims_table([rows]).iloc[0]
    assert (row["claim"], row["verdict"]) == ("C1", NOT_REPRODUCED)
    assert row["estimate"] == pytest.approx(-7.0, abs=0.2)
    assert row["high"] < 0
    assert "the best of them is opsd (-9.0); shown is the gap to grpo, which is the most certainly ahead" in row["why"]


def test_several_close_rivals_need_more_than_one_does():
    """Five problems of 800 ahead is enough of one rival, by Holm's correction not of five, however far the sixth is."""
    close = (0.70 - 5 / PROBLEMS, 0.75)
    assert claims_table([block(shares=GOOD | {"rlsd": close})]).iloc[0]["verdict"] == REPRODUCED
    row = claims_table([block(shares=GOOD | dict.fromkeys(claims.RIVALS[1:], close))]).iloc[0]
    assert row["low"] > 0
    assert row["verdict"] == INCONCLUSIVE
    assert "not distinguishable after Holm's correction" in row["why"]


def test_estimates_are_points_and_factors():
    table = claims_table([block("knights")])
    gain = table[(table["claim"] == "C2") & (table["part"] == "base")].iloc[0]
    assert (gain["unit"], gain["estimate"]) == ("points", pytest.approx(100 * (0.725 - 0.4), abs=1e-3))
    beyond = table[(table["claim"] == "C3") & (table["part"] == "base")].iloc[0]
    assert beyond["estimate"] == pytest.approx(100 * (0.45 - 0.20), abs=1e-3)
    entropy = table[(table["claim"] == "C4") & (table["part"] == "entropy")].iloc[0]
    assert (entropy["unit"], entropy["estimate"]) == ("factor", pytest.approx(4.0, rel=0.01))
    reward = table[(table["claim"] == "C4") & (table["part"] == "reward")].iloc[0]
    assert reward["estimate"] == pytest.approx(-30, abs=0.1)
    against = table[(table["claim"] == "C7") & (table["part"] == "contrast")].iloc[0]
    assert against["estimate"] == pytest.approx(1.3 / 4, rel=0.01)
    style = table[table["claim"] == "C11"]["estimate"].tolist()
    assert style == [pytest.approx(0.26 / 0.08, rel=0.01), pytest.approx(0.08 / 0.26, rel=0.01)]


def test_a_gain_beyond_weighs_distributions_not_benchmarks():
    """Three benchmarks out of distribution and one in it: means of both, whatever their number."""
    many = block("knights")
    settings = {"benchmarks": {"near": BENCHMARKS["near"], **{f"far{n}": BENCHMARKS["far"] for n in range(3)}}}
    groups = {}
    for variant, found in many.variants.items():
        far = found.results["far"]
        groups[variant] = VariantScores(
            "task", "model", variant, {"near": found.results["near"]} | {f"far{n}": far for n in range(3)}
        )
    wide = ClaimInputs("task", "model", "knights", settings, groups, {}, many.tokens, ())
    table = claims_table([wide])
    row = table[(table["claim"] == "C3") & (table["part"] == "base")].iloc[0]
    assert row["estimate"] == pytest.approx(100 * (0.45 - 0.20), abs=1e-3)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1.0, 2.0, REPRODUCED),
        (0.0, 2.0, INCONCLUSIVE),
        (-2.0, 1.0, INCONCLUSIVE),
        (-2.0, 0.0, NOT_REPRODUCED),
        (-2.0, -1.0, NOT_REPRODUCED),
        (3.0, 4.0, NOT_REPRODUCED),
        (2.0, 3.5, INCONCLUSIVE),
        (-1.0, 4.0, INCONCLUSIVE),
        (math.nan, math.nan, INCONCLUSIVE),
    ],
)
def test_verdicts_are_read_off_the_interval(low, high, expected):
    part = claims.Part("C0", "x", "x", "rlcsd", measure=None, above=0, below=3)
    assert verdict(part, Measured("x", "points", Estimate(1.0, low, high), 3)) == expected


@pytest.mark.parametrize(("p_value", "expected"), [(0.04, REPRODUCED), (0.06, INCONCLUSIVE), (math.nan, INCONCLUSIVE)])
def test_of_several_all_must_hold_at_once(p_value, expected):
    part = claims.Part("C0", "x", "x", "rlcsd", measure=None, above=0)
    assert verdict(part, Measured("x", "points", Estimate(1.0, 0.5, 1.5), 3, p_value=p_value)) == expected


def test_the_figure_is_the_first_that_there_is():
    figures = ["results/figures/task/benchmarks.svg", "results/figures/task/dynamics.svg"]
    table = claims_table([block()], figures)
    assert set(table.loc[table["claim"] == "C2", "figure"]) == {"figures/task/benchmarks.svg"}
    assert set(table.loc[table["claim"] == "C8", "figure"]) == {"figures/task/dynamics.svg"}
    assert set(table.loc[table["claim"] == "C11", "figure"]) == {""}
    table = claims_table([block()], [*figures, "results/figures/task/contrast.svg"])
    assert set(table.loc[table["claim"] == "C8", "figure"]) == {"figures/task/contrast.svg"}


def test_an_entropy_of_zero_has_no_ratio():
    table = claims_table([block(ends=GOOD_CURVES | {"rlcsd": {_ENTROPY: 0.0, _LENGTH: 1.0}})])
    row = table[(table["claim"] == "C6") & (table["part"] == "entropy")].iloc[0]
    assert row["verdict"] == INCONCLUSIVE
    assert row["why"] == "a mean is not positive, so there is no ratio"


def test_one_entropy_has_one_word():
    """A factor of 1.3 is what the paper calls bounded of opsd_ectr; of opsd the same curve is no explosion."""
    same = {"opsd": {**_COLLAPSE, _ENTROPY: 1.3}, "opsd_ectr": {_ENTROPY: 1.3}}
    table = claims_table([block("knights", ends=GOOD_CURVES | same)])
    found = {(r["claim"], r["part"], r["variant"]): r["verdict"] for r in table.to_dict("records")}
    assert found["C4", "entropy", "opsd"] == NOT_REPRODUCED
    assert found["C7", "bounded", "opsd_ectr"] == REPRODUCED


def test_a_curve_is_not_both_of_two_opposite_words():
    bounds = {(p.claim, p.part, p.variant): (p.above, p.below) for p in PARTS}
    assert bounds["C4", "entropy", "opsd"][0] == bounds["C7", "bounded", "opsd_ectr"][1]
    assert bounds["C4", "length", "opsd"][0] == bounds["C6", "length", "rlcsd"][1]
    assert bounds["C5", "length", "rlsd"][1] == bounds["C8", "kept", "rlsd_ectr"][0]


def test_seeds_that_are_all_alike_are_inconclusive_and_say_so():
    """Three seeds of reward 0 throughout, and of responses at the cap."""
    stuck = block()
    flat = [{"step": step, _REWARD: 0.0, _LENGTH: 512.0, "val/near/mean@4": 0.0} for step in range(1, STEPS + 1)]
    metrics = stuck.metrics | {v: dict.fromkeys(range(3), flat) for v in ("opsd", "rlcsd", "rlsd_ectr")}
    table = claims_table([replace(stuck, metrics=metrics)])
    found = {(r["claim"], r["part"], r["variant"]): r for r in table.to_dict("records")}
    for key in (("C4", "reward", "opsd"), ("C4", "validation", "opsd"), ("C4", "length", "opsd")):
        assert found[key]["verdict"] == INCONCLUSIVE
        assert found[key]["why"] == "there is no interval; all seeds are alike, which tells nothing of their spread"
    assert found["C6", "length", "rlcsd"]["verdict"] == INCONCLUSIVE
    row = found["C8", "contrast", "rlsd_ectr"]
    assert row["verdict"] == INCONCLUSIVE
    assert row["why"] == "there is no interval; all seeds of rlsd_ectr are alike, which tells nothing of their spread"


def test_claims_are_asked_where_the_paper_shows_them():
    """C5, C6, C8 and C9 of mathematics, C3 and C7 of logic."""
    of = {family: {row[0] for row in verdicts(block(family))} for family in FAMILIES}
    assert of["maths"] - of["knights"] == {"C5", "C6", "C8", "C9"}
    assert of["knights"] - of["maths"] == {"C3", "C7"}


def test_a_reward_that_rises_and_collapses_has_fallen():
    def reward(step, seed):
        return 0.52 + 0.38 * min(step / 20, 1) + 0.01 * seed if step <= 32 else 0.55 + 0.01 * seed**2

    curves = {seed: [{"step": s, _REWARD: reward(s, seed)} for s in range(1, STEPS + 1)] for seed in range(3)}
    table = claims_table([replace(block(), metrics={"opsd": curves})])
    row = table[(table["claim"] == "C4") & (table["part"] == "reward") & (table["variant"] == "opsd")].iloc[0]
    assert row["verdict"] == REPRODUCED
    assert row["estimate"] == pytest.approx(-34, abs=1.5)


def test_a_reward_that_wobbles_on_its_plateau_has_not_fallen():
    rng = np.random.default_rng(0)
    wobble = {
        seed: [{"step": s, _REWARD: min(0.5 + s / 50, 0.9) + 0.02 * rng.normal()} for s in range(1, STEPS + 1)]
        for seed in range(3)
    }
    table = claims_table([replace(block(), metrics={"opsd": wobble})])
    row = table[(table["claim"] == "C4") & (table["part"] == "reward") & (table["variant"] == "opsd")].iloc[0]
    assert row["verdict"] == NOT_REPRODUCED


def test_a_signal_that_was_not_recorded_was_not_run():
    whole = block()
    blank = replace(whole, tokens=whole.tokens.assign(contrast_abs_mean=math.nan))
    rows = claims_table([blank]).query("claim == 'C11'").set_index("part")
    assert rows["verdict"].to_dict() == {"style": REPRODUCED, "contrast": NOT_RUN}
    needed = "contrast_abs_mean and one_sided_abs_mean on style and task tokens"
    assert rows.loc["contrast", "why"] == f"needs {needed} of rlcsd: not recorded"

    tokens = whole.tokens.assign(one_sided_abs_mean=whole.tokens["one_sided_abs_mean"].where(whole.tokens["seed"] != 1))
    rows = claims_table([replace(whole, tokens=tokens)]).query("claim == 'C11'").set_index("part")
    assert set(rows["n_seeds"]) == {2}
    assert NOT_RUN not in set(rows["verdict"])
    assert rows["why"].str.contains("rlcsd without seed 1, which has not ").all()

    nothing = whole.tokens.assign(one_sided_abs_mean=0.0)
    rows = claims_table([replace(whole, tokens=nothing)]).query("claim == 'C11'").set_index("part")
    assert set(rows["why"]) == {"a mean is not positive, so there is no ratio"}


def test_a_metric_that_was_not_logged_is_named():
    table = claims_table([block(ends=GOOD_CURVES | {"rlcsd": {_LENGTH: 1.0}})])
    row = table[(table["claim"] == "C6") & (table["part"] == "entropy")].iloc[0]
    assert (row["verdict"], row["why"]) == (NOT_RUN, "needs actor/entropy of rlcsd at two steps at least")


def test_files_hold_the_table(tmp_path):
    table = claims_table([block(), block("knights", without=["opsd_ectr"])])
    write_csv(tmp_path / "claims.csv", table)
    again = read_csv(tmp_path / "claims.csv")
    assert list(again.columns) == claims.COLUMNS
    assert again["verdict"].tolist() == table["verdict"].tolist()
    text = markdown(claims_views(again), "", "")
    assert text == markdown(claims_views(table), "", "")
    assert f"| reproduced | {(table['verdict'] == REPRODUCED).sum()} |" in text
    assert "| C5 | the responses of rlsd shrink | 0.70 [0.68, 0.72] x | reproduced |" in text
    assert "* Not run: C7, with contrast the entropy of opsd rises less: needs opsd_ectr (not in the matrix)" in text


@pytest.mark.parametrize(
    ("values", "unit", "text"),
    [
        ((1.0, -2.5, 4.5), "points", "+1.0 [-2.5, +4.5] points"),
        ((1.3, 1.2, 1.4), "factor", "1.30 [1.20, 1.40] x"),
        ((1.3, math.nan, math.nan), "factor", "1.30 x"),
        ((math.nan,) * 3, "", ""),
    ],
)
def test_estimates_as_text(values, unit, text):
    assert estimate_text({"unit": unit, **dict(zip(("estimate", "low", "high"), values, strict=True))}) == text


def test_the_documentation_has_every_claim_and_bound():
    text = (ROOT / "docs/claims.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| \*\*(C\d+)\*\*", text, re.MULTILINE) == [f"C{number}" for number in range(1, 12)]
    for bound in (claims.CHANGE, claims.BOUNDED):
        assert f"factor of {bound}" in text
    for points in (claims.MARGIN, claims.LITTLE, claims.FALL):
        assert re.search(rf"\b{points:g} points?\b", text)
