"""From files to verdicts: a whole matrix, and one of which a method failed, one was not run, and one lacks a seed."""

import json
import math
from dataclasses import replace

import pandas as pd
import pytest

from selfdistill.evaluation.draws import Draw, write_draws
from selfdistill.randomness import generator
from selfdistill.reporting.read.accuracy import gather_scores
from selfdistill.reporting.read.runs import MissingRun, RunFiles
from selfdistill.reporting.tables.claim_statistics import NotRunError, change, change_against, fall, gather
from selfdistill.reporting.tables.claims import INCONCLUSIVE, NOT_RUN, PARTS, claims_table

TASKS = {
    "chains": {
        "metric": "pass@1",
        "benchmarks": {"short": {"distribution": "in"}, "long": {"distribution": "out", "counted": True}},
    }
}
GRADERS = {"chains": "knights"}
VARIANTS = ("base", "grpo", "opsd", "sdpo", "srpo", "rlsd", "rlcsd")
SEEDS = (0, 1, 2)
TOKENS = pd.DataFrame(
    [
        {"task": task, "model": model, "variant": "rlcsd", "seed": seed, "token_class": kind}
        | {"tokens": 9, "one_sided_abs_mean": 0.1 + place + 0.01 * seed, "contrast_abs_mean": 0.1}
        for task, model in (("chains", "tiny"), ("chains", "other"), ("puzzles", "tiny"))
        for seed in SEEDS
        for place, kind in enumerate(("task", "style"))
    ]
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return [_write(root, variant, seed) for variant in VARIANTS for seed in SEEDS]


def _write(root, variant, seed):
    folder = root / variant / f"seed{seed}"
    folder.mkdir(parents=True)
    rng = generator("run", variant, seed)
    draws = {benchmark: folder / f"{benchmark}.parquet" for benchmark in TASKS["chains"]["benchmarks"]}
    for benchmark, path in draws.items():
        share = 0.9 if variant == "rlcsd" else 0.4
        right = (rng.random(50) < share).tolist()
        write_draws(path, [Draw(f"{benchmark}/{p}", 0, "", 9, "stop", None, r) for p, r in enumerate(right)])
    if variant == "base":
        return RunFiles("chains", "tiny", variant, seed, variant, draws)
    growth = 3.0 if variant in ("opsd", "sdpo", "srpo") else 1.0
    lines = []
    for step in range(1, 21):
        factor = growth ** (step / 20) * (1 + 0.02 * rng.normal())
        record = {"step": step, "actor/entropy": 0.3 * factor, "response/length_mean": 50 * factor}
        lines.append(json.dumps(record | {"reward/mean": 0.9 / factor, "val/short/pass@1": 0.9 / factor}))
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return RunFiles("chains", "tiny", variant, seed, variant, draws, metrics=folder / "metrics.jsonl")


def missing(variant, seed, status, why="", model="tiny"):
    return MissingRun("chains", model, variant, seed, variant, status, why)


def gathered(runs, *others, **more):
    return gather(gather_scores(runs, TASKS), runs, *others, **more)


def judged(runs, lost=()):
    """(claim, part, variant) -> row."""
    table = claims_table(gathered(runs, TASKS, GRADERS, lost, TOKENS))
    return {(row["claim"], row["part"], row["variant"]): row for row in table.to_dict("records")}


def test_everything_that_was_run_is_gathered(runs):
    (block,) = gathered(runs, TASKS, GRADERS, tokens=TOKENS)
    assert (block.task, block.model, block.family) == ("chains", "tiny", "knights")
    assert list(block.variants) == list(VARIANTS)
    assert {group.seeds for group in block.variants.values()} == {3}
    assert {variant: tuple(found) for variant, found in block.metrics.items()} == dict.fromkeys(VARIANTS[1:], SEEDS)
    assert len(block.tokens) == 2 * len(SEEDS)
    assert {seed: len(curve) for seed, curve in block.curves("opsd", "actor/entropy").items()} == {0: 20, 1: 20, 2: 20}
    with pytest.raises(NotRunError, match=r"needs the metrics of base: there are only its draws"):
        block.curves("base", "actor/entropy")


def test_one_point_is_no_curve(runs):
    (block,) = gathered(runs, TASKS, GRADERS)
    short = replace(block, metrics={"opsd": {0: [{"step": 1, "actor/entropy": 0.3}]}})
    with pytest.raises(NotRunError, match="needs actor/entropy of opsd at two steps at least"):
        short.curves("opsd", "actor/entropy")


def test_seeds_without_a_metric_are_named_and_the_others_judged(runs):
    (block,) = gathered(runs, TASKS, GRADERS)
    bare = [{"step": line["step"]} for line in block.metrics["opsd"][1]]
    part = replace(block, metrics=block.metrics | {"opsd": block.metrics["opsd"] | {1: bare}})
    assert list(part.curves("opsd", "actor/entropy")) == [0, 2]
    for measured in (
        change(part, "opsd", "actor/entropy"),
        fall(part, "opsd", "reward/mean"),
        change_against(part, "opsd", "sdpo", "actor/entropy"),
        change_against(part, "sdpo", "opsd", "actor/entropy"),
    ):
        assert measured.seeds == 2
        assert not math.isnan(measured.estimate.low)
        assert measured.note.startswith("opsd without seed 1, which has not ")
        assert measured.note.endswith(" at two steps")
    assert fall(block, "opsd", "reward/mean").note == ""


def test_the_best_tenth_of_one_seed_is_its_own_and_that_is_said(runs):
    (block,) = gathered([run for run in runs if run.seed == 0], TASKS, GRADERS)
    measured = fall(block, "opsd", "reward/mean")
    assert measured.note == "the best tenth of one seed is its own, which exaggerates a fall"
    assert measured.statistic == "reward/mean, last tenth - best tenth before"


def test_the_base_is_not_trained_and_needs_no_seeds(runs):
    row = judged([run for run in runs if run.variant != "base" or run.seed == 0])["C2", "base", "rlcsd"]
    assert (row["n_seeds"], row["verdict"]) == (3, "reproduced")
    assert "one seed" not in row["why"]


def test_a_whole_matrix_is_judged(runs):
    found = judged(runs)
    wanted = {"C1": 1, "C2": 2, "C3": 2, "C4": 12, "C11": 2}
    for claim, parts in wanted.items():
        rows = [row for row in found.values() if row["claim"] == claim]
        assert len(rows) == parts
        assert NOT_RUN not in {row["verdict"] for row in rows}
        assert {row["n_seeds"] for row in rows} == {3}
    assert found["C1", "average", "rlcsd"]["verdict"] == "reproduced"
    assert found["C4", "entropy", "sdpo"]["verdict"] == "reproduced"
    assert found["C7", "bounded", "opsd_ectr"]["why"] == "needs opsd_ectr (not in the matrix)"


def test_a_partial_matrix_is_judged_as_far_as_it_goes_and_says_so(runs):
    lost = [
        *(missing("sdpo", seed, "failed", "RuntimeError: loss is nan") for seed in SEEDS),
        *(missing("srpo", seed, "not run") for seed in SEEDS),
        missing("opsd", 2, "not finished", "results/logs/opsd.log ends with: step 7"),
    ]
    names = {(run.variant, run.seed) for run in lost}
    whole, found = judged(runs), judged([run for run in runs if (run.variant, run.seed) not in names], lost)
    assert list(found) == list(whole)

    for part in ("entropy", "length", "reward", "validation"):
        assert found["C4", part, "sdpo"]["verdict"] == NOT_RUN
        assert found["C4", part, "sdpo"]["why"] == "needs sdpo (failed: RuntimeError: loss is nan)"
        assert found["C4", part, "srpo"]["why"] == "needs srpo (not run)"
        assert found["C4", part, "opsd"]["n_seeds"] == 2
        assert found["C4", part, "opsd"]["why"].endswith(
            "opsd: 2 of 3 seeds (seed 2 not finished: results/logs/opsd.log ends with: step 7)"
        )
    assert found["C1", "average", "rlcsd"]["verdict"] == NOT_RUN
    assert found["C1", "average", "rlcsd"]["why"] == "needs sdpo (failed: RuntimeError: loss is nan), srpo (not run)"
    touched = {"opsd", "sdpo", "srpo"}
    for key, row in whole.items():
        if key[2] not in touched and key[0] != "C1":
            assert str(found[key]) == str(row)  # nan is unlike itself


def test_seeds_go_from_three_to_one(runs):
    short = ("rlcsd", "opsd")
    lost = [missing(variant, seed, "not run") for variant in short for seed in (1, 2)]
    found = judged([run for run in runs if run.variant not in short or run.seed == 0], lost)
    row = found["C2", "grpo", "rlcsd"]
    assert (row["n_seeds"], row["verdict"]) == (1, "reproduced")
    assert "one seed says nothing of other training runs; rlcsd: 1 of 3 seeds" in row["why"]
    assert found["C4", "entropy", "opsd"]["verdict"] == INCONCLUSIVE


def test_a_block_of_which_nothing_was_run_is_there_all_the_same(runs):
    lost = [missing(variant, 0, "not run", model="large") for variant in VARIANTS]
    table = claims_table(gathered(runs, TASKS, GRADERS, lost))
    asked = [part for part in PARTS if not part.families or "knights" in part.families]
    assert table["model"].value_counts().to_dict() == {"tiny": len(asked), "large": len(asked)}
    assert set(table.loc[table["model"] == "large", "verdict"]) == {NOT_RUN}


def test_without_recorded_tokens_c11_is_not_run(runs):
    table = claims_table(gathered(runs, TASKS, GRADERS))
    assert set(table.loc[table["claim"] == "C11", "why"]) == {"needs recorded tokens of rlcsd: there are none"}
