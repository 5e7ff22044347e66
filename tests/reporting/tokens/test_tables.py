"""Tables of tokens, against loops over the records."""

import math
from collections import defaultdict

import numpy as np
import pandas as pd
import pytest
import torch
from token_records import classes_of, record, run_with, tokens_of, words

from selfdistill.errors import UserError
from selfdistill.objectives.contrast import mean_wrong_logprobs
from selfdistill.reporting.render.csv_tables import read_csv
from selfdistill.reporting.tokens import tables as tokens_module
from selfdistill.reporting.tokens.classes import token_class
from selfdistill.reporting.tokens.rollouts import mean_wrong
from selfdistill.reporting.tokens.summaries import read_frame, summarise, write_frame
from selfdistill.reporting.tokens.tables import as_csv, tokens_table, top_tokens_table
from selfdistill.runs.records import read_records


@pytest.fixture
def runs(tmp_path):
    rows = [record(words(40 + 30 * i, key=i), step=1 + i, prompt=i, hints=1 + i % 3, key=i) for i in range(5)]
    more = [record(words(25, key=9), hints=3, key=9)]
    alone = [record(words(30, key=7), hints=0, distilled=True, key=7)]
    return [
        run_with(tmp_path, rows),
        run_with(tmp_path, more, seed=1),
        run_with(tmp_path, alone, variant="opsd"),
        run_with(tmp_path, [], variant="grpo"),
    ]


def sizes(row):
    """Token by token: text, |e_c|, |e_ctr|."""
    for t, text in enumerate(row["tokens"]):
        wrong = [math.exp(values[t]) for values in row["wrong_logprobs"]]
        one = row["correct_logprobs"][t] - row["student_logprobs"][t]
        contrast = row["correct_logprobs"][t] - math.log(sum(wrong) / len(wrong)) if wrong else math.nan
        yield text, abs(one), abs(contrast)


def test_means_and_shares_by_class_are_those_of_a_loop(runs):
    table = tokens_table(classes_of(runs)).set_index(["variant", "seed", "token_class"])
    assert set(table.index) == {
        (v, s, c) for v, s in [("rlcsd", 0), ("rlcsd", 1), ("opsd", 0)] for c in ("style", "task", "other")
    }
    for run in runs[:3]:
        for kind in ("style", "task", "other"):
            found = table.loc[(run.variant, run.seed, kind)]
            means, contrasts, here, total, count = [], [], 0.0, 0.0, 0
            for row in read_records(run.records).to_pylist():
                mine = [(one, c) for text, one, c in sizes(row) if token_class(text) == kind]
                total += sum(one for _, one, _ in sizes(row))
                here += sum(one for one, _ in mine)
                count += len(mine)
                means.append(np.mean([one for one, _ in mine]))
                contrasts.append(np.mean([c for _, c in mine]))
            assert found["tokens"] == count
            assert found["one_sided_abs_mean"] == pytest.approx(np.mean(means), rel=1e-5)
            assert found["contrast_abs_mean"] == pytest.approx(np.mean(contrasts), rel=1e-4, nan_ok=True)
            assert found["one_sided_share"] == pytest.approx(here / total, rel=1e-5)
    assert table.loc["opsd"]["contrast_abs_mean"].isna().all()
    assert table.loc["opsd"]["contrast_share"].isna().all()


def test_the_top_tokens_are_those_of_a_loop_over_all_seeds(runs):
    table = top_tokens_table(tokens_of(runs), top=4)
    found = defaultdict(list)
    for run in runs[:2]:
        for row in read_records(run.records).to_pylist():
            for text, one, contrast in sizes(row):
                found[text].append((one, contrast))
    for place, signal in enumerate(("one_sided", "contrast")):
        expected = sorted(((np.mean([each[place] for each in v]), k) for k, v in found.items()), reverse=True)[:4]
        shown = table[(table["variant"] == "rlcsd") & (table["signal"] == signal)]
        assert list(shown["rank"]) == [1, 2, 3, 4]
        assert list(shown["token"]) == [tokens_module.written(text) for _, text in expected]
        assert list(shown["abs_mean"]) == pytest.approx([mean for mean, _ in expected], rel=1e-4)
        assert list(shown["count"]) == [len(found[text]) for _, text in expected]
    assert set(table[table["variant"] == "opsd"]["signal"]) == {"one_sided"}


def test_the_mean_over_wrong_hints_is_that_of_training():
    rng = np.random.default_rng(0)
    wrong = np.log(rng.uniform(size=(3, 50)))
    wrong[0, 1] = wrong[:, 2] = -np.inf
    wrong[:, 3] = -800
    expected = mean_wrong_logprobs(torch.tensor(wrong)[None], torch.ones(1, 3, dtype=torch.bool))[0]
    np.testing.assert_allclose(mean_wrong(wrong), expected.numpy())
    assert np.isnan(mean_wrong(np.empty((0, 4)))).all()
    assert len(mean_wrong(np.empty((0, 4)))) == 4


def test_rare_tokens_are_not_ranked(tmp_path):
    texts = ["once"] + ["four"] * 4 + ["five"] * 5
    gap = np.array([9.0] + [5.0] * 4 + [0.1] * 5, np.float32)
    zeros = np.zeros(10, np.float32)
    row = record(texts, correct_logprobs=-gap, student_logprobs=zeros, wrong_logprobs=[zeros])
    shown = top_tokens_table(tokens_of([run_with(tmp_path, [row])]))
    assert list(shown["token"]) == ["five", "five"]


def test_tokens_come_back_from_the_csv_as_they_were(tmp_path):
    texts = [*["null"] * 5, *["NaN"] * 5, *["\n\n"] * 5, *[' "a, b'] * 5, *["答"] * 5]
    table = top_tokens_table(tokens_of([run_with(tmp_path, [record(texts)])]))
    (tmp_path / "top.csv").write_text(as_csv(table), encoding="utf-8")
    back = read_csv(tmp_path / "top.csv")
    assert list(back["token"]) == list(table["token"])
    assert set(back["token"]) == {"null", "NaN", "\\n\\n", ' \\"a, b', "答"}


def test_small_sizes_survive_the_csv(tmp_path):
    row = record(["1", "2"], correct_logprobs=np.float32([-3e-6, -3e-6]), student_logprobs=np.zeros(2, np.float32))
    (tmp_path / "t.csv").write_text(as_csv(tokens_table(classes_of([run_with(tmp_path, [row])]))))
    table = pd.read_csv(tmp_path / "t.csv").set_index("token_class")
    assert table.loc["task", "one_sided_abs_mean"] == pytest.approx(3e-6, rel=1e-4)
    assert math.isnan(table.loc["style", "one_sided_abs_mean"])


def test_nothing_recorded_gives_headers_only(tmp_path):
    runs = [run_with(tmp_path, [], variant="grpo")]
    assert as_csv(tokens_table(classes_of(runs))).startswith(
        "task,model,variant,seed,token_class,tokens,one_sided_abs_mean,contrast"
    )
    assert tokens_table(classes_of(runs)).empty
    assert top_tokens_table([]).empty


def test_columns_of_unlike_length_are_named(tmp_path):
    run = run_with(tmp_path, [record(["a", "b"], correct_logprobs=[0.0])])
    with pytest.raises(UserError, match=r"records\.parquet.*'correct_logprobs'"):
        summarise(run.records)


def test_a_summary_comes_back_to_the_last_bit(runs, tmp_path):
    for run in runs:
        summary = summarise(run.records)
        for name, frame in vars(summary).items():
            write_frame(tmp_path / f"{name}.parquet", frame)
            pd.testing.assert_frame_equal(
                read_frame(tmp_path / f"{name}.parquet"), frame, check_exact=True, check_dtype=bool(len(frame))
            )


def test_a_summary_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "classes.parquet").write_text("PAR?")
    with pytest.raises(UserError, match=r"classes\.parquet.*delete it"):
        read_frame(tmp_path / "classes.parquet")


def test_a_run_listed_twice_is_refused(runs):
    for table, found in ((tokens_table, classes_of), (top_tokens_table, tokens_of)):
        with pytest.raises(UserError, match="listed twice"):
            table(found([runs[0], runs[0]]))
