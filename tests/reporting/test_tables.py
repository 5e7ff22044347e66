import copy
import dataclasses
import io

import numpy as np
import pandas as pd
import pytest

from selfdistill.errors import UserError
from selfdistill.evaluation.draws import Draw, read_draws, write_draws
from selfdistill.reporting.tables import (
    blocks,
    gains_markdown,
    gains_table,
    main_markdown,
    main_table,
    read_groups,
    write_csv,
)

CONTRACT = ["task", "model", "variant", "benchmark", "metric", "value", "low", "high"]
CONTRACT += ["n_problems", "n_draws", "n_seeds"]


@pytest.fixture(scope="module")
def tables(study):
    groups = read_groups(study.runs, study.tasks)
    return main_table(groups, study.tasks), gains_table(groups, study.tasks)


@pytest.fixture(scope="module")
def seeded_tables(seeded_study):
    groups = read_groups(seeded_study.runs, seeded_study.tasks)
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
    names = set(main_table(read_groups(runs, tasks), tasks)["benchmark"])
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
    gain = gains_table(read_groups(runs, tasks), tasks).iloc[0]
    assert gain["value"] == 0
    assert gain["high"] - gain["low"] < 4
    values = main_table(read_groups(runs, tasks), tasks)
    assert (values["high"] - values["low"] > 10).all()


def test_csv_has_equal_bytes_and_reads_back(study, tables, tmp_path):
    write_csv(tmp_path / "a.csv", tables[0])
    again = main_table(read_groups(study.runs, study.tasks), study.tasks)
    write_csv(tmp_path / "b.csv", again)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    back = pd.read_csv(io.BytesIO((tmp_path / "a.csv").read_bytes()))
    pd.testing.assert_frame_equal(back, tables[0], check_exact=True, check_dtype=False)


def test_tables_without_a_reference_have_no_gains(study):
    runs = [run for run in study.runs if run.variant == "rlcsd"]
    gains = gains_table(read_groups(runs, study.tasks), study.tasks)
    assert gains.empty
    assert "reference" in gains.columns
    assert gains_markdown(gains) == ""


def test_markdown_is_shaped_like_the_paper(tables):
    text = main_markdown(tables[0])
    assert text.count("### ") == 2
    table = text.split("### knights, tiny-qwen3: pass@1")[1].splitlines()[2:7]
    header = [cell.strip() for cell in table[0].split("|")[1:-1]]
    assert header == [
        "",
        "knights-2 (not counted)",
        "knights-3",
        "knights-4 (out)",
        "knights-5 (out)",
        "Average",
        "Average in",
        "Average out",
    ]
    assert [line.split("|")[1].strip() for line in table[2:]] == ["base", "grpo", "rlcsd"]
    row = row_of(tables[0], task="knights", variant="grpo", benchmark="knights-3")
    expected = f"{row['value']:.1f} [{row['low']:.1f}, {row['high']:.1f}]"
    assert table[3].split("|")[3].strip() == expected
    assert {line.count("|") for line in table} == {9}


def test_markdown_of_gains_shows_signs(tables):
    text = gains_markdown(tables[1])
    over_base = text.split(
        "### knights, tiny-qwen3: pass@1 minus that of base (paired difference in percentage points"
    )[1]
    assert "| rlcsd | +" in over_base.split("###")[0]


def test_blocks_split_models(seeded_tables):
    found = [(block.task, block.model, list(block.rows)) for block in blocks(seeded_tables[0])]
    variants = ["base", "grpo", "rlcsd", "rlcsd-gt_cot"]
    assert found == [(task, model, variants) for task in ("arithmetic", "knights") for model in ("tiny-a", "tiny-b")]


def test_gains_have_a_block_for_each_reference(seeded_tables):
    """Rows bear the variants' own names: with "minus base" behind each, the first column would fill a phone."""
    found = [(b.task, b.model, b.reference, list(b.rows)) for b in blocks(seeded_tables[1])]
    rest = ["rlcsd", "rlcsd-gt_cot"]
    expected = [("base", ["grpo", *rest]), ("grpo", rest)]
    cells = [(task, model) for task in ("arithmetic", "knights") for model in ("tiny-a", "tiny-b")]
    assert found == [(*cell, *block) for cell in cells for block in expected]
    for block in blocks(seeded_tables[1]):
        for cells in block.rows.values():
            assert {row["reference"] for row in cells.values()} == {block.reference}
            assert list(cells) == list(block.columns)


def test_a_run_without_a_benchmark_is_named(study):
    run = study.runs[0]
    fewer = dataclasses.replace(run, draws={b: p for b, p in run.draws.items() if b != "chain-8"})
    with pytest.raises(UserError, match="run arithmetic/tiny-qwen3/base/seed0 has no draws of benchmark 'chain-8'"):
        read_groups([fewer], study.tasks)


def test_a_metric_that_does_not_fit_the_draws_is_refused(study):
    tasks = copy.deepcopy(study.tasks)
    tasks["arithmetic"]["metric"] = "mean@4"
    with pytest.raises(UserError, match=r"chain-3.parquet: mean@4 needs exactly 4 draws a problem; the matrix has 12"):
        read_groups(study.runs[:1], tasks)


def test_variants_on_other_problems_are_refused(study, tmp_path):
    run = study.runs[0]
    path = tmp_path / "chain-3.parquet"
    write_draws(path, [Draw(f"chain-3/{p}", d, "", 1, "stop", None, True) for p in range(59) for d in range(12)])
    other = dataclasses.replace(run, variant="grpo", draws={**run.draws, "chain-3": path})
    with pytest.raises(UserError, match=r"arithmetic/tiny-qwen3/grpo/chain-3 and .*'problem_id' differs in 1 problems"):
        read_groups([run, other], study.tasks)


def test_a_run_listed_twice_is_refused(study):
    with pytest.raises(UserError, match="listed twice"):
        read_groups([study.runs[0], study.runs[0]], study.tasks)
