import numpy as np
import pytest
from plain_draws import drawn_study

from selfdistill.reporting.read.accuracy import gather_scores
from selfdistill.reporting.tables.problems import flips_table, flips_views, problems_table, problems_views

#: Right answers of four to each of ten problems, two seeds of two draws.
RIGHT = {
    "base": [0, 0, 0, 0, 0, 0, 0, 0, 0, 4],
    "grpo": [4, 4, 3, 2, 1, 0, 0, 0, 0, 4],
    "rlcsd": [4, 1, 4, 4, 4, 4, 4, 4, 4, 4],
}


@pytest.fixture
def given(study, tmp_path):
    draws = {
        variant: {
            "b": np.array([np.arange(4) < count for count in counts]).reshape(10, 2, 2).swapaxes(0, 1).astype(int)
        }
        for variant, counts in RIGHT.items()
    }
    runs, tasks = drawn_study(study, tmp_path, draws, "mean@2")
    return gather_scores(runs, tasks), tasks


def test_how_hard_the_problems_are(given):
    scores, tasks = given
    table = problems_table(scores, tasks).set_index("variant")
    assert list(table["n_answers"]) == [4, 4, 4]
    assert list(table["never"]) == [90, 40, 0]
    assert list(table["always"]) == [10, 30, 90]
    assert list(table["end"]) == ["floor", "", "ceiling"]
    for variant, counts in RIGHT.items():
        reached = [table.loc[variant, f"at_least_{percent}"] for percent in range(10, 101, 10)]
        assert reached == [100 * np.mean(np.array(counts) >= 4 * p / 100) for p in range(10, 101, 10)]
    (view,) = problems_views(table.reset_index(), [], tasks)
    assert [(row.cells[0].text, row.cells[0].beside) for row in view.rows] == [
        ("90 / 10", "floor"),
        ("40 / 30", ""),
        ("0 / 90", "ceiling"),
    ]


def test_which_problems_flip(given):
    """From a third of the answers or fewer to two thirds or more."""
    scores, tasks = given
    table = flips_table(scores, tasks)
    found = {}
    for row in table.to_dict("records"):
        found.setdefault((row["variant"], row["reference"], row["flip"]), []).append(row["problem"])
    assert found == {
        ("grpo", "base", "gained"): ["b/0", "b/1", "b/2"],
        ("rlcsd", "base", "gained"): ["b/0", *(f"b/{p}" for p in range(2, 9))],
        ("rlcsd", "grpo", "gained"): [f"b/{p}" for p in range(4, 9)],
        ("rlcsd", "grpo", "lost"): ["b/1"],
    }
    row = table[(table["reference"] == "grpo") & (table["flip"] == "lost")].iloc[0]
    assert (row["variant_right"], row["reference_right"]) == (25, 100)
    views = flips_views(table, [], tasks)
    assert [row.cells[0].text for row in views[-1].rows] == ["+5 \u22121"]
