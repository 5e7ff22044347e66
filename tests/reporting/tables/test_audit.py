"""The audit finds what is known to be odd (spec/evaluation.md), nothing else, and what is put there on purpose."""

import itertools

import pytest

from selfdistill.reporting.read.published import dated, main_results
from selfdistill.reporting.tables.audit import audit_line, audit_table, audit_views

FIRST, LAST, SECOND = "seed-readme-2026-06-10", "upstream-readme-2026-08-17", "paper-v2"


@pytest.fixture(scope="module")
def audit():
    return audit_table()


def cells(table, finding: str) -> set[tuple]:
    part = table[table["finding"] == finding]
    return set(zip(part["model"], part["method"], part["benchmark"], part["percent"], strict=True))


def test_known_averages(audit):
    assert cells(audit, "average") == {
        ("Qwen3-8B", "grpo", "math_avg", 78.7),
        ("Qwen3-8B", "grpo", "logic_avg", 66.0),
        ("Qwen3-8B", "opsd", "math_avg", 78.7),
        ("Qwen3-4B", "srpo", "logic_avg", 63.0),
    }
    assert set(audit.loc[audit["finding"] == "average", "versions"]) == {FIRST}


def of_version(audit, second: bool):
    return audit[(audit["versions"] == SECOND) == second]


def test_cells_that_no_count_gives(audit):
    assert cells(of_version(audit, False), "no count") == {
        ("Qwen3-4B", "rlsd", "aime24", 71.2),
        ("Qwen3-8B", "opsd", "aime25", 68.7),
        ("Olmo-3-7B", "sdpo", "aime25", 67.4),
        ("Olmo-3-7B", "rlcsd", "aime25", 67.3),
    }
    first = of_version(audit, False)
    august = first[(first["finding"] == "no count") & (first["hint_source"] == "gt_cot")]
    assert list(august["versions"]) == [LAST]
    row = audit[(audit["finding"] == "no count") & (audit["percent"] == 71.2)].iloc[0]
    assert row["note"] == "256 and 257 of 360 are 71.11 and 71.39 %"
    assert row["against"] == pytest.approx(100 * 256 / 360)


def test_cells_that_are_cut_off(audit):
    assert {cell[3] for cell in cells(of_version(audit, False), "truncated")} == {51.6, 37.7, 76.6, 75.5}


def test_the_second_version_is_audited_alike(audit):
    second = of_version(audit, True)
    assert cells(second, "no count") == {
        ("Olmo-3-7B", "opsd", "aime24", 75.4),
        ("Olmo-3-7B", "opsd", "aime25", 67.1),
        ("Olmo-3-7B", "sdpo", "aime24", 74.3),
        ("Olmo-3-7B", "rlsd", "aime24", 74.9),
        ("Olmo-3-7B", "rlsd", "aime25", 66.8),
        ("Qwen3-4B", "rlcsd-v2-one_wrong_hint", "aime24", 73.2),
        ("Qwen3-4B", "rlcsd-v2-self_hint", "aime24", 73.4),
        ("Qwen3-4B", "rlcsd-v2-no_anchor", "aime24", 72.1),
    }
    assert {cell[3] for cell in cells(second, "truncated")} == {75.2, 68.0, 66.3}
    assert cells(audit, "contradiction") == set()


def test_ablations_that_stayed_while_rlcsd_moved(audit):
    stayed = audit[audit["finding"] == "stayed"]
    ablated = ("one_wrong_hint", "self_hint", "no_anchor", "single_path")
    assert set(stayed["method"]) == {f"rlcsd-{name}" for name in ablated}
    assert len(stayed) == 8
    row = stayed[(stayed["method"] == "rlcsd-no_anchor") & (stayed["benchmark"] == "logic_avg")].iloc[0]
    assert (row["percent"], row["versions"]) == (62.4, "arXiv-2606.11709; paper-v2")
    assert row["note"] == "as in the first version, where rlcsd has 66.9; now 68.2"


def study(source: str, **percents: str) -> list[dict[str, str]]:
    return [
        {"source": source, "model": "M", "variant": v, "benchmark": "logic_avg", "percent": p}
        for v, p in percents.items()
    ]


@pytest.mark.parametrize(
    ("whole", "part", "found"),
    [("68.2", "62.4", ["stayed"]), ("66.9", "62.4", []), ("68.2", "62.5", [])],
)
def test_a_row_has_stayed_only_where_it_did_and_the_other_moved(whole, part, found):
    first = study("a-2026-01-01", **{"rlcsd": "66.9", "rlcsd-x": "62.4"})
    second = study("paper-v2", **{"rlcsd-v2": whole, "rlcsd-v2-x": part})
    assert list(audit_table(studies=[*first, *second])["finding"]) == found


def test_one_run_with_two_numbers_is_a_contradiction():
    main = [{**row, "source": "paper-v2", "method": "rlcsd"} for row in made(logic_avg="68.0")]
    (row,) = audit_table(main, studies=study("paper-v2", **{"rlcsd-v2": "68.2"})).to_dict("records")
    assert (row["finding"], row["percent"], row["against"]) == ("contradiction", 68.2, 68.0)
    assert audit_table(main, studies=study("paper-v2", **{"rlcsd-v2": "68.0"})).empty


def test_changes_are_those_of_a_plain_comparison(audit):
    versions = sorted({row["source"] for row in main_results()} - {SECOND}, key=dated)
    value = {
        (*(row[k] for k in ("model", "method", "hint_source", "benchmark")), row["source"]): row["percent"]
        for row in main_results()
    }
    changed = {
        (key[0], key[1], key[3], float(value[(*key[:4], later)]))
        for key in value
        for earlier, later in itertools.pairwise(versions)
        if value.get((*key[:4], earlier), now := value.get((*key[:4], later))) != now
    }
    assert len(changed) == 8
    assert cells(audit, "changed") == {*changed, ("Qwen3-4B", "rlsd", "logic gain of contrast", 0.5)}
    row = audit[(audit["finding"] == "changed") & (audit["benchmark"] == "kk_11")].iloc[0]
    assert (row["percent"], row["against"], row["versions"]) == (45.0, 42.0, f"{FIRST}; upstream-readme-2026-06-14")


def made(**percents: str) -> list[dict[str, str]]:
    return [
        {
            "source": "x-2026-01-01",
            "model": "M",
            "method": "m",
            "hint_source": "",
            "benchmark": name,
            "percent": percent,
        }
        for name, percent in percents.items()
    ]


def test_gains_of_contrast_that_changed(audit):
    row = audit[audit["benchmark"] == "logic gain of contrast"].iloc[0]
    assert (row["percent"], row["against"], row["note"]) == (0.5, 1.0, "was 1.0")
    assert row["versions"] == f"{FIRST}; upstream-readme-2026-06-14"
    rows = [
        {"source": f"x-2026-01-0{day}", "model": "M", "method": "m", "family": "math", "delta_percent_points": points}
        for day, points in ((2, "2.0"), (1, "1.5"), (3, "2.0"))
    ]
    (row,) = audit_table(gains=rows).to_dict("records")
    assert (row["benchmark"], row["percent"], row["against"]) == ("math gain of contrast", 2.0, 1.5)
    assert audit_table(gains=rows[::2]).empty


@pytest.mark.parametrize(
    ("percents", "findings"),
    [
        ({"aime24": "70.8", "aime25": "50.0", "amc23": "88.6", "math_avg": "69.8"}, []),
        ({"aime24": "70.8", "aime25": "50.0", "amc23": "88.6", "math_avg": "69.9"}, ["average"]),
        ({"aime24": "70.8", "aime25": "50.0", "math_avg": "10.0"}, []),  # a part is missing: nothing follows
        # 222.1 / 3 is 74.07, but 240 of 360, twice, and 884 of 996 give 74.03: rounded once, it is 74.0.
        ({"aime24": "66.7", "aime25": "66.7", "amc23": "88.8", "math_avg": "74.0"}, []),
        ({"kk_4to8": "73.3"}, ["no count"]),  # scores of 500 problems move in steps of 0.2
        ({"kk_9": "73.0"}, []),
        ({"kk_9": "73.5"}, ["no count"]),
        ({"aime24": "66.6"}, ["truncated"]),  # 240 of 360
        ({"aime24": "66.7"}, []),
        ({"kk_4to8": "70.0", "kk_9": "60.0", "kk_10": "50.0", "kk_11": "40.2", "logic_avg": "55.0"}, ["no count"]),
        ({"kk_4to8": "70.2", "kk_9": "60.0", "kk_10": "50.0", "kk_11": "40.0", "logic_avg": "55.1"}, []),  # 55.05: both
        ({"kk_4to8": "70.2", "kk_9": "60.0", "kk_10": "50.0", "kk_11": "40.0", "logic_avg": "55.0"}, []),
    ],
)
def test_findings_on_cells_made_for_them(percents, findings):
    assert list(audit_table(made(**percents))["finding"]) == findings


def test_the_views_have_every_finding(audit):
    views = audit_views(audit)
    assert sum(len(view.rows) for view in views) == len(audit)
    assert audit_line(audit).startswith(
        "The paper's tables have 4 averages that do not follow from their parts; 9 cells"
    )
    nothing = audit_table(made(kk_9="73.0"))
    assert audit_views(nothing) == []
    assert audit_line(nothing) == "Nothing is odd in the paper's tables."
