"""The audit finds what is known to be odd (spec/evaluation.md), nothing else, and what is put there on purpose."""

import itertools

import pytest

from selfdistill.reporting.read.published import dated, main_results
from selfdistill.reporting.tables.audit import audit_line, audit_table, audit_views

FIRST, LAST = "seed-readme-2026-06-10", "upstream-readme-2026-08-17"


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


def test_cells_that_no_count_gives(audit):
    assert cells(audit, "no count") == {
        ("Qwen3-4B", "rlsd", "aime24", 71.2),
        ("Qwen3-8B", "opsd", "aime25", 68.7),
        ("Olmo-3-7B", "sdpo", "aime25", 67.4),
        ("Olmo-3-7B", "rlcsd", "aime25", 67.3),
    }
    august = audit[(audit["finding"] == "no count") & (audit["hint_source"] == "gt_cot")]
    assert list(august["versions"]) == [LAST]
    row = audit[(audit["finding"] == "no count") & (audit["percent"] == 71.2)].iloc[0]
    assert row["note"] == "256 and 257 of 360 are 71.11 and 71.39 %"
    assert row["against"] == pytest.approx(100 * 256 / 360)


def test_cells_that_are_cut_off(audit):
    assert {cell[3] for cell in cells(audit, "truncated")} == {51.6, 37.7, 76.6, 75.5}


def test_changes_are_those_of_a_plain_comparison(audit):
    versions = sorted({row["source"] for row in main_results()}, key=dated)
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
