"""Tables, figure and page of searches, from attempts on disk."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from selfdistill.errors import UserError
from selfdistill.evaluation.attempts import Attempt, write_attempts
from selfdistill.evaluation.estimators import paired_difference
from selfdistill.reporting.claims.discovery import claims_on_searches, judged, search_claims_views
from selfdistill.reporting.figures.discovery import discovery_figure
from selfdistill.reporting.pages.attempts import attempts_page
from selfdistill.reporting.read.published_discovery import published_discovery, published_rows
from selfdistill.reporting.read.searches import read_searches
from selfdistill.reporting.render.table import markdown
from selfdistill.reporting.tables.discovery import (
    CLOSED_FORM,
    discovery_table,
    discovery_views,
    needed_table,
    needed_views,
)

ONE = Attempt("", 1, 1, "", "stop", "", False, None, 10, 5)
QUESTIONS = ["p/0", "p/1", "p/2"]
#: Search -> question -> first pass of seeds 0 and 1 (0: none), and whether it holds.
FIRST = {
    "self_distillation": {"p/0": (2, 4, True), "p/1": (8, 8, False), "p/2": (0, 16, True)},
    "best_of": {"p/0": (4, 8, True), "p/1": (0, 0, True), "p/2": (0, 16, False)},
}


def attempts_of(question, first, holds, budget=16):
    rows = []
    for number in range(1, (first or budget) + 1):
        passes = number == first
        said = "" if passes else f"<b>{number}</b> is wrong & more"
        rows.append(
            replace(
                ONE,
                question=question,
                attempt=number,
                turn=number,
                response=f"try {number} of {question}",
                feedback=said,
                correct=passes,
                held_back=holds if passes else None,
                updates=number - 1,
                tokens_trained=3.0,
            )
        )
    return rows


@pytest.fixture(scope="module")
def searches(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searches")
    cells = []
    for search, found in FIRST.items():
        for seed in (0, 1):
            file = folder / f"{search}{seed}.parquet"
            write_attempts(file, [row for q, of in found.items() for row in attempts_of(q, of[seed], of[2])])
            cells.append({"task": "p", "model": "m", "search": search, "seed": seed, "part": 0, "file": file})
    # Of 20 draws 4 chose; of the 16 others of each question 1, 0 and 4 pass, none of the second kind holds.
    draws = []
    for question, passing in zip(QUESTIONS, ({5}, set(), {6, 7, 8, 9}), strict=True):
        for number in range(1, 21):
            right = number in passing or number == 1
            draws.append(
                replace(ONE, question=question, attempt=number, correct=right, held_back=number == 5 if right else None)
            )
    write_attempts(folder / "draws.parquet", draws)
    chosen = {"question": QUESTIONS, "index": [0, 1, 2], "set:all": [1, 1, 1], "set:two": [1, 1, 0]}
    pd.DataFrame(chosen).to_csv(folder / "questions.csv", index=False)
    return {"cells": cells, "questions": folder / "questions.csv", "draws": [folder / "draws.parquet"], "selection": 4}


def at(table, name, search, attempts):
    row = table[(table["set"] == name) & (table["search"] == search) & (table["attempts"] == attempts)]
    return row.iloc[0]


def test_discovery_is_counted_over_questions_and_seeds(searches):
    table = discovery_table([read_searches(**searches)])
    for name, questions in (("all", QUESTIONS), ("two", QUESTIONS[:2])):
        for search, found in FIRST.items():
            for k in (1, 2, 4, 8, 16):
                firsts = [(t, found[q][2]) for q in questions for t in found[q][:2]]
                row = at(table, name, search, k)
                assert row["value"] == pytest.approx(np.mean([0 < t <= k for t, _ in firsts]))
                assert row["held_value"] == pytest.approx(np.mean([0 < t <= k and holds for t, holds in firsts]))
                assert row["low"] <= row["value"] <= row["high"]
                made = [min(k, t or 16) for t, _ in firsts]
                assert row["tokens_read"] == pytest.approx(10 * np.mean(made))
                assert row["tokens_trained"] == pytest.approx(3 * np.mean(made))
                assert row["updates"] == pytest.approx(np.mean(made) - 1)


def test_the_closed_form_leaves_out_the_draws_that_chose(searches):
    row = at(discovery_table([read_searches(**searches)]), "all", CLOSED_FORM, 1)
    assert row["value"] == pytest.approx(np.mean([1 / 16, 0, 4 / 16]))
    assert row["held_value"] == pytest.approx(np.mean([1 / 16, 0, 0]))
    assert row["seeds"] == 1
    assert pd.isna(row["tokens_read"])


def test_curves_go_to_the_budget_though_every_search_ends_before_it(searches):
    """Of a pool that reaches a level later than searches passed it must not be said that it never does."""
    whole = read_searches(**searches, budget=7)
    assert whole.budget == 7
    seeds = whole.attempts["self_distillation"]
    found = {seed: frame[frame["question"] == "p/0"] for seed, frame in seeds.items()}
    early = replace(whole, sets={"one": ["p/0"]}, attempts={"self_distillation": found})
    for budget, last, needed in ((16, 16, 5), (0, 4, np.inf), (40, 40, 5)):
        read = replace(early, budget=budget)
        table = discovery_table([read])
        ours = table[table["search"] == "self_distillation"]
        assert (ours["attempts"].iloc[-1], ours["value"].iloc[-1]) == (last, 1)
        assert ours["tokens_read"].iloc[-1] == 10 * np.mean([2, 4])
        reached = needed_table([read])
        row = reached[(reached["search"] == CLOSED_FORM) & (reached["level"] == 0.3)].iloc[0]
        assert row["needed"] == needed  # 1 of 16 draws passes: 5 in 16 is more than 0.3, 4 is not
        never = needed_table([replace(read, pool=read.pool.assign(correct=False))])
        ratio = never[(never["search"] == CLOSED_FORM) & (never["level"] == 0.3)].iloc[0]["ratio"]
        assert pd.isna(ratio) if budget > 16 else ratio == np.inf  # the pool ends before the budget


def test_a_gap_to_the_closed_form_has_no_seeds_of_that_in_it(tmp_path):
    """Of twelve questions seed 0 passes at eight, seed 1 at four; of ten draws k pass at question k."""
    names, cells = [f"p/{i}" for i in range(12)], []
    for seed, passing in enumerate((8, 4)):
        file = tmp_path / f"{seed}.parquet"
        firsts = [1 if i < passing else 0 for i in range(12)]
        rows = [row for n, f in zip(names, firsts, strict=True) for row in attempts_of(n, f, True, budget=2)]
        write_attempts(file, rows)
        cells.append({"task": "p", "model": "m", "search": "self_distillation", "seed": seed, "part": 0, "file": file})
    draws = [
        replace(ONE, question=n, attempt=a, correct=a <= i, held_back=a <= i or None)
        for i, n in enumerate(names)
        for a in range(1, 11)
    ]
    write_attempts(tmp_path / "draws.parquet", draws)
    pd.DataFrame({"question": names, "index": range(12), "set:all": 1}).to_csv(tmp_path / "q.csv", index=False)
    given = {"cells": cells, "questions": tmp_path / "q.csv", "draws": [tmp_path / "draws.parquet"], "selection": 0}
    row = at(discovery_table([read_searches(**given)]), "all", CLOSED_FORM, 2)
    ours = np.array([[float(i < passing) for i in range(12)] for passing in (8, 4)])
    fails = [max(10 - i, 0) for i in range(12)]
    closed = np.array([[1 - f * (f - 1) / 90 for f in fails]])
    expected = paired_difference([ours], [closed], trained=(True, False))
    assert row["gap"] == pytest.approx((ours.mean(axis=0) - closed[0]).mean())
    assert (row["gap_low"], row["gap_high"]) == pytest.approx((expected.low, expected.high))
    assert expected.high < paired_difference([ours], [closed]).high


def test_attempts_for_a_level_and_their_ratio(searches):
    read = read_searches(**searches)
    table = needed_table([replace(read, sets={**read.sets, "one": QUESTIONS[:1]})])
    fast = table[(table["set"] == "all") & (table["search"] == "self_distillation") & (table["level"] == 0.3)].iloc[0]
    slow = table[(table["set"] == "all") & (table["search"] == "best_of") & (table["level"] == 0.3)].iloc[0]
    assert (fast["needed"], slow["needed"], slow["ratio"]) == (4, 8, 2)
    assert slow["ratio_low"] <= 2
    never = table[(table["search"] == "best_of") & (table["level"] == 0.7)].iloc[0]
    assert (never["needed"], never["ratio"]) == (np.inf, np.inf)
    assert pd.isna(table[table["set"] == "one"][["low", "high"]]).all(axis=None)
    assert "| 4 |" in markdown(needed_views(table), "How", "None")


def test_views_and_figure_show_every_search(searches):
    read = [read_searches(**searches)]
    table = discovery_table(read)
    text = markdown([*discovery_views(table), *needed_views(needed_table(read))], "How", "None")
    for words in (
        "two (2 questions)",
        "closed form (from a pool of draws)",
        "sampled (2 seeds)",
        "| 16 |",
        "not reached",
    ):
        assert words in text
    figure = discovery_figure(table)
    assert [axis.get_title() for axis in figure.axes[:2]] == [
        "all (3 questions): passes",
        "all (3 questions): passes that hold",
    ]
    assert all(axis.get_xscale() == "log" for axis in figure.axes)


def test_the_page_escapes_what_models_wrote_and_marks_what_changed(searches):
    page = attempts_page([read_searches(**searches, texts=True)])
    assert "<b>1</b>" not in page
    assert "&lt;b&gt;1&lt;/b&gt; is wrong &amp; more" in page
    assert "try <mark>2</mark> of p/" in page
    assert "attempt 8 passes, and does not hold" in page
    assert "nothing passes" in page


def test_a_search_that_is_not_whole_is_named(searches, tmp_path):
    file = tmp_path / "part.parquet"
    write_attempts(file, attempts_of("p/0", 2, True))
    cells = [{**searches["cells"][0], "file": file}]
    with pytest.raises(UserError, match=r"self_distillation, seed 0: no attempts at p/1; run this search again"):
        read_searches(**{**searches, "cells": cells})


def test_claims_say_nothing_where_nothing_passes_or_a_search_was_not_made(searches):
    read = replace(read_searches(**searches), sets={"hard": QUESTIONS, "very_hard": QUESTIONS}, pool=None)
    none = {
        search: {seed: frame.assign(correct=False) for seed, frame in seeds.items()}
        for search, seeds in read.attempts.items()
    }
    without = {"best_of": read.attempts["best_of"]}
    one = {**read.attempts, "best_of": none["best_of"]}
    verdicts = {}
    for name, attempts in {"none": none, "without": without, "one": one}.items():
        made = [replace(read, attempts=attempts)]
        table = claims_on_searches(discovery_table(made), needed_table(made)).set_index("claim")
        verdicts[name] = [table.loc[claim, "verdict"] for claim in ("DISC-1", "DISC-4", "DISC-5")]
        assert "nan" not in markdown(search_claims_views(table.reset_index()), "How", "None")
    assert verdicts["none"] == ["inconclusive"] * 3
    assert verdicts["without"] == ["not run"] * 3
    assert verdicts["one"][1:] == ["reproduced", "not reproduced"]  # best-of-k never gets there


def test_claims_are_judged_by_the_side_of_their_interval(searches):
    assert [judged(*each) for each in ((0.1, 0.3, 0), (-0.3, -0.1, 0), (-0.1, 0.1, 0), (np.nan, np.nan, 0))] == [
        "reproduced",
        "not reproduced",
        "inconclusive",
        "inconclusive",
    ]
    read = read_searches(**searches)
    read = replace(read, sets={"hard": QUESTIONS, "very_hard": QUESTIONS})
    table = claims_on_searches(discovery_table([read]), needed_table([read])).set_index("claim")
    assert table.loc["DISC-1", "value"] == pytest.approx(5 / 6 - 3 / 6)
    assert table.loc["DISC-2", "verdict"] == "not run"
    assert table.loc["DISC-4", "value"] == 2
    assert table.loc["DISC-5", "verdict"] == "not reproduced"
    assert table.loc["DISC-5", "value"] == pytest.approx(3 / 6 - 5 / 6)
    table.loc["DISC-4", ["low", "high"]] = (0.5, np.inf)
    text = markdown(search_claims_views(table.reset_index()), "How", "None")
    for words in ("three times fewer", "2.0 times [0.5, never]", "| +0.33 [", "| -0.33 |"):
        assert words in text


def test_the_papers_numbers_stand_beside_its_own_questions_alone():
    assert len(published_rows()) == 9
    assert published_discovery("livecodebench", "qwen3_8b", "very_hard", "self_distillation", 2750) == 0.53
    assert published_discovery("livecodebench", "qwen3_8b", "very_hard", "closed_form", level=0.22) == 1500
    assert published_discovery("programs", "tiny_qwen3", "hard", "best_of", 2750) is None
