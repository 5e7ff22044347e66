"""From runs to claims.csv, and from its rows to one verdict a claim."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_up_blocks import SIGNALS, block, missing, result

from selfdistill.evaluation.draws import Draw, write_draws
from selfdistill.reporting.claims import verdicts
from selfdistill.reporting.claims.inputs import NotRunError, gather
from selfdistill.reporting.claims.predicates import ENTROPY, LENGTH, REWARD
from selfdistill.reporting.claims.rlcsd import RIVALS
from selfdistill.reporting.claims.table import COLUMNS, claims_table, claims_views, estimate_text, summaries
from selfdistill.reporting.claims.verdicts import (
    FAILS,
    HALF_SEEN,
    HOLDS,
    INCONCLUSIVE,
    MIXED,
    NOT_REPRODUCED,
    NOT_RUN,
    OPEN,
    PREMISE,
    REPRODUCED,
    SEEN,
    UNINFORMATIVE,
    UNSEEN,
    corrected,
    of_claim,
    would_decide,
)
from selfdistill.reporting.read.accuracy import gather_scores
from selfdistill.reporting.read.runs import RunFiles
from selfdistill.reporting.render.csv_tables import read_csv, write_csv
from selfdistill.reporting.render.table import markdown

FAILING = {ENTROPY: (1, 4), LENGTH: (1, 1.6), REWARD: (0.6, 0.2), "val/near/mean@4": (0.6, 0.3)}
SHARES = {
    **dict.fromkeys(("base", "grpo", "opsd", "sdpo", "srpo", "rlsd"), (0.5, 0.3)),
    **dict.fromkeys(("opsd-own_rollout", "rlsd-own_rollout"), (0.505, 0.305)),
    "rlcsd-one_sided_solution": (0.45, 0.45),
    "rlcsd-one_sided_own_rollout": (0.455, 0.445),
    **dict.fromkeys(("rlcsd", "opsd_ectr", "rlsd_ectr", "rlcsd-lr5e6"), (0.7, 0.75)),
}
RIGHT = {
    "grpo": {},
    **dict.fromkeys(("opsd", "sdpo", "srpo"), FAILING),
    "rlsd": {LENGTH: (1, 0.7)},
    "rlcsd": {ENTROPY: (1, 0.96), LENGTH: (1, 1.05)},
    "opsd_ectr": {ENTROPY: (1, 1.3)},
    "rlsd_ectr": {LENGTH: (1, 0.93)},
    "rlcsd-one_sided_solution": {LENGTH: (1, 0.6)},
    "rlcsd-one_sided_own_rollout": {LENGTH: (1, 0.6)},
}
SIZES = {"style": (0.26, 0.08), "task": (0.08, 0.08), "other": (0.1, 0.05)}


def right(family, **changed):
    return block(family, **{"shares": SHARES, "curves": RIGHT, "sizes": SIZES, **changed})


@pytest.fixture(scope="module")
def both():
    return claims_table([right("maths"), right("knights")], ["results/figures/task/dynamics.svg"])


def test_where_the_first_version_is_right_its_claims_hold(both):
    found = {each["name"]: each for each in summaries(both)}
    of_v1 = [f"C{n}" for n in range(1, 12)] + ["C1-lr", "C3-lr"]
    assert {name: found[name]["verdict"] for name in of_v1} == dict.fromkeys(of_v1, HOLDS)
    # The second version tells the failures of the same methods the other way round.
    assert found["C4-v2"]["verdict"] == MIXED
    assert found["C5"]["published"].keys() == {"v1", "v2"}
    # Nothing of its own rlcsd is in the matrix; grpo at the high rate neither.
    assert {found[name]["verdict"] for name in ("C1-v2", "C6-v2", "C12", "C12-v2")} == {NOT_RUN}
    assert found["C2-lr"]["verdict"] == OPEN
    assert "the runs that are missing would decide it" in found["C2-lr"]["why"]
    assert both["verdict"].isin(verdicts.VERDICTS).all()


def test_where_it_is_wrong_they_fail():
    calm = {variant: {} for variant in RIGHT} | {
        "rlcsd": FAILING,
        "opsd_ectr": FAILING,
        "opsd": {ENTROPY: (1, 2)},
        "rlsd": {LENGTH: (1, 0.7)},
        "rlsd_ectr": {LENGTH: (1, 0.6)},
    }
    worst = SHARES | dict.fromkeys(("rlcsd", "opsd_ectr", "rlsd_ectr"), (0.3, 0.05))
    worst |= dict.fromkeys(("rlsd-own_rollout", "opsd-own_rollout", "rlcsd-one_sided_own_rollout"), (0.6, 0.6))
    small = {"style": (0.08, 0.26), "task": (0.26, 0.08)}
    table = claims_table([right(family, shares=worst, curves=calm, sizes=small) for family in ("maths", "knights")])
    found = {each["name"]: each["verdict"] for each in summaries(table)}
    for name in ("C1", "C2", "C3", "C6", "C7", "C8", "C9", "C10", "C11"):
        assert found[name] == FAILS, name


def test_a_claim_says_what_is_its_own(both):
    rows = both[both["claim"] == "C1"].to_dict("records")
    assert [row["unit"] for row in rows] == ["points"] * 2
    assert rows[0]["estimate"] == pytest.approx(100 * (0.725 - 0.4), abs=0.1)
    assert rows[0]["of_kind"] == REPRODUCED
    assert rows[0]["low_kind"] < rows[0]["low"] <= rows[0]["high"] < rows[0]["high_kind"]
    beyond = both[(both["claim"] == "C3") & (both["part"] == "base")].iloc[0]
    assert beyond["estimate"] == pytest.approx(100 * (0.45 - 0.20), abs=1e-3)
    entropy = both[(both["claim"] == "C4") & (both["part"] == "entropy")].iloc[0]
    assert (entropy["unit"], entropy["inside"]) == ("factor", "3 of 3")
    assert entropy["estimate"] == pytest.approx(4.0, rel=0.02)
    assert entropy["figure"] == "figures/task/dynamics.svg"
    assert not both.loc[both["claim"] == "C1", "figure"].any()


def test_any_rival_ahead_refutes_and_is_named():
    for rival in ("base", "srpo"):
        row = claims_table([right("maths", shares=SHARES | {rival: (0.9, 0.9)})]).iloc[0]
        assert (row["claim"], row["verdict"]) == ("C1", NOT_REPRODUCED)
        assert row["estimate"] == pytest.approx(-17.5, abs=0.1)
        assert f"the best of them is {rival}" in row["why"]


def test_of_several_rivals_each_is_beaten_at_its_own_level():
    """Six close rivals: all intervals lie above 0, so the claim stands; a correction would leave it open."""
    rng = np.random.default_rng(1)
    rows = right("maths", draws=8)
    for name in ("rlcsd", *RIVALS):
        share = 0.7 if name == "rlcsd" else 0.67
        for benchmark in rows.variants[name].results:
            rows.variants[name].results[benchmark] = result(rng.random((5, 400, 8)) < share)
    row = claims_table([rows]).iloc[0]
    assert row["low"] > 0
    assert row["verdict"] == REPRODUCED


@pytest.mark.parametrize(
    ("given", "held", "verdict"),
    [
        ([REPRODUCED, REPRODUCED], [True, False], HOLDS),  # all must hold: each at its own level
        ([REPRODUCED, PREMISE], [True, True], HOLDS),
        ([REPRODUCED, NOT_RUN], [True, True], OPEN),
        ([REPRODUCED, INCONCLUSIVE], [True, True], OPEN),
        ([REPRODUCED, UNINFORMATIVE], [True, True], OPEN),
        ([REPRODUCED, NOT_REPRODUCED], [True, True], MIXED),
        ([REPRODUCED, NOT_REPRODUCED], [False, True], FAILS),
        ([REPRODUCED, NOT_REPRODUCED], [True, False], OPEN),
        ([NOT_REPRODUCED, INCONCLUSIVE, NOT_RUN], [True] * 3, FAILS),
        ([SEEN, SEEN], [True, True], SEEN),
        ([SEEN, UNSEEN], [True, True], HALF_SEEN),
        ([SEEN, INCONCLUSIVE], [True, True], OPEN),
        ([SEEN, NOT_RUN], [True, True], OPEN),
        ([REPRODUCED, SEEN], [True, True], OPEN),
        ([UNSEEN, PREMISE], [True, True], UNSEEN),
        ([PREMISE, NOT_RUN], [True, True], PREMISE),
        ([NOT_RUN], [True], NOT_RUN),
        ([], [], NOT_RUN),
    ],
)
def test_one_verdict_a_claim(given, held, verdict):
    assert of_claim(given, held) == verdict


def test_a_part_is_corrected_by_all_others_of_its_claim():
    assert corrected([REPRODUCED, INCONCLUSIVE], [0.012, math.nan]) == [True, True]
    assert corrected([REPRODUCED, INCONCLUSIVE, INCONCLUSIVE], [0.012, math.nan, math.nan]) == [False, True, True]
    assert corrected([REPRODUCED, NOT_RUN, PREMISE], [0.012, math.nan, math.nan]) == [True, True, True]
    # Each side apart, step by step: 3 x 0.008, then 2 x 0.012.
    assert corrected([NOT_REPRODUCED, NOT_REPRODUCED, REPRODUCED], [0.008, 0.012, 0.012]) == [True, True, False]
    assert corrected([NOT_REPRODUCED, INCONCLUSIVE], [math.nan, math.nan]) == [True, True]  # a collapse, not a test


def test_what_an_open_claim_waits_for():
    def row(verdict, needs=math.nan):
        return {"verdict": verdict, "needs": needs}

    assert would_decide([row(INCONCLUSIVE, 5.0), row(SEEN, 3.0), row(REPRODUCED)]) == "3 to 5 seeds would decide it"
    assert "1 of its 2 open parts, none the others" in would_decide(
        [row(INCONCLUSIVE, 5.0), row(INCONCLUSIVE, math.inf)]
    )
    assert would_decide([row(INCONCLUSIVE, math.inf)]) == "no number of seeds would decide it"
    assert would_decide([row(REPRODUCED), row(NOT_RUN)]) == "the runs that are missing would decide it"
    assert would_decide([row(UNINFORMATIVE)]) == ""


def test_a_missing_seed_is_counted_and_a_missing_variant_named():
    lost = [missing("sdpo", 3, "failed", "out of memory"), missing("rlsd", 0, "failed", "loss is nan")]
    shares = {variant: share for variant, share in SHARES.items() if variant != "rlsd"}
    curves = {variant: curve for variant, curve in RIGHT.items() if variant != "rlsd"}
    table = claims_table([right("maths", shares=shares, curves=curves, missing=lost)])
    rows = {(row["claim"], row["part"], row["variant"]): row for row in table.to_dict("records")}
    assert rows["C5", "length", "rlsd"]["why"] == "needs rlsd (failed: loss is nan)"
    assert (rows["C5", "length", "rlsd"]["n_seeds"], rows["C5", "length", "rlsd"]["figure"]) == (0, "")
    assert rows["C8", "kept", "rlsd_ectr"]["verdict"] == NOT_RUN
    assert rows["C1", "average", "rlcsd"]["why"] == "needs rlsd (failed: loss is nan)"
    assert rows["C4", "length", "sdpo"]["why"].endswith("sdpo: 3 of 4 seeds (seed 3 failed: out of memory)")


def test_files_hold_the_table(both, tmp_path):
    write_csv(tmp_path / "claims.csv", both)
    again = read_csv(tmp_path / "claims.csv")
    assert list(again.columns) == COLUMNS
    text = markdown(claims_views(again), "", "")
    assert text == markdown(claims_views(both), "", "")
    published = "v1: 8.8k to 7.2k by step 480 (4B); v2: shrinks on maths (8B)"
    assert f"| C5 rlsd: responses shrink | {published} | task: rlsd length 0.70 [" in text
    assert "| C5 | the responses of rlsd shrink | 0.70 [" in text
    assert "* Not run: C2-lr, rlcsd-lr5e6 scores higher than grpo-lr5e6: needs grpo-lr5e6 (not in the matrix)" in text


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
    row = {"unit": unit, "low_kind": math.nan, **dict(zip(("estimate", "low", "high"), values, strict=True))}
    assert estimate_text(row) == text


def test_signals_that_were_not_recorded_were_not_run():
    whole = right("maths")
    tokens = whole.tokens.assign(contrast_abs_mean=math.nan)
    tokens["one_sided_abs_mean"] = tokens["one_sided_abs_mean"].where(tokens["seed"] != 1)
    table = claims_table([replace(whole, tokens=tokens.assign(tokens=23))])
    rows = table[table["claim"] == "C11"].set_index("part").to_dict("index")
    assert rows["style"]["n_seeds"] == 2
    assert "rlcsd without seed 1, which has not one_sided_abs_mean on style and task tokens" in rows["style"]["why"]
    assert "it rests on 69 style tokens" in rows["style"]["why"]
    assert rows["contrast"]["why"].startswith("needs contrast_abs_mean and one_sided_abs_mean on style and task tokens")


TASKS = {
    "chains": {"metric": "pass@1", "benchmarks": {"short": {"distribution": "in"}, "long": {"distribution": "out"}}}
}


def test_runs_are_gathered_from_their_files(tmp_path):
    runs = []
    for variant, seed in (("base", 0), ("opsd", 0), ("opsd", 1)):
        folder = tmp_path / variant / str(seed)
        folder.mkdir(parents=True)
        draws = {name: folder / f"{name}.parquet" for name in TASKS["chains"]["benchmarks"]}
        for name, path in draws.items():
            write_draws(path, [Draw(f"{name}/{p}", 0, "", 9, "stop", None, p % 2 > 0) for p in range(8)])
        lines = [{"step": step, ENTROPY: None if step == 3 else 0.3, "val/short/pass@1": 0.5} for step in range(1, 21)]
        metrics = None if variant == "base" else folder / "metrics.jsonl"
        if metrics:
            metrics.write_text("\n".join(map(json.dumps, lines)) + "\n")
        runs.append(RunFiles("chains", "tiny", variant, seed, variant, draws, metrics=metrics))
    row = {"task": "chains", "variant": "opsd", "seed": 0, "token_class": "style", **dict.fromkeys(SIGNALS, 1)}
    tokens = pd.DataFrame([row | {"model": model} for model in ("tiny", "large")])
    lost = replace(missing("rlcsd", 0), task="chains", model="tiny")
    (found,) = gather(gather_scores(runs, TASKS), runs, TASKS, {"chains": "knights"}, [lost], tokens, {"chains": 30})
    assert (found.task, found.model, found.family, found.steps) == ("chains", "tiny", "knights", 30)
    assert found.planned == {"base", "opsd", "rlcsd"}
    assert len(found.tokens) == 1
    traces = found.traces("opsd", ENTROPY)
    assert {seed: (len(trace.curve), trace.blank, trace.steps) for seed, trace in traces.items()} == {
        0: (19, (3,), 20),
        1: (19, (3,), 20),
    }
    assert len(found.traces("opsd", "validation accuracy")[0].curve) == 20
    with pytest.raises(NotRunError, match=r"needs the metrics of base: there are only its draws"):
        found.traces("base", ENTROPY)
    with pytest.raises(NotRunError, match=r"needs rlcsd \(failed\), grpo \(not in the matrix\)"):
        found.need("rlcsd", "opsd", "grpo")
