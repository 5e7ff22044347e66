import copy
import dataclasses
import io
import math

import numpy as np
import pandas as pd
import pytest
from plain_draws import drawn_study

from selfdistill.errors import UserError
from selfdistill.evaluation.comparisons import holm, mcnemar, wilson
from selfdistill.evaluation.draws import Draw, read_draws, write_draws
from selfdistill.evaluation.estimators import (
    difference_variances,
    interval,
    paired_difference,
    score_variances,
    scores_by_seed,
)
from selfdistill.randomness import generator
from selfdistill.reporting.read.accuracy import gather_scores
from selfdistill.reporting.read.published import Published
from selfdistill.reporting.read.runs import MissingRun
from selfdistill.reporting.render.csv_tables import write_csv
from selfdistill.reporting.render.paper_shape import paper_tables
from selfdistill.reporting.tables.accuracy import gains_table, main_table, set_against

CONTRACT = ["task", "model", "variant", "benchmark", "metric", "value", "low", "high"]
CONTRACT += ["n_problems", "n_draws", "n_seeds"]
P_VALUES = ["p_value", "p_holm", "p_mcnemar"]
PUBLISHED = ["published", "published_version", "published_difference", "published_within"]


@pytest.fixture(scope="module")
def tables(study):
    groups = gather_scores(study.runs, study.tasks)
    return main_table(groups, study.tasks), gains_table(groups, study.tasks)


@pytest.fixture(scope="module")
def seeded_tables(seeded_study):
    groups = gather_scores(seeded_study.runs, seeded_study.tasks)
    return main_table(groups, seeded_study.tasks), gains_table(groups, seeded_study.tasks)


def row_of(table: pd.DataFrame, **wanted) -> pd.Series:
    for column, value in wanted.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def slow_percent(runs, benchmark: str) -> float:
    """Share of correct rows over the files of all seeds, counted one by one."""
    verdicts = [v for run in runs for v in read_draws(run.draws[benchmark])["correct"].tolist()]
    return 100 * sum(verdicts) / len(verdicts)


def test_columns_begin_as_the_contract_says(tables):
    assert list(tables[0].columns)[: len(CONTRACT)] == CONTRACT
    assert list(tables[1].columns)[:9] == [*CONTRACT[:3], "reference", *CONTRACT[3:8]]
    fixed = ["low_fixed", "high_fixed"]
    assert list(tables[0].columns)[-8:] == ["wilson_high", "by_seed", "best", "best_of", *PUBLISHED]
    assert list(tables[1].columns)[-7:] == [*fixed, *P_VALUES, "seeds_variant", "seeds_reference"]


def test_every_cell_is_counted_from_its_files(study, tables):
    for run in study.runs:
        for benchmark in run.draws:
            row = row_of(tables[0], task=run.task, variant=run.variant, benchmark=benchmark)
            assert row["value"] == pytest.approx(slow_percent([run], benchmark), abs=2e-4)
            assert 0 <= row["low"] < row["value"] <= row["high"] <= 100
            assert (row["n_problems"], row["n_seeds"]) == (60, 1)
            assert row["n_draws"] == study.tasks[run.task]["draws"]


def test_seeds_are_averaged(seeded_study, seeded_tables):
    for model in ("tiny-a", "tiny-b"):
        runs = [r for r in seeded_study.runs if (r.task, r.model, r.variant) == ("knights", model, "rlcsd")]
        row = row_of(seeded_tables[0], task="knights", model=model, variant="rlcsd", benchmark="knights-4")
        assert row["value"] == pytest.approx(slow_percent(runs, "knights-4"), abs=2e-4)
        assert row["n_seeds"] == len(runs) == 2


@pytest.mark.parametrize(
    ("task", "average", "members"),
    [
        ("arithmetic", "average", ["chain-3", "chain-5", "chain-8", "chain-10"]),
        ("arithmetic", "average_in", ["chain-3", "chain-5", "chain-8"]),
        ("arithmetic", "average_out", ["chain-10"]),
        ("knights", "average", ["knights-3", "knights-4", "knights-5"]),
        ("knights", "average_in", ["knights-3"]),
        ("knights", "average_out", ["knights-4", "knights-5"]),
    ],
)
def test_averages_are_macro_means_of_counted_benchmarks(tables, task, average, members):
    for table, wanted in ((tables[0], {}), (tables[1], {"reference": "base"})):
        part = {"task": task, "variant": "rlcsd", **wanted}
        values = [row_of(table, benchmark=member, **part)["value"] for member in members]
        row = row_of(table, benchmark=average, **part)
        assert row["value"] == pytest.approx(np.mean(values), abs=2e-4)
        assert row["n_problems"] == 60 * len(members)
        assert row["counted"]


def test_uncounted_benchmarks_have_marked_rows(tables):
    for table in tables:
        assert set(table.loc[~table["counted"], "benchmark"]) == {"knights-2"}


def test_an_average_of_nothing_has_no_row(study):
    tasks = copy.deepcopy(study.tasks)
    del tasks["arithmetic"]["benchmarks"]["chain-10"]
    runs = [run for run in study.runs if run.task == "arithmetic"]
    names = set(main_table(gather_scores(runs, tasks), tasks)["benchmark"])
    assert names == {"chain-3", "chain-5", "chain-8", "average", "average_in"}


def test_length_and_truncation_stand_beside_accuracy(study, tables):
    frame = read_draws(study.runs[0].draws["chain-3"])
    row = row_of(tables[0], task="arithmetic", variant="base", benchmark="chain-3")
    assert row["response_length"] == pytest.approx(frame["n_tokens"].mean(), abs=2e-4)
    assert row["truncated"] == pytest.approx(100 * (frame["finish_reason"] == "length").mean(), abs=2e-4)


def test_gains_are_differences_on_the_same_problems(tables):
    main, gains = tables
    assert set(zip(gains["variant"], gains["reference"], strict=True)) == {
        ("grpo", "base"),
        ("rlcsd", "base"),
        ("rlcsd", "grpo"),
    }
    for gain in gains.to_dict("records"):
        part = {"task": gain["task"], "benchmark": gain["benchmark"]}
        ours = row_of(main, variant=gain["variant"], **part)
        theirs = row_of(main, variant=gain["reference"], **part)
        assert gain["value"] == pytest.approx(ours["value"] - theirs["value"], abs=2e-4)
        assert gain["low"] <= gain["value"] <= gain["high"]
    lifted = gains[(gains["benchmark"] == "average_in") & (gains["reference"] == "base")]
    assert (lifted["low"] > 10).all()  # the synthetic methods gain some 38 points


def test_pairing_is_by_problem_and_not_by_row(tmp_path, study):
    """Two variants right on the same problems, written in opposite orders: no gain on any problem, so no width."""
    runs = []
    for variant, order in (("base", 1), ("grpo", -1)):
        path = tmp_path / f"{variant}.parquet"
        draws = [Draw(f"b/{p}", 0, "", 1, "stop", None, p % 3 == 0) for p in range(200)]
        write_draws(path, draws[::order])
        runs.append(dataclasses.replace(study.runs[0], variant=variant, draws={"b": path}))
    tasks = {"arithmetic": {"metric": "pass@1", "benchmarks": {"b": {"distribution": "in"}}}}
    gain = gains_table(gather_scores(runs, tasks), tasks).iloc[0]
    assert gain["value"] == 0
    assert gain["high"] - gain["low"] < 4
    values = main_table(gather_scores(runs, tasks), tasks)
    assert (values["high"] - values["low"] > 10).all()


def test_csv_has_equal_bytes_and_reads_back(study, tables, tmp_path):
    write_csv(tmp_path / "a.csv", tables[0])
    again = main_table(gather_scores(study.runs, study.tasks), study.tasks)
    write_csv(tmp_path / "b.csv", again)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    back = pd.read_csv(io.BytesIO((tmp_path / "a.csv").read_bytes()))
    back = back.fillna(dict.fromkeys(["by_seed", "best", "best_of"], ""))
    pd.testing.assert_frame_equal(back, tables[0], check_exact=True, check_dtype=False)


def test_tables_without_a_reference_have_no_gains(study):
    runs = [run for run in study.runs if run.variant == "rlcsd"]
    gains = gains_table(gather_scores(runs, study.tasks), study.tasks)
    assert gains.empty
    assert "reference" in gains.columns
    assert paper_tables(gains) == []


def test_scores_are_of_each_seed_and_problem(seeded_study):
    group = gather_scores(seeded_study.runs, seeded_study.tasks)[0]
    for result in group.results.values():
        assert result.scores.shape == (2, 60)
        assert result.scores == pytest.approx(result.draws.correct.mean(axis=2))


def test_fixed_intervals_speak_of_draws_at_one_seed_and_of_seeds_from_two_on(tables, seeded_tables):
    """mean@12 at one seed: only draws vary, so it is the narrower; pass@1 of one draw says nothing of other draws."""
    for table in tables:
        maths, knights = (table[table["task"] == task] for task in ("arithmetic", "knights"))
        fixed, sampled = maths["high_fixed"] - maths["low_fixed"], maths["high"] - maths["low"]
        assert fixed.median() < 0.9 * sampled.median()
        assert knights[["low_fixed", "high_fixed"]].isna().all(axis=None)
    for table in seeded_tables:
        assert table[["low_fixed", "high_fixed"]].notna().all(axis=None)


def made_study(study, tmp_path, chances: dict[str, float], problems: int = 400):
    """pass@1 on one benchmark: problem p is solved by the variants whose chance lies above p / problems."""
    runs = []
    for variant, chance in chances.items():
        path = tmp_path / f"{variant}.parquet"
        write_draws(path, [Draw(f"b/{p}", 0, "", 1, "stop", None, p < chance * problems) for p in range(problems)])
        runs.append(dataclasses.replace(study.runs[0], variant=variant, draws={"b": path}))
    tasks = {"arithmetic": {"metric": "pass@1", "benchmarks": {"b": {"distribution": "in"}}}}
    return runs, tasks


MARKS = {
    "told apart, tied, equal": ({"a": 0.8, "b": 0.797, "c": 0.5, "d": 0.8}, ["best", "tied", "", "best"]),
    "one of two": ({"a": 0.8, "x": 0.784}, ["best", ""]),
    # Holm over all pairs of forty alike ones, and one that is far below, without which there would be no mark at all.
    "one of many": ({"a": 0.8, "x": 0.784, "z": 0.3} | {f"x{i}": 0.784 for i in range(9)}, ["best", "tied", ""]),
    "a best that is told from none": ({"a": 0.8, "b": 0.797, "c": 0.798}, ["", "", ""]),
}


@pytest.mark.parametrize(("chances", "expected"), MARKS.values(), ids=MARKS)
def test_best_and_tied_are_marked(study, tmp_path, chances, expected):
    runs, tasks = made_study(study, tmp_path, chances)
    table = main_table(gather_scores(runs, tasks), tasks)
    part = table[table["benchmark"] == "average"]
    assert list(part["best"])[: len(expected)] == expected
    assert set(part["best_of"]) <= {"these runs", ""}  # one seed each
    assert [bool(of) for of in part["best_of"]] == [bool(mark) for mark in part["best"]]


def test_where_all_are_alike_none_is_best(study, tmp_path):
    nothing = np.zeros((1, 20, 1), dtype=int)
    runs, tasks = drawn_study(study, tmp_path, {"x": {"b": nothing}, "z": {"b": nothing}}, "pass@1")
    assert set(main_table(gather_scores(runs, tasks), tasks)["best"]) == {""}


def test_a_variant_alone_is_no_best(study):
    runs = [run for run in study.runs if run.variant == "rlcsd"]
    assert set(main_table(gather_scores(runs, study.tasks), study.tasks)["best"]) == {""}


def test_gains_have_p_values_corrected_within_a_column(crowded_study):
    study = crowded_study
    groups = gather_scores([run for run in study.runs if run.task == "arithmetic"], study.tasks)
    gains = gains_table(groups, study.tasks)
    by_variant = {group.variant: group for group in groups}
    part = gains[(gains["reference"] == "grpo") & (gains["benchmark"] == "chain-5")]
    scores = {v: [by_variant[v].results["chain-5"].scores] for v in [*part["variant"], "grpo"]}
    raw = [paired_difference(scores[v], scores["grpo"]).p_value for v in part["variant"]]
    assert len(raw) == len(by_variant) - 2
    assert part["p_value"].to_numpy() == pytest.approx(raw, abs=1e-4)
    assert part["p_holm"].to_numpy() == pytest.approx(holm(raw), abs=1e-4)
    assert (part["p_holm"] > part["p_value"] + 1e-4).any()


def random_draws(key: str, seeds: int, problems: int, draws: int, chance: float = 0.6) -> np.ndarray:
    """Draws of runs that differ by some points, on problems that are equally hard for all."""
    shift = 0.1 * generator("shift", key).standard_normal((seeds, 1, 1))
    ease = generator("ease of all", problems).uniform(-0.2, 0.2, (1, problems, 1))
    return (generator("right", key).random((seeds, problems, draws)) < chance + shift + ease).astype(int)


def as_percent(estimate) -> list[float]:
    return pytest.approx([100 * estimate.low, 100 * estimate.high], abs=1e-3)


def test_one_seed_beside_several_is_not_taken_for_several(study, tmp_path):
    """n_seeds is the fewer of the trained sides; the run that stands alone varies as the others do, but not base."""
    seeds = {"base": 1, "grpo": 1, "rlsd": 3, "rlcsd": 3}
    draws = {v: {"b": random_draws(v, n, 50, 2), "c": random_draws(f"{v} c", n, 30, 2)} for v, n in seeds.items()}
    runs, tasks = drawn_study(study, tmp_path, draws, "mean@2")
    gains = gains_table(gather_scores(runs, tasks), tasks)
    scores = {v: [scores_by_seed(c, "mean@2") for c in found.values()] for v, found in draws.items()}
    drawn = {v: [score_variances(c, "mean@2") for c in found.values()] for v, found in draws.items()}
    draws_of = {variant: list(found.values()) for variant, found in draws.items()}.get
    found = {}
    for variant, reference in (("rlcsd", "base"), ("rlcsd", "grpo"), ("grpo", "base")):
        row = row_of(gains, variant=variant, reference=reference, benchmark="average")
        assert (row["seeds_variant"], row["seeds_reference"]) == (seeds[variant], 1)
        found[variant, reference] = row["n_seeds"]
        trained = (True, reference != "base")
        sides, spreads = (scores[variant], scores[reference]), (drawn[variant], drawn[reference])
        expected = paired_difference(*sides, trained=trained)
        assert [row["low"], row["high"]] == as_percent(expected)
        assert row["p_value"] == pytest.approx(expected.p_value, abs=1e-4)
        pairs = None
        if variant == "grpo":  # one seed of each: draws in pairs
            pairs = [
                difference_variances(*pair, "mean@2") for pair in zip(*map(draws_of, (variant, reference)), strict=True)
            ]
        fixed = paired_difference(
            *sides, problems="fixed", variances=spreads, of_difference=pairs, draws=2, trained=trained
        )
        assert [row["low_fixed"], row["high_fixed"]] == as_percent(fixed)
    assert found == {("rlcsd", "base"): 3, ("rlcsd", "grpo"): 1, ("grpo", "base"): 1}
    narrow = paired_difference(scores["rlcsd"], scores["grpo"], trained=(True, False))
    row = row_of(gains, variant="rlcsd", reference="grpo", benchmark="average")
    assert row["high"] - row["low"] > 1.2 * 100 * (narrow.high - narrow.low)


def test_ties_allow_for_a_variant_with_one_seed(study, tmp_path):
    """Told apart from the best if its run were all that its method can give; tied if other runs of it may differ."""
    best = np.array([np.arange(400) < right for right in (260, 240, 250)]).astype(int)[..., None]
    other, last = ((np.arange(400) < right).astype(int)[None, :, None] for right in (220, 20))
    draws = {"x": {"b": best}, "z": {"b": other}, "base": {"b": last}}
    runs, tasks = drawn_study(study, tmp_path, draws, "pass@1")
    table = main_table(gather_scores(runs, tasks), tasks)
    marks = table.set_index(["variant", "benchmark"])["best"]
    assert [marks[variant, "b"] for variant in draws] == ["best", "tied", ""]
    assert row_of(table, variant="x", benchmark="b")["best_of"] == "these runs"
    assert row_of(table, variant="x", benchmark="b")["by_seed"] == "65 60 62.5"
    runs = [run for run in runs if run.variant != "z"]
    table = main_table(gather_scores(runs, tasks), tasks)
    assert row_of(table, variant="x", benchmark="b")["best_of"] == "methods"  # base is not trained


def test_truncated_draws_bound_the_value(study, tables):
    """If all that was cut off were wrong, and if it were right."""
    frame = read_draws(study.runs[0].draws["chain-3"])
    row = row_of(tables[0], task="arithmetic", variant="base", benchmark="chain-3")
    cut = frame["finish_reason"] == "length"
    bounds = [100 * (frame["correct"] & ~cut).mean(), 100 * (frame["correct"] | cut).mean()]
    assert [row["truncated_wrong"], row["truncated_right"]] == pytest.approx(bounds, abs=1e-3)
    main = tables[0]
    assert (main["truncated_wrong"] <= main["value"]).all()
    assert (main["value"] <= main["truncated_right"]).all()
    assert (main["truncated_right"] <= main["value"] + main["truncated"] + 1e-3).all()


def test_an_average_has_the_fewest_draws_of_its_benchmarks(study, tmp_path):
    draws = {
        "base": {"b": random_draws("1", 1, 20, 4), "c": random_draws("2", 1, 20, 2)},
        "grpo": {"b": random_draws("3", 1, 20, 3), "c": random_draws("4", 1, 20, 5)},
    }
    runs, tasks = drawn_study(study, tmp_path, draws, "pass@1")
    groups = gather_scores(runs, tasks)
    main, gains = main_table(groups, tasks), gains_table(groups, tasks)
    assert list(main.loc[main["variant"] == "grpo", "n_draws"]) == [3, 5, 3, 3]
    assert list(gains["n_draws"]) == [3, 2, 2, 2]


def test_draws_of_each_side_are_its_own(study, tmp_path):
    """Three seeds against base: only base's draws count, and those of the variant would give other bounds."""
    ours, theirs = random_draws("ours", 3, 40, 4, 0.6), random_draws("theirs", 1, 40, 4, 0.3)
    runs, tasks = drawn_study(study, tmp_path, {"base": {"b": theirs}, "grpo": {"b": ours}}, "mean@4")
    row = row_of(gains_table(gather_scores(runs, tasks), tasks), benchmark="b")
    scores = [[scores_by_seed(side, "mean@4")] for side in (ours, theirs)]
    known = (None, [score_variances(theirs, "mean@4")])
    expected = paired_difference(*scores, problems="fixed", variances=known, trained=(True, False), draws=4)
    assert [row["low_fixed"], row["high_fixed"]] == as_percent(expected)


def test_one_draw_of_one_seed_has_wilsons_interval_and_mcnemars_test(study, tmp_path, tables, seeded_tables):
    ours, theirs = random_draws("ours", 1, 60, 1, 0.6), random_draws("theirs", 1, 60, 1, 0.5)
    draws = {"base": {"b": theirs, "c": theirs[:, :9]}, "grpo": {"b": ours, "c": ours[:, :9]}}
    runs, tasks = drawn_study(study, tmp_path, draws, "pass@1")
    groups = gather_scores(runs, tasks)
    row = row_of(main_table(groups, tasks), variant="grpo", benchmark="b")
    assert [row["wilson_low"], row["wilson_high"]] == as_percent(wilson(int(ours.sum()), 60))
    gain = row_of(gains_table(groups, tasks), benchmark="b")
    assert gain["p_mcnemar"] == pytest.approx(mcnemar(ours[0, :, 0], theirs[0, :, 0]), abs=1e-4)
    assert gain["p_mcnemar"] != gain["p_value"]
    average = row_of(main_table(groups, tasks), variant="grpo", benchmark="average")
    assert average[["wilson_low", "wilson_high"]].isna().all()  # a macro average is no count
    assert np.isnan(row_of(gains_table(groups, tasks), benchmark="average")["p_mcnemar"])
    for main, gains in (tables, seeded_tables):  # twelve draws, or two seeds
        several = (main["n_draws"] > 1) | (main["n_seeds"] > 1)
        assert main.loc[several, ["wilson_low", "wilson_high"]].isna().all(axis=None)
        assert gains.loc[(gains["n_draws"] > 1) | (gains["n_seeds"] > 1), "p_mcnemar"].isna().all()


def published_study(study, tmp_path, model: str, variant: str, right: int):
    runs, _ = made_study(study, tmp_path, {variant: right / 100}, problems=100)
    names = {"metric": "pass@1", "benchmarks": {"kk_9": {"distribution": "out"}}}
    run = dataclasses.replace(runs[0], task="logic", model=model, draws={"kk_9": runs[0].draws["b"]})
    return [run], {"logic": names}


@pytest.mark.parametrize(("right", "within"), [(73, True), (79, True), (50, False)])
def test_the_paper_stands_beside(study, tmp_path, right, within):
    """72.0 since 14 June 2026, 73.0 before (rlsd, Qwen3-4B)."""
    runs, tasks = published_study(study, tmp_path, "qwen3_4b", "rlsd", right)
    row = row_of(main_table(gather_scores(runs, tasks), tasks), benchmark="kk_9")
    assert (row["published"], row["published_version"]) == (72.0, "upstream-readme-2026-08-17")
    assert row["published_difference"] == pytest.approx(right - 72)
    assert row["published_within"] is within


MAIN_ROW = {"value": 70.0, "low": 60.0, "high": 78.0, "low_fixed": 69.0, "high_fixed": 72.0, "n_seeds": 3}
MAIN_ROW["variant"] = "v"
ONE_DRAW = {**MAIN_ROW, "low_fixed": math.nan, "high_fixed": math.nan, "n_seeds": 1}
#: 95 % of the difference of two runs whose method's runs have a standard deviation of a point.
RUNS = 1.959964 * math.sqrt(2)


def gain_row(seeds: int, others: int, reference: str = "grpo") -> dict:
    return {**MAIN_ROW, "seeds_variant": seeds, "seeds_reference": others, "reference": reference}


@pytest.mark.parametrize(
    ("row", "least", "most"),
    [
        (MAIN_ROW, 68.0, 74.0),  # three runs of ours, one of the paper: twice as wide
        ({**MAIN_ROW, "n_seeds": 1}, 70 - math.hypot(RUNS, math.sqrt(2)), 70 + math.hypot(RUNS, 2 * math.sqrt(2))),
        ({**MAIN_ROW, "n_seeds": 1, "variant": "base"}, 70 - math.sqrt(2), 70 + 2 * math.sqrt(2)),  # draws alone
        (gain_row(3, 3), 68.0, 74.0),
        (gain_row(3, 1), 70 - math.sqrt(2.5), 70 + 2 * math.sqrt(2.5)),
        (gain_row(1, 1), 70 - math.sqrt(2 * RUNS**2 + 2), 70 + math.sqrt(2 * RUNS**2 + 8)),
        (gain_row(1, 1, "base"), 70 - math.hypot(RUNS, math.sqrt(2)), 70 + math.hypot(RUNS, 2 * math.sqrt(2))),
        (ONE_DRAW, 70 - math.hypot(RUNS, 10), 70 + math.hypot(RUNS, 8)),
    ],
)
def test_the_paper_fits_what_another_run_may_give_on_the_same_problems(row, least, most):
    def fits(value: float):
        return set_against(row, Published("logic", "m", "v", "b", value, "x"), 0.01**2)["published_within"]

    assert fits(least - 0.049) is fits(most + 0.049) is True  # it may have been rounded from within
    assert fits(least - 0.051) is fits(most + 0.051) is False


def test_a_row_without_an_interval_says_nothing_of_the_paper():
    row = {**ONE_DRAW, "low": math.nan, "high": math.nan}
    found = set_against(row, Published("logic", "m", "v", "b", 70.0, "x"), 0.0)
    assert found["published_within"] is None
    assert found["published_difference"] == 0


def test_the_paper_is_judged_by_the_interval_for_these_problems(study, tmp_path):
    """Three seeds that almost agree: the interval of other problems holds the paper's 72.0, that of these does not."""
    right = np.array([np.arange(50) < count for count in (30, 30, 31)]).astype(int)[:, :, None].repeat(4, axis=2)
    runs, tasks = drawn_study(study, tmp_path, {"rlsd": {"kk_9": right}}, "mean@4", "qwen3_4b")
    row = row_of(main_table(gather_scores(runs, tasks), tasks), benchmark="kk_9")
    fixed = interval([right.mean(axis=2)], problems="fixed", draws=4)
    assert [row["low_fixed"], row["high_fixed"]] == as_percent(fixed)
    assert row["low"] < 72 < row["high"]
    assert row["published_within"] is False


def test_averages_are_compared_with_those_of_their_task(study, tmp_path):
    """The tables of rlsd, Qwen3-4B, have an average of mathematics, 75.0, and one of logic, 65.0."""
    (run,), tasks = published_study(study, tmp_path, "qwen3_4b", "rlsd", 70)
    found = []
    for task in ("math", "logic"):
        settings = {task: tasks["logic"]}
        table = main_table(gather_scores([dataclasses.replace(run, task=task)], settings), settings)
        found.append(row_of(table, benchmark="average")["published"])
    assert found == [75.0, 65.0]


def test_only_the_papers_models_and_variants_have_the_paper_beside_them(study, tmp_path, tables):
    assert tables[0]["published"].isna().all()
    runs, tasks = published_study(study, tmp_path, "qwen3_4b", "rlsd-own_rollout", 70)
    table = main_table(gather_scores(runs, tasks), tasks)
    assert table[["published", "published_version", "published_within"]].isna().all(axis=None)


def missing(variant: str, seed: int, status: str, why: str = "", **cell) -> MissingRun:
    run = {"task": "knights", "model": "tiny-a", "variant": variant, "seed": seed, "method": variant}
    return MissingRun(**{**run, "status": status, "why": why, **cell})


def test_blocks_say_what_is_missing(seeded_study, seeded_tables):
    lost = [
        missing("grpo", 2, "not finished"),
        missing("rlsd", 0, "failed", "out of memory"),
        missing("rlsd", 1, "not run"),
        missing("sdpo", 0, "not run", model="big"),
        missing("base", 0, "not run", model="big"),
    ]
    main, gains = seeded_tables
    found = {(block.task, block.model): block for block in paper_tables(main, lost, seeded_study.tasks)}
    block = found["knights", "tiny-a"]
    assert block.absent == {"rlsd": "failed, not run"}
    assert block.seeds == {"grpo": "2 of 3 seeds"}
    assert block.remarks == ["rlsd, seed 0: failed: out of memory"]
    nothing = found["knights", "big"]
    assert nothing.rows == {}
    assert nothing.absent == {"sdpo": "not run", "base": "not run"}
    assert list(nothing.columns) == list(block.columns)
    assert nothing.metric == "pass@1"
    assert found["knights", "tiny-b"].absent == {}
    shown = {(b.task, b.model, b.reference): b for b in paper_tables(gains, lost, seeded_study.tasks)}
    assert shown["knights", "tiny-a", "base"].absent == {"rlsd": "failed, not run"}
    assert shown["knights", "tiny-a", "grpo"].seeds == {}
    assert shown["knights", "big", "base"].absent == {"base": "not run"}
    assert ("knights", "big", "grpo") not in shown


def test_a_reference_that_lacks_seeds_is_named(seeded_study, seeded_tables):
    """Each side is counted for itself: a variant's seeds are not those that the difference rests on."""
    fewer = [run for run in seeded_study.runs if (run.model, run.variant, run.seed) != ("tiny-a", "grpo", 1)]
    groups = gather_scores(fewer, seeded_study.tasks)
    lost = [missing("grpo", 1, "failed", "out of memory"), missing("rlcsd", 2, "not run")]
    found = {
        (b.task, b.model, b.reference): b
        for b in paper_tables(gains_table(groups, seeded_study.tasks), lost, seeded_study.tasks)
    }
    block = found["knights", "tiny-a", "grpo"]
    assert {cells["average"]["n_seeds"] for cells in block.rows.values()} == {1}
    assert block.seeds == {"rlcsd": "2 of 3 seeds"}
    assert block.remarks == [
        "grpo, with which all are compared: 1 of 2 seeds",
        "grpo, seed 1: failed: out of memory",
    ]
    block = found["knights", "tiny-a", "base"]
    assert block.seeds == {"grpo": "1 of 2 seeds", "rlcsd": "2 of 3 seeds"}
    assert block.remarks == ["grpo, seed 1: failed: out of memory"]
    assert found["knights", "tiny-b", "grpo"].remarks == []


def test_a_task_of_which_nothing_was_run_has_a_block(study):
    tables_of_none = main_table([], study.tasks), gains_table([], study.tasks)
    lost = [missing("grpo", 0, "not run")]
    (block,) = paper_tables(tables_of_none[0], lost, study.tasks)
    assert (block.task, block.absent, block.rows) == ("knights", {"grpo": "not run"}, {})
    (gain,) = paper_tables(tables_of_none[1], lost, study.tasks)
    assert (gain.reference, gain.absent) == ("grpo", {"grpo": "not run"})


def test_blocks_split_models(seeded_tables):
    found = [(block.task, block.model, list(block.rows)) for block in paper_tables(seeded_tables[0])]
    variants = ["base", "grpo", "rlcsd", "rlcsd-gt_cot"]
    assert found == [(task, model, variants) for task in ("arithmetic", "knights") for model in ("tiny-a", "tiny-b")]


def test_gains_have_a_block_for_each_reference(seeded_tables):
    """Rows bear the variants' own names: with "minus base" behind each, the first column would fill a phone."""
    found = [(b.task, b.model, b.reference, list(b.rows)) for b in paper_tables(seeded_tables[1])]
    rest = ["rlcsd", "rlcsd-gt_cot"]
    expected = [("base", ["grpo", *rest]), ("grpo", rest)]
    cells = [(task, model) for task in ("arithmetic", "knights") for model in ("tiny-a", "tiny-b")]
    assert found == [(*cell, *block) for cell in cells for block in expected]
    for block in paper_tables(seeded_tables[1]):
        for cells in block.rows.values():
            assert {row["reference"] for row in cells.values()} == {block.reference}
            assert list(cells) == list(block.columns)


def test_a_run_without_a_benchmark_is_named(study):
    run = study.runs[0]
    fewer = dataclasses.replace(run, draws={b: p for b, p in run.draws.items() if b != "chain-8"})
    with pytest.raises(UserError, match="run arithmetic/tiny-qwen3/base/seed0 has no draws of benchmark 'chain-8'"):
        gather_scores([fewer], study.tasks)


def test_a_metric_that_does_not_fit_the_draws_is_refused(study):
    tasks = copy.deepcopy(study.tasks)
    tasks["arithmetic"]["metric"] = "mean@4"
    with pytest.raises(UserError, match=r"chain-3.parquet: mean@4 needs exactly 4 draws a problem; the matrix has 12"):
        gather_scores(study.runs[:1], tasks)


def test_variants_on_other_problems_are_refused(study, tmp_path):
    run = study.runs[0]
    path = tmp_path / "chain-3.parquet"
    write_draws(path, [Draw(f"chain-3/{p}", d, "", 1, "stop", None, True) for p in range(59) for d in range(12)])
    other = dataclasses.replace(run, variant="grpo", draws={**run.draws, "chain-3": path})
    with pytest.raises(UserError, match=r"arithmetic/tiny-qwen3/grpo/chain-3 and .*'problem_id' differs in 1 problems"):
        gather_scores([run, other], study.tasks)


def test_a_run_listed_twice_is_refused(study):
    with pytest.raises(UserError, match="listed twice"):
        gather_scores([study.runs[0], study.runs[0]], study.tasks)
