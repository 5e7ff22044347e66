import pytest

from selfdistill.errors import UserError
from selfdistill.reporting.read import published
from selfdistill.reporting.read.published import (
    main_results,
    plugin_study,
    problems,
    published_ablation,
    published_gain,
    published_rows,
    study_rows,
)

MODELS = ("qwen3_1_7b", "qwen3_4b", "qwen3_8b", "olmo3_7b_think")
TASKS = ("math", "logic")
METHODS = ("base", "grpo", "opsd", "sdpo", "srpo", "rlsd", "rlcsd", "rlcsd-gt_cot")


def contrast():
    return study_rows(published.CONTRAST)


def value(model, variant, task, benchmark, source=None, version="v1"):
    found = {(p.task, p.benchmark): p.value for p in published_rows(model, variant, version, source)}
    return found.get((task, benchmark))


SECOND = ("base", "grpo-v2", "opsd", "sdpo", "srpo-v2", "rlsd-v2", "rlcsd-v2")


@pytest.mark.parametrize(
    ("version", "variants", "source", "count"),
    [("v1", METHODS, "upstream-readme-2026-08-17", 288), ("v2", SECOND, "paper-v2", 252)],
)
def test_every_cell_of_a_versions_last_tables_has_a_place_here(version, variants, source, count):
    cells = [cell for model in MODELS for variant in variants for cell in published_rows(model, variant, version)]
    last = [row for row in main_results() if row["source"] == source]
    assert len(cells) == len(set(cells)) == len(last) == count
    assert sorted(cell.value for cell in cells) == sorted(float(row["percent"]) for row in last)


def test_the_latest_version_that_has_a_cell_counts():
    assert value("qwen3_4b", "grpo", "logic", "kk_11") == 45.0
    assert value("qwen3_4b", "grpo", "logic", "kk_11", "seed-readme-2026-06-10") == 42.0
    assert {cell.version for cell in published_rows("qwen3_4b", "grpo")} == {"upstream-readme-2026-08-17"}


def test_a_variant_stands_beside_the_version_that_runs_it():
    assert value("qwen3_8b", "rlcsd-v2", "logic", "average", version="v2") == 69.3
    assert value("qwen3_8b", "opsd", "logic", "average", version="v2") == 59.0
    assert value("qwen3_8b", "opsd", "logic", "average", version="v1") == 64.8
    for version, variants in (("v1", ("rlcsd-v2", "grpo-v2")), ("v2", ("rlcsd", "grpo", "rlcsd-gt_cot"))):
        assert not [cell for variant in variants for cell in published_rows("qwen3_8b", variant, version)]


def test_a_cell_that_left_the_tables_keeps_its_latest_version(monkeypatch):
    rows = [row for row in main_results() if not (row["benchmark"] == "kk_11" and row["source"].endswith("2026-08-17"))]
    monkeypatch.setattr(published, "main_results", lambda: rows)
    versions = {cell.benchmark: cell.version for cell in published_rows("qwen3_4b", "grpo")}
    assert versions["kk_11"] == "upstream-readme-2026-06-14"
    assert versions["kk_10"] == "upstream-readme-2026-08-17"


def test_the_order_of_the_file_does_not_matter(monkeypatch):
    rows = list(reversed(main_results()))
    monkeypatch.setattr(published, "main_results", lambda: rows)
    assert value("qwen3_4b", "grpo", "logic", "kk_11") == 45.0


def test_sources_of_hints_are_told_apart():
    assert value("qwen3_8b", "rlcsd", "logic", "average") == 74.0
    assert value("qwen3_8b", "rlcsd-gt_cot", "logic", "average") == 72.1
    assert value("qwen3_8b", "rlcsd-gt_cot", "logic", "average", "seed-readme-2026-06-10") is None


def test_names_of_benchmarks_are_ours():
    assert value("qwen3_1_7b", "base", "logic", "kk_4to8_test") == 63.2
    assert value("olmo3_7b_think", "base", "math", "average") == 77.3


def test_the_rate_of_the_papers_rlcsd_on_logic_has_its_cells_too():
    logic = {p.benchmark: p.value for p in published_rows("qwen3_4b", "rlcsd") if p.task == "logic"}
    assert len(logic) == 5
    assert {p.benchmark: p.value for p in published_rows("qwen3_4b", "rlcsd-lr5e6")} == logic
    assert {p.variant for p in published_rows("qwen3_4b", "rlcsd-lr5e6")} == {"rlcsd-lr5e6"}
    assert {p.task for p in published_rows("qwen3_4b", "rlcsd")} == {"math", "logic"}
    assert published_rows("qwen3_4b", "grpo-lr5e6") == []


@pytest.mark.parametrize(("model", "variant"), [("tiny_qwen3", "grpo"), ("qwen3_4b", "rlcsd-no_anchor")])
def test_nothing_is_published_of_other_models_and_variants(model, variant):
    assert published_rows(model, variant) == []


def test_the_studies():
    assert published_gain("math", "qwen3_4b", "rlcsd").value == 3.0
    assert published_gain("math", "qwen3_8b", "rlcsd") is None
    assert published_ablation("logic", "qwen3_4b", "rlcsd-no_anchor").value == 62.4
    assert published_ablation("logic", "qwen3_4b", "rlcsd-lr5e6") is None
    second = [published_gain(task, "qwen3_4b", m, "v2").value for m in ("opsd", "rlsd", "rlcsd") for task in TASKS]
    assert second == [1.0, 0.9, 1.4, 0.1, 3.6, 6.7]
    assert published_gain("math", "qwen3_8b", "opsd", "v2") is None
    assert published_ablation("logic", "qwen3_4b", "rlcsd-v2-no_anchor", version="v2").value == 62.4
    assert published_ablation("math", "qwen3_4b", "rlcsd-v2-no_anchor", "aime25", "v2").value == 66.3
    assert published_ablation("math", "qwen3_4b", "rlcsd-v2-no_anchor") is None
    assert published_ablation("math", "qwen3_4b", "rlcsd", "aime25") is None  # of the first version averages only


def test_the_plugin_gain_is_that_of_the_latest_version(monkeypatch):
    """Edited once: rlsd on logic, 1.0 in the version of 10 June 2026."""
    rows = plugin_study()
    for ordered in (rows, rows[::-1]):
        monkeypatch.setattr(published, "plugin_study", lambda ordered=ordered: ordered)
        gain = published_gain("logic", "qwen3_4b", "rlsd")
        assert (gain.value, gain.version) == (0.5, "upstream-readme-2026-06-14")
        assert published_gain("logic", "qwen3_4b", "opsd").version == "seed-readme-2026-06-10"


def test_a_file_that_is_not_as_shipped_is_refused(monkeypatch, tmp_path):
    file = tmp_path / "main_results.csv"
    monkeypatch.setattr(published, "MAIN", file)
    with pytest.raises(UserError, match=r"main_results.csv: cannot read the published numbers"):
        main_results()
    file.write_text("source,model,method,benchmark,percent\na,b,c,d,1\n")
    with pytest.raises(UserError, match=r"main_results.csv: column 'hint_source' is missing"):
        main_results()


@pytest.mark.parametrize(
    ("name", "read", "text", "message"),
    [
        ("MAIN", main_results, "a,b,c,,kk_9,7O.1", r"line 3: percent is '7O.1': expected a number"),
        ("MAIN", main_results, "a,b,c,,kk_9,", r"line 3: percent is '': expected a number"),
        ("CONTRAST", contrast, "a,b,c,kk_12,70.1", r"line 3: benchmark is 'kk_12': expected one of amc23, aime24, "),
        ("MAIN", main_results, "a,b,c,,kk_12,70.1", r"line 3: benchmark is 'kk_12': expected one of amc23, aime24, "),
        ("PLUGIN", plugin_study, "a,b,c,math,nan,same", r"line 3: delta_percent_points is 'nan': expected a number"),
        ("PROBLEMS", problems, "kk_9,a hundred", r"line 3: problems is 'a hundred': expected a whole number from 1 on"),
    ],
)
def test_a_bad_row_is_named(monkeypatch, tmp_path, name, read, text, message):
    header, first = getattr(published, name).read_text(encoding="utf-8").splitlines()[:2]
    file = tmp_path / f"{name.lower()}.csv"
    file.write_text(f"{header}\n{first}\n{text}\n")
    monkeypatch.setattr(published, name, file)
    with pytest.raises(UserError, match=rf"{file.name}, {message}.*; correct"):
        read()


def test_a_benchmark_without_its_number_of_problems_is_named(monkeypatch, tmp_path):
    file = tmp_path / "benchmark_problems.csv"
    file.write_text("".join(line for line in published.PROBLEMS.open() if not line.startswith("kk_10")))
    monkeypatch.setattr(published, "PROBLEMS", file)
    with pytest.raises(UserError, match=r"benchmark_problems.csv: has no row of benchmark 'kk_10'"):
        problems()
