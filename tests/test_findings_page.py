"""What docs/findings.md is made by: whole seeds count, verdicts follow the rule, selections are counted by tokens."""

import importlib
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from configurations import ROOT

from selfdistill.errors import UserError
from selfdistill.evaluation.estimators import Difference, paired_difference


@pytest.fixture
def findings(monkeypatch):
    """The module, without anything that it kept; what it keeps here nobody else reads."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    _forget()
    yield importlib.import_module("from_code.findings")
    _forget()


def _forget():
    for name in [each for each in sys.modules if each.partition(".")[0] in ("from_code", "generate")]:
        del sys.modules[name]


@pytest.fixture
def archive(findings, tmp_path, monkeypatch):
    """Draws of the main block: three seeds, of the last of which a variant is not there; forty problems."""
    rng, rows = np.random.default_rng(0), []
    for task, variant, seed in findings.blocks()["main"]:
        if seed < 2 or (seed == 2 and variant != "grpo"):
            right = rng.random(40) < (0.9 if variant == "rlcsd" else 0.5)
            rows += [
                {"task": task, "variant": variant, "seed": seed, "problem_id": f"p/{n:02}", "correct": bool(each)}
                for n, each in enumerate(right)
            ]
    rng.shuffle(rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "draws.parquet")
    monkeypatch.setattr(findings, "ARCHIVE", tmp_path)
    return rows


def test_a_seed_counts_where_every_variant_of_its_block_is_there(findings, archive):
    assert findings.whole(findings.blocks()["main"]) == [0, 1]
    assert sorted(findings.correct()["slips", "rlcsd"]) == [0, 1]
    assert "| main | 70 | 20 | 2 |" in findings.ran()


def test_an_answer_is_the_paired_difference_of_the_draws(findings, archive):
    found, seeds = findings.answer(findings.PRIMARY[0])
    sides = []
    for variant in ("rlcsd", "grpo"):
        side = np.zeros((2, 40))
        for row in archive:
            if row["variant"] == variant and row["seed"] < 2:
                side[row["seed"], int(row["problem_id"][2:])] = row["correct"]
        sides.append([side])
    expected = paired_difference(*sides)
    assert seeds == 2
    assert (found.value, found.low, found.high) == pytest.approx(
        [100 * each for each in (expected.value, expected.low, expected.high)]
    )
    assert found.p_value == expected.p_value
    assert found.value == pytest.approx(100 * (sides[0][0].mean() - sides[1][0].mean()))
    assert findings.answer(findings.SIDE[0]) is None
    assert "not run" in findings.side_answers()


@pytest.mark.parametrize(
    ("interval", "corrected", "expected"),
    [
        ((3, 1, 5), 0.01, "higher"),
        ((-3, -5, -1), 0.049, "lower"),
        ((0.5, -1, 1.9), 0.4, "no difference that matters"),
        ((0.5, -1, 2.1), 0.4, "open"),
        ((1.5, 0.9, 1.9), 0.06, "no difference that matters"),
    ],
)
def test_the_verdict_is_the_rule_of_the_page(findings, interval, corrected, expected):
    assert findings.verdict(Difference(*interval, corrected), corrected) == expected


def test_what_two_settings_select_is_counted_token_by_token(findings):
    rng = np.random.default_rng(1)
    words = ["1", "+", "2", "=", "3", "; "]
    rows, other, counts = {}, {}, np.zeros(5)
    for place in ((0, 0), (0, 1), (1, 0)):
        mine, theirs = (rng.random(6) < 0.5 for _ in range(2))
        rows[place] = {"tokens": words, "selected": mine.tolist()}
        other[place] = {"tokens": words, "selected": theirs.tolist()}
        for t in range(6):
            result = t > 0 and words[t - 1] == "="
            counts += [1, mine[t], mine[t] and result, mine[t] and theirs[t], mine[t] or theirs[t]]
    found = findings._selected(rows, other)
    assert found == pytest.approx((counts[1] / counts[0], counts[2] / counts[1], counts[3] / counts[4]))


def test_the_design_table_is_made_of_studies_that_can_fail(findings):
    """With no difference between runs but two points, more seeds find it more often."""
    shares = [np.mean([findings._found(seeds, 0.01, number) for number in range(40)]) for seeds in (3, 10)]
    assert shares[0] < shares[1] < 1


def test_the_answers_in_words_are_those_of_the_archive(findings):
    page = " ".join((ROOT / "docs" / "findings.md").read_text(encoding="utf-8").split())
    written = importlib.import_module("from_code.findings_statements").statements(findings.study())
    assert [each.words for each in written if " ".join(each.words.split()) not in page] == []
    assert [each.words for each in written if not each.holds()] == []


def test_a_variant_that_no_question_is_about_is_refused_and_a_question_about_none(findings, monkeypatch):
    findings.check_questions()
    monkeypatch.setattr(findings, "SIDE", findings.SIDE[1:])
    with pytest.raises(
        UserError, match=r"rlcsd-permuted_in_batch on slips: in findings\.yaml, but no question is about"
    ):
        findings.check_questions()
    monkeypatch.setattr(findings, "SIDE", (findings.Question("S1", "?", "rlcsd", "rlcsd-unheard"),))
    with pytest.raises(UserError, match=r"rlcsd-unheard on slips: in a question, but findings\.yaml does not run it"):
        findings.check_questions()
