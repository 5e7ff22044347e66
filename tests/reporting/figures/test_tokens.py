"""The figure of tokens: whose are shown, what the bars say."""

import re

import numpy as np
import pytest
from token_records import classes_of, record, run_with, tokens_of, words

from selfdistill.reporting.figures.panels import write_figure
from selfdistill.reporting.figures.tokens import tokens_figure
from selfdistill.reporting.tokens.tables import tokens_table, top_tokens_table


def figure_of(tmp_path, *variants, rows=None, **options):
    rows = rows or [record(words(300, key=i), prompt=i, key=i) for i in range(2)]
    lone = [record(words(300, key=i), prompt=i, key=i, hints=0) for i in range(2)]
    runs = [run_with(tmp_path, rows if "ectr" in v or "rlcsd" in v else lone, variant=v, **options) for v in variants]
    top, tokens = top_tokens_table(tokens_of(runs)), tokens_table(classes_of(runs))
    return tokens_figure(top, tokens, {run.variant: run.method for run in runs}), top, tokens


@pytest.mark.parametrize(
    ("variants", "shown"),
    [
        (("rlsd", "opsd_ectr", "rlcsd-gt_cot", "rlcsd"), "rlcsd"),
        (("rlsd", "rlsd_ectr", "opsd_ectr"), "opsd_ectr"),
        (("opsd", "rlsd"), "opsd"),
    ],
)
def test_whose_tokens_are_shown(tmp_path, variants, shown):
    figure, *_ = figure_of(tmp_path, *variants)
    assert figure.axes[0].get_ylabel() == shown


def test_bars_are_the_tables_and_shares_add_up(tmp_path):
    figure, top, tokens = figure_of(tmp_path, "rlcsd")
    for axis, signal in zip(figure.axes, ("one_sided", "contrast"), strict=False):
        rows = top[top["signal"] == signal]
        assert [bar.get_width() for bar in axis.patches] == pytest.approx(list(rows["abs_mean"]))
    widths = np.array([bar.get_width() for bar in figure.axes[2].patches]).reshape(3, 3)
    np.testing.assert_allclose(widths.sum(axis=1), 100)
    styled = tokens.set_index("token_class").loc["style"]
    assert widths[1, 0] == pytest.approx(100 * styled["one_sided_share"])
    assert widths[2, 0] == pytest.approx(100 * styled["contrast_share"])
    assert widths[0, 0] == pytest.approx(100 * styled["tokens"] / tokens["tokens"].sum())


def test_a_method_without_wrong_hints_says_so(tmp_path):
    figure, *_ = figure_of(tmp_path, "rlsd")
    assert "no wrong hints" in {text.get_text() for text in figure.axes[1].texts}


def test_any_token_can_be_a_label(tmp_path):
    texts = ["$x_{", "\\frac", "\n\n", "^{", " $", "<b>", "a\tb", '"', "\\", "%"]
    figure, *_ = figure_of(tmp_path, "rlcsd", rows=[record(texts * 6)])
    write_figure(figure, tmp_path / "a.svg", tmp_path / "a.png")
    labels = set(re.findall(r">([^<>]+)</(?:text|tspan)>", (tmp_path / "a.svg").read_text()))
    assert {"$x_{", "\\frac", "\\n\\n", "a\\tb"} <= labels


def test_nothing_ranked_is_a_figure_all_the_same(tmp_path):
    figure, *_ = figure_of(tmp_path, "rlcsd", rows=[record(["a", "b"])])
    write_figure(figure, tmp_path / "a.svg")
    assert "no token was recorded often enough" in (tmp_path / "a.svg").read_text()


def test_equal_tables_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        figure, *_ = figure_of(tmp_path / name, "rlcsd")
        write_figure(figure, tmp_path / f"{name}.svg", tmp_path / f"{name}.png")
    for ending in ("svg", "png"):
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()
