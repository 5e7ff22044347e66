"""What is said of recorded rollouts one by one, against loops over the records."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from token_records import record, run_with, words

from selfdistill.reporting.figures.panels import write_figure
from selfdistill.reporting.figures.token_means import PUBLISHED, token_means_figure
from selfdistill.reporting.render.csv_tables import read_csv
from selfdistill.reporting.tokens.classes import PARTITIONS
from selfdistill.reporting.tokens.rollout_tables import (
    certain_table,
    certain_views,
    signals_table,
    signs_table,
    signs_views,
)
from selfdistill.reporting.tokens.rollouts import LEAST_SIMILAR, is_itself, similarity
from selfdistill.reporting.tokens.summaries import summarise
from selfdistill.reporting.tokens.tables import as_csv
from selfdistill.runs.records import read_records

PARTITION = "paper"


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rollouts")
    rows = [record(words(30 + 5 * i, key=i), prompt=i, hints=1 + i % 4, key=i, advantage=(-1.0) ** i) for i in range(8)]
    rows[2]["correct_logprobs"][:20] = -1e-7
    rows[3]["wrong_solutions"][1] = "".join(rows[3]["tokens"][:-1])
    rows[3]["wrong_logprobs"][1][:9] = 0.0
    alone = [record(words(25, key=9), hints=0, key=9)]
    runs = [
        run_with(folder, rows),
        run_with(folder, rows[1:4], seed=1),
        run_with(folder, alone, variant="opsd"),
        run_with(folder, [], variant="grpo"),
    ]
    return [(run, summarise(run.records, PARTITION).rollouts) for run in runs]


def records(run):
    return read_records(run.records).to_pylist()


def contrast(row, chosen):
    wrong = [[math.exp(row["wrong_logprobs"][k][t]) for k in chosen] for t in range(len(row["tokens"]))]
    return [c - math.log(sum(w) / len(w)) for c, w in zip(row["correct_logprobs"], wrong, strict=True)]


def test_means_of_each_rollout_are_those_of_a_loop(parts):
    table = signals_table(parts)
    for run, _ in parts[:3]:
        mine = table[(table["variant"] == run.variant) & (table["seed"] == run.seed)]
        for number, row in enumerate(records(run)):
            of_class: dict[str, list[tuple[float, float]]] = {}
            both = contrast(row, range(len(row["wrong_logprobs"]))) if row["wrong_logprobs"] else [math.nan] * 99
            for t, text in enumerate(row["tokens"]):
                one = abs(row["correct_logprobs"][t] - row["student_logprobs"][t])
                of_class.setdefault(PARTITIONS[PARTITION](text), []).append((one, abs(both[t])))
            found = mine[mine["prompt"] == row["prompt"]].set_index("token_class")
            assert set(found.index) == set(of_class), number
            for name, values in of_class.items():
                expected = np.mean(values, axis=0)
                assert found.loc[name, ["one_sided", "contrast"]].astype(float).tolist() == pytest.approx(
                    expected.tolist(), rel=1e-5, nan_ok=True
                )


def test_wrong_signs_by_the_number_of_hints_are_those_of_a_loop(parts):
    table = signs_table(parts)
    for run, _ in parts[:2]:
        found = table[(table["variant"] == run.variant) & (table["seed"] == run.seed)]
        expected: dict[tuple[str, str], list[float]] = {}
        for row in records(run):
            count, outcome = len(row["wrong_logprobs"]), "correct" if row["correct"] else "wrong"
            text = "".join(row["tokens"])
            least = min(range(count), key=lambda k, row=row, text=text: similarity(text, row["wrong_solutions"][k]))
            sets = {str(n): list(itertools.combinations(range(count), n)) for n in range(1, count + 1)}
            for name, chosen in {**sets, LEAST_SIMILAR: [(least,)]}.items():
                above = [np.mean(contrast(row, each)) > 0 for each in chosen]
                wrong = [not a for a in above] if row["correct"] else above
                expected.setdefault((outcome, name), []).append(100 * float(np.mean(wrong)))
        assert {
            (r["outcome"], r["negatives"]): (r["rollouts"], pytest.approx(r["wrong_sign_percent"], abs=1e-6))
            for r in found.to_dict("records")
        } == {place: (len(values), float(np.mean(values))) for place, values in expected.items()}
    assert set(table["variant"]) == {"rlcsd"}  # one without wrong hints has no contrast


def test_certain_tokens_are_counted_by_reader_and_a_rollout_is_known_as_its_own_hint(parts):
    table = certain_table(parts)
    run = parts[0][0]
    for outcome, right in (("correct", True), ("wrong", False)):
        rows = [row for row in records(run) if row["correct"] == right]
        mine = table[(table["seed"] == 0) & (table["variant"] == "rlcsd") & (table["outcome"] == outcome)]
        found = mine.set_index("reader")
        values = [value for row in rows for value in row["correct_logprobs"]]
        share = 100 * np.mean([math.exp(v) > 1 - 1e-5 for v in values])
        assert found.loc["correct hint", "certain_percent"] == pytest.approx(share)
        assert found.loc["correct hint", "tokens"] == len(values)
        assert ("wrong hint, same text" in found.index) == (not right)
    itself = table[(table["reader"] == "wrong hint, same text") & (table["seed"] == 0)].iloc[0]
    assert itself["certain_percent"] >= 100 * 9 / itself["tokens"]


def test_a_hint_is_the_rollout_itself_but_for_its_last_control_tokens():
    tokens = ["One ", "and ", "two", "<|im_end|>", "\n"]
    assert is_itself("One and two", tokens)
    assert is_itself(" One and two<|im_end|>", tokens)
    assert not any(is_itself(hint, tokens) for hint in ("One and", "and two", "", None, "One and two, then three"))


def test_similarity_is_the_share_of_common_words():
    assert similarity("a b c", "B c d!") == pytest.approx(2 / 4)
    assert similarity("", "...") == 0


def test_tables_are_whole_csv_and_views_pool_the_seeds(parts, tmp_path):
    for make, views in ((signs_table, signs_views), (certain_table, certain_views)):
        table = make(parts)
        (tmp_path / "t.csv").write_text(as_csv(table))
        (view,) = views(read_csv(tmp_path / "t.csv"))
        assert {(row.label, row.note) for row in view.rows} >= {
            ("rlcsd", "wrong rollouts"),
            ("rlcsd", "correct rollouts"),
        }
        assert make([]).columns.tolist() == table.columns.tolist()
        assert views(make([])) == []


def test_histograms_are_of_every_rollout_and_mark_what_is_published(parts, tmp_path):
    table = signals_table(parts)
    methods = {"rlcsd": "rlcsd", "opsd": "opsd"}
    figure = token_means_figure(table, methods, published=True)
    one, two = figure.axes
    assert one.get_ylabel() == "rlcsd"
    for axis, signal in ((one, "one_sided"), (two, "contrast")):
        rows = table[(table["variant"] == "rlcsd") & table["token_class"].isin(["style", "task"])]
        assert sum(bar.get_height() for bar in axis.patches) == rows[signal].notna().sum()
    marks = {round(float(line.get_xdata()[0]), 3) for line in one.lines}
    assert set(PUBLISHED.values()) <= marks
    write_figure(figure, tmp_path / "a.svg", tmp_path / "a.png")
    lone = token_means_figure(table[table["variant"] == "opsd"], methods)
    assert "no wrong hints" in {text.get_text() for text in lone.axes[1].texts}
    assert not token_means_figure(pd.DataFrame(columns=table.columns), methods).axes
