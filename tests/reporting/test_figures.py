import dataclasses
import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from selfdistill.errors import UserError
from selfdistill.reporting.figures import benchmarks_figure, dynamics_figure, smooth, write_figure
from selfdistill.reporting.palette import METHODS
from selfdistill.reporting.runs import read_metrics, series
from selfdistill.reporting.tables import main_table, read_groups

TITLES = ["Actor entropy (nats per token)", "Response length (tokens)", "Training reward", "Validation accuracy (%)"]


def runs_of(study, task):
    return [run for run in study.runs if run.task == task]


def lines_of(axis, method):
    return [line for line in axis.get_lines() if line.get_color() == METHODS[method].colour]


def texts_of_svg(path):
    return [element.text.strip() for element in ET.parse(path).iter() if element.text and element.text.strip()]


def test_dynamics_show_the_logged_values_raw_and_smoothed(study):
    runs = runs_of(study, "arithmetic")
    figure = dynamics_figure(runs, study.tasks["arithmetic"])
    assert [axis.get_title() for axis in figure.axes] == TITLES
    metrics = read_metrics(runs[2].metrics)
    keys = ("actor/entropy", "response/length_mean", "reward/mean")
    for axis, key in zip(figure.axes, keys, strict=False):
        raw, smoothed = lines_of(axis, "rlcsd")
        assert dict(zip(*raw.get_data(), strict=True)) == series(metrics, key)
        assert raw.get_alpha() < 0.5
        np.testing.assert_allclose(smoothed.get_ydata(), smooth(np.array(list(series(metrics, key).values()))))


def test_validation_is_the_macro_mean_of_counted_benchmarks_in_distribution(study):
    runs = runs_of(study, "knights")
    (line,) = lines_of(dynamics_figure(runs, study.tasks["knights"]).axes[3], "grpo")
    steps, values = line.get_data()
    expected = series(read_metrics(runs[1].metrics), "val/knights-3/mean@4")  # neither knights-2 nor 4 and 5
    assert dict(zip(steps, values, strict=True)) == pytest.approx({s: 100 * v for s, v in expected.items()})
    runs = runs_of(study, "arithmetic")
    (line,) = lines_of(dynamics_figure(runs, study.tasks["arithmetic"]).axes[3], "grpo")
    metrics = read_metrics(runs[1].metrics)
    last = [series(metrics, f"val/chain-{n}/mean@4")[40] for n in (3, 5, 8)]
    assert line.get_ydata()[-1] == pytest.approx(100 * np.mean(last))


def test_seeds_are_averaged_over_the_steps_they_share(seeded_study, tmp_path):
    runs = [r for r in runs_of(seeded_study, "arithmetic") if r.model == "tiny-a" and r.variant == "grpo"]
    both = [series(read_metrics(run.metrics), "reward/mean") for run in runs]
    short = tmp_path / "metrics.jsonl"
    short.write_text("".join(json.dumps(record) + "\n" for record in read_metrics(runs[1].metrics)[:31]))
    runs[1] = dataclasses.replace(runs[1], metrics=short)
    raw, _ = lines_of(dynamics_figure(runs, seeded_study.tasks["arithmetic"]).axes[2], "grpo")
    steps, values = raw.get_data()
    assert list(steps) == list(range(1, 31))
    np.testing.assert_allclose(values, [(both[0][s] + both[1][s]) / 2 for s in steps])


def test_each_model_has_a_row_and_each_variant_one_entry(seeded_study):
    figure = dynamics_figure(runs_of(seeded_study, "arithmetic"), seeded_study.tasks["arithmetic"])
    assert len(figure.axes) == 8
    assert [figure.axes[i].get_ylabel() for i in (0, 4)] == ["tiny-a", "tiny-b"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["grpo", "rlcsd", "rlcsd-gt_cot"]


def test_files_are_drawn_and_equal_bytes_come_again(study, tmp_path):
    groups = read_groups(study.runs, study.tasks)
    table = main_table(groups, study.tasks)
    figures = {
        "dynamics": lambda: dynamics_figure(runs_of(study, "knights"), study.tasks["knights"]),
        "bars": lambda: benchmarks_figure(table[table["task"] == "knights"], study.methods),
    }
    for name, draw in figures.items():
        write_figure(draw(), tmp_path / f"{name}.svg", tmp_path / f"{name}.png")
        write_figure(draw(), tmp_path / "again.svg")
        assert (tmp_path / "again.svg").read_bytes() == (tmp_path / f"{name}.svg").read_bytes()
        pixels = np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB"))
        assert min(pixels.shape[:2]) > 300
        for method in ("grpo", "rlcsd"):
            colour = tuple(int(METHODS[method].colour[i : i + 2], 16) for i in (1, 3, 5))
            assert (np.abs(pixels.astype(int) - colour).max(axis=2) < 3).sum() > 200, f"{name}: {method} is not drawn"
        assert 0.5 < (pixels == 255).all(axis=2).mean() < 0.98
    words = texts_of_svg(tmp_path / "dynamics.svg")
    assert {*TITLES, "Training step", "grpo", "rlcsd"} <= set(words)
    words = texts_of_svg(tmp_path / "bars.svg")
    assert {"pass@1 (%)", "base", "knights-3", "knights-2", "(not counted)", "Average out"} <= set(words)


def test_bars_and_whiskers_are_the_table(study):
    table = main_table(read_groups(study.runs, study.tasks), study.tasks)
    table = table[table["task"] == "arithmetic"]
    (axis,) = benchmarks_figure(table, study.methods).axes
    bars = [container for container in axis.containers if hasattr(container, "patches")]
    heights = [[bar.get_height() for bar in container] for container in bars]
    expected = [table.loc[table["variant"] == variant, "value"].tolist() for variant in ("base", "grpo", "rlcsd")]
    np.testing.assert_allclose(heights, expected)
    spans = [segment[:, 1].tolist() for container in bars for segment in container.errorbar.lines[2][0].get_segments()]
    np.testing.assert_allclose(spans, table[["low", "high"]].to_numpy())


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=200).map(np.array))
def test_smoothing_keeps_length_range_and_constants(values):
    smoothed = smooth(values)
    assert smoothed.shape == values.shape
    assert values.min() - 1e-9 <= smoothed.min()
    assert smoothed.max() <= values.max() + 1e-9
    np.testing.assert_allclose(smooth(np.full_like(values, 3.0)), 3.0)


def test_smoothing_keeps_the_slope_inside_and_removes_noise():
    line = np.arange(100.0)
    np.testing.assert_allclose(smooth(line)[6:-6], line[6:-6])
    zigzag = np.tile([1.0, -1.0], 50)
    assert np.abs(smooth(zigzag)).max() < 0.2


def test_a_metric_that_is_nowhere_is_named(study, tmp_path):
    run = runs_of(study, "arithmetic")[1]
    path = tmp_path / "metrics.jsonl"
    records = [{k: v for k, v in r.items() if k != "actor/entropy"} for r in read_metrics(run.metrics)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.raises(UserError, match=r"metrics\.jsonl: no step has a number for 'actor/entropy'"):
        dynamics_figure([dataclasses.replace(run, metrics=path)], study.tasks["arithmetic"])


def test_base_models_alone_have_no_dynamics(study):
    with pytest.raises(UserError, match="at least one trained run"):
        dynamics_figure(study.runs[:1], study.tasks["arithmetic"])


def test_a_run_without_validation_leaves_that_panel_empty(study, tmp_path):
    run = runs_of(study, "arithmetic")[1]
    path = tmp_path / "metrics.jsonl"
    records = [{k: v for k, v in r.items() if not k.startswith("val/")} for r in read_metrics(run.metrics)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    figure = dynamics_figure([dataclasses.replace(run, metrics=path)], study.tasks["arithmetic"])
    (line,) = figure.axes[3].get_lines()
    assert len(line.get_xdata()) == 0
