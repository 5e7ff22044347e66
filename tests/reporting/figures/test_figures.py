import dataclasses
import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from selfdistill.errors import UserError
from selfdistill.reporting.figures.benchmarks import benchmarks_figure
from selfdistill.reporting.figures.panels import smooth, write_figure
from selfdistill.reporting.figures.profiles import profiles_figure
from selfdistill.reporting.figures.style import METHODS, styles
from selfdistill.reporting.figures.training import contrast_figure, dynamics_figure, signals_figure
from selfdistill.reporting.read.accuracy import gather_scores
from selfdistill.reporting.read.runs import read_metrics, series
from selfdistill.reporting.tables.accuracy import main_table
from selfdistill.reporting.tables.problems import problems_table

TITLES = ["Actor entropy (nats per token)", "Response length (tokens)", "Training reward", "Validation accuracy (%)"]


SIGNAL_TITLES = [
    "Teacher against student (nats)",
    "Size of the evidence (nats)",
    "Divergence (nats)",
    "Rollouts whose teacher was asked (%)",
    "Tokens selected or clipped (%)",
]


def runs_of(study, task):
    return [run for run in study.runs if run.task == task]


def lines_of(axis, method):
    mine = [line for line in axis.get_lines() if line.get_color() == METHODS[method].colour]
    return [line for line in mine if line.get_linestyle() != "None"]


def dots_of(axis):
    """Values of single seeds, each (step, value)."""
    dots = [line for line in axis.get_lines() if line.get_linestyle() == "None" and line.get_marker() == "."]
    return [(step, value) for line in dots for step, value in zip(*line.get_data(), strict=True)]


def legend_of(axis):
    return [text.get_text() for text in axis.get_legend().get_texts()]


def drawn(figure):
    """The figure as rendered, so that extents are known; pixels in its own resolution."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas.get_renderer()


def rewritten(run, path, change):
    """The run with metrics of its own: `change` maps each record."""
    path.write_text("".join(json.dumps(change(record)) + "\n" for record in read_metrics(run.metrics)))
    return dataclasses.replace(run, metrics=path)


def texts_of_svg(path):
    return [element.text.strip() for element in ET.parse(path).iter() if element.text and element.text.strip()]


def test_dynamics_show_the_logged_values_raw_and_smoothed(study):
    runs = runs_of(study, "arithmetic")
    figure = dynamics_figure(runs, study.tasks)
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
    (line,) = lines_of(dynamics_figure(runs, study.tasks).axes[3], "grpo")
    steps, values = line.get_data()
    expected = series(read_metrics(runs[1].metrics), "val/knights-3/mean@4")  # neither knights-2 nor 4 and 5
    assert dict(zip(steps, values, strict=True)) == pytest.approx({s: 100 * v for s, v in expected.items()})
    runs = runs_of(study, "arithmetic")
    (line,) = lines_of(dynamics_figure(runs, study.tasks).axes[3], "grpo")
    metrics = read_metrics(runs[1].metrics)
    last = [series(metrics, f"val/chain-{n}/mean@4")[40] for n in (3, 5, 8)]
    assert line.get_ydata()[-1] == pytest.approx(100 * np.mean(last))


def test_seeds_are_averaged_over_the_steps_they_share(seeded_study, tmp_path):
    runs = [r for r in runs_of(seeded_study, "arithmetic") if r.model == "tiny-a" and r.variant == "grpo"]
    both = [series(read_metrics(run.metrics), "reward/mean") for run in runs]
    short = tmp_path / "metrics.jsonl"
    short.write_text("".join(json.dumps(record) + "\n" for record in read_metrics(runs[1].metrics)[:31]))
    runs[1] = dataclasses.replace(runs[1], metrics=short)
    axis = dynamics_figure(runs, seeded_study.tasks).axes[2]
    (line,) = lines_of(axis, "grpo")  # values as logged are those of one seed, and left out
    steps, values = line.get_data()
    assert list(steps) == list(range(1, 31))
    smoothed = [smooth(np.array([curve[step] for step in steps])) for curve in both]
    np.testing.assert_allclose(values, np.mean(smoothed, axis=0))
    assert dots_of(axis) == [(30, pytest.approx(seed[-1])) for seed in smoothed]
    (band,) = axis.collections
    corners = band.get_paths()[0].vertices
    for step, *seeds in zip(steps, *smoothed, strict=True):
        assert {min(seeds), max(seeds)} <= set(corners[corners[:, 0] == step, 1])


def test_long_curves_are_drawn_by_a_hundred_points(seeded_study, tmp_path):
    """All of 480 steps of a paper's matrix would make a page of many megabytes. Ends and spikes stay."""
    rng, runs = np.random.default_rng(0), []
    for run in runs_of(seeded_study, "arithmetic"):
        if run.model == "tiny-a" and run.variant in ("grpo", "rlcsd"):
            first, path = read_metrics(run.metrics)[-1], tmp_path / f"{run.variant}{run.seed}.jsonl"
            steps = [first | {"step": n, "reward/mean": n / 480 + rng.normal(0, 0.01)} for n in range(1, 481)]
            steps[238]["reward/mean"] = 3.0
            path.write_text("".join(json.dumps(record) + "\n" for record in steps))
            runs.append(dataclasses.replace(run, metrics=path))
    axis = dynamics_figure(runs, seeded_study.tasks).axes[2]
    (line,) = lines_of(axis, "grpo")
    values = [list(series(read_metrics(run.metrics), "reward/mean").values()) for run in runs if run.method == "grpo"]
    smoothed = np.mean([smooth(np.array(seed)) for seed in values], axis=0)
    assert len(line.get_xdata()) == 100
    assert list(line.get_xdata()[[0, -1]]) == [1, 480]
    assert np.diff(line.get_xdata()).max() == 5
    np.testing.assert_allclose(line.get_ydata(), smoothed[line.get_xdata() - 1])
    assert 5 <= 100 / line.get_markevery()[1] <= 6
    assert all(len(band.get_paths()[0].vertices) <= 2 * 100 + 3 for band in axis.collections)
    raw = dynamics_figure([run for run in runs if run.seed == 0], seeded_study.tasks).axes[2].get_lines()[0]
    assert raw.get_alpha() < 0.5
    assert len(raw.get_xdata()) <= 100
    assert list(raw.get_xdata()[[0, -1]]) == [1, 480]
    assert raw.get_ydata().max() == 3.0
    assert raw.get_xdata()[raw.get_ydata().argmax()] == 239


def test_one_seed_has_no_band(study):
    assert not any(axis.collections for axis in dynamics_figure(runs_of(study, "knights"), study.tasks).axes)


def test_tasks_of_one_model_share_a_figure_row_by_row(study, seeded_study):
    figure = dynamics_figure(study.runs, study.tasks)
    assert [figure.axes[i].get_ylabel() for i in (0, 4)] == ["arithmetic", "knights"]
    assert [axis.get_title() for axis in figure.axes] == TITLES * 2
    figure = dynamics_figure(seeded_study.runs, seeded_study.tasks)
    assert figure.axes[4].get_ylabel() == "arithmetic\ntiny-b"


def point(method="rlcsd", metric="actor/entropy", step=20, value=0.33):
    return {"task": "knights", "model": "tiny-qwen3", "method": method, "metric": metric, "step": step, "value": value}


def diamonds(axis):
    return [(*line.get_xydata()[0], line.get_color()) for line in axis.get_lines() if line.get_marker() == "D"]


def test_published_points_are_marked_on_their_own_panel(study):
    elsewhere = point() | {"task": "arithmetic"}
    points = [point(), point(metric="response/length_mean", step=None, value=31), point(method="opsd"), elsewhere]
    axes = dynamics_figure(runs_of(study, "knights"), study.tasks, points).axes
    assert diamonds(axes[0]) == [(20, 0.33, METHODS["rlcsd"].colour)]
    assert diamonds(axes[1]) == [(40, 31, METHODS["rlcsd"].colour)]  # a step that is not said: at the end
    assert not diamonds(axes[2])
    assert legend_of(axes[3]) == ["grpo", "rlcsd", "published"]
    axes = dynamics_figure(runs_of(study, "knights"), study.tasks, points[2:]).axes
    assert legend_of(axes[3]) == ["grpo", "rlcsd"]


def test_the_contrast_has_a_panel_for_each_pair_that_was_run(crowded_study):
    variants = ("opsd", "opsd_ectr", "rlsd", "rlsd-own_rollout", "rlsd_ectr", "rlcsd")
    runs = [run for run in runs_of(crowded_study, "knights") if run.variant in variants]
    axes = contrast_figure(runs, [point(method="opsd", value=1.2), point(method="rlcsd")]).axes
    assert [axis.get_title().replace(", log)", ")") for axis in axes] == [TITLES[0], TITLES[2], TITLES[1]]
    assert [legend_of(axis) for axis in axes] == [
        ["opsd", "opsd_ectr", "published"],
        ["opsd", "opsd_ectr"],
        ["rlsd", "rlsd-own_rollout", "rlsd_ectr"],
    ]
    assert len(diamonds(axes[0])) == 1
    drawn_plainly = [line for line in axes[2].get_lines() if line.get_marker() == "None" and not line.get_alpha()]
    (line,) = [line for line in drawn_plainly if line.get_linestyle() == "--"]
    metrics = read_metrics(next(run for run in runs if run.variant == "rlsd_ectr").metrics)
    np.testing.assert_allclose(
        line.get_ydata(), smooth(np.array(list(series(metrics, "response/length_mean").values())))
    )


def test_a_contrast_needs_both_sides(study):
    with pytest.raises(UserError, match="one-sided variant was run beside its contrastive one"):
        contrast_figure(study.runs)
    with pytest.raises(UserError, match="listed twice"):
        contrast_figure([study.runs[2], study.runs[2]])


def test_published_values_stand_in_the_bars(study):
    table = main_table(gather_scores(study.runs, study.tasks), study.tasks)
    table = table[table["task"] == "knights"].assign(published=np.nan)
    assert not benchmarks_figure(table, study.methods).legends
    table.loc[(table["variant"] == "rlcsd") & (table["benchmark"] == "knights-3"), "published"] = 87.5
    figure = benchmarks_figure(table, study.methods)
    marked = [line for axis in figure.axes for line in axis.get_lines() if line.get_marker() == "D"]
    places = [[tuple(xy) for xy in line.get_xydata() if np.isfinite(xy).all()] for line in marked]
    assert [place for place in places if place] == [[(87.5, 2)]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["published"]


def test_tasks_with_other_benchmarks_have_rows_of_their_own(study):
    table = main_table(gather_scores(study.runs, study.tasks), study.tasks)
    figure = benchmarks_figure(table, study.methods)
    assert [axis.get_ylabel() for axis in figure.axes if axis.get_ylabel()] == ["arithmetic", "knights"]
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[:4] == ["chain-3", "chain-5", "chain-8", "chain-10 (out)"]
    assert titles[7:9] == ["knights-2 (not counted)", "knights-3"]


def test_each_model_has_a_row_and_each_variant_one_entry(seeded_study):
    figure = dynamics_figure(runs_of(seeded_study, "arithmetic"), seeded_study.tasks)
    assert len(figure.axes) == 8
    assert [figure.axes[i].get_ylabel() for i in (0, 4)] == ["tiny-a", "tiny-b"]
    for last in (3, 7):
        assert legend_of(figure.axes[last]) == ["grpo", "rlcsd", "rlcsd-gt_cot"]
    assert [axis.get_legend() for axis in figure.axes[:3]] == [None] * 3


def test_a_crowd_gets_a_row_for_each_family_in_the_order_of_the_config(crowded_study):
    runs = runs_of(crowded_study, "arithmetic")
    figure = dynamics_figure(runs, crowded_study.tasks)
    rows = {figure.axes[i].get_ylabel(): legend_of(figure.axes[i + 3]) for i in range(0, len(figure.axes), 4)}
    trained = [variant for variant in crowded_study.methods if variant != "base"]
    assert list(rows) == ["opsd", "rlsd", "rlcsd"]
    for family, names in rows.items():
        assert names == [v for v in trained if v.startswith(family) or v == "grpo"]
        assert len(names) <= 9
    assert {name for names in rows.values() for name in names} == set(trained)
    look = styles({run.variant: run.method for run in runs if run.variant != "base"})
    for axis in figure.axes[8:12]:
        found = [(line.get_color(), line.get_marker()) for line in axis.get_lines()]
        assert len(found) == len(set(found)) == 9
        assert {colour for colour, _ in found} == {look[name].colour for name in rows["rlcsd"]}


def test_one_method_that_explodes_does_not_press_the_others_flat(crowded_study, study):
    """Entropies from 0.02 to 0.4 get a logarithmic axis with readable ticks; those within a factor of five do not."""
    axis = dynamics_figure(runs_of(crowded_study, "knights"), crowded_study.tasks).axes[0]
    assert axis.get_title() == "Actor entropy (nats per token, log)"
    assert axis.get_yscale() == "log"
    low, high = axis.get_ylim()
    ticks = [tick for tick in axis.get_yticks() if low <= tick <= high]
    assert len(ticks) >= 3
    assert axis.yaxis.get_major_formatter()(0.2) == "0.2"
    axes = dynamics_figure(runs_of(study, "knights"), study.tasks).axes
    assert [axis.get_yscale() for axis in axes] == ["linear"] * 4


def test_signals_show_what_the_runs_with_a_teacher_log(crowded_study):
    runs = runs_of(crowded_study, "knights")
    figure = signals_figure(runs)
    assert [axis.get_title().replace(", log)", ")") for axis in figure.axes] == SIGNAL_TITLES * 3
    assert [legend_of(figure.axes[i]) for i in (4, 9)] == [
        ["opsd", "opsd-own_rollout", "opsd_ectr"],
        ["rlsd", "rlsd-own_rollout", "rlsd_ectr"],
    ]
    assert "grpo" not in legend_of(figure.axes[14])
    metrics = read_metrics(next(run for run in runs if run.variant == "rlcsd").metrics)
    keys = ["teacher/gap_abs_mean", "signal/evidence_abs_mean", None, "hints/hinted_share", "signal/selected_share"]
    for axis, key in zip(figure.axes[10:], keys, strict=True):
        if key is None:
            assert [text.get_text() for text in axis.texts] == ["none of these logs it"]
            assert not axis.get_lines()
            continue
        scale = 100 if "share" in key else 1
        (line,) = lines_of(axis, "rlcsd")[:1]
        expected = scale * smooth(np.array(list(series(metrics, key).values())))
        np.testing.assert_allclose(line.get_ydata(), expected)
    assert "null contrast" not in figure.axes[1].get_xlabel()  # opsd has no evidence to compare it with
    divergence = lines_of(figure.axes[2], "opsd")
    assert len(divergence) == 4  # raw and smoothed of opsd and of opsd_ectr, which share a colour


def test_the_null_contrast_stands_beside_the_evidence(study, tmp_path):
    (run,) = [run for run in runs_of(study, "knights") if run.variant == "rlcsd"]
    axis = signals_figure([run]).axes[1]
    assert axis.get_xlabel() == "Training step\nnull contrast up to 4e-05"  # 41e-6 at the last step
    assert len(axis.get_lines()) == 2  # raw and smoothed: the noise is far below
    noisy = rewritten(run, tmp_path / "noisy.jsonl", lambda r: r | {"guard/null_contrast_abs_max": 0.02})
    axis = signals_figure([noisy]).axes[1]
    assert axis.get_xlabel() == "Training step\nnull contrast up to 0.02"
    dotted = axis.get_lines()[-1]
    assert dotted.get_linestyle() == ":"
    assert set(dotted.get_ydata()) == {0.02}
    off = rewritten(run, tmp_path / "off.jsonl", lambda r: {k: v for k, v in r.items() if not k.startswith("guard/")})
    assert signals_figure([off]).axes[1].get_xlabel() == "Training step"


def test_a_plain_teacher_has_signals_without_hints(study, tmp_path):
    (run,) = [run for run in runs_of(study, "knights") if run.variant == "rlcsd"]
    plain = rewritten(run, tmp_path / "x.jsonl", lambda r: {k: v for k, v in r.items() if not k.startswith("hints/")})
    axes = signals_figure([plain]).axes
    assert axes[0].get_lines()
    assert [text.get_text() for text in axes[3].texts] == ["none of these logs it"]


def test_signals_need_a_teacher(study):
    with pytest.raises(UserError, match="no run logs 'teacher/gap_abs_mean'"):
        signals_figure([run for run in study.runs if run.variant in ("base", "grpo")])
    with pytest.raises(UserError, match="listed twice"):
        signals_figure([study.runs[2], study.runs[2]])


def test_files_are_drawn_and_equal_bytes_come_again(study, tmp_path):
    groups = gather_scores(study.runs, study.tasks)
    table = main_table(groups, study.tasks)
    figures = {
        "dynamics": lambda: dynamics_figure(runs_of(study, "knights"), study.tasks),
        "signals": lambda: signals_figure(runs_of(study, "knights")),
        "bars": lambda: benchmarks_figure(table[table["task"] == "knights"], study.methods),
    }
    for name, draw in figures.items():
        write_figure(draw(), tmp_path / f"{name}.svg", tmp_path / f"{name}.png")
        write_figure(draw(), tmp_path / "again.svg")
        assert (tmp_path / "again.svg").read_bytes() == (tmp_path / f"{name}.svg").read_bytes()
        pixels = np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB"))
        assert min(pixels.shape[:2]) > 300
        for method in ("rlcsd",) if name == "signals" else ("grpo", "rlcsd"):
            colour = tuple(int(METHODS[method].colour[i : i + 2], 16) for i in (1, 3, 5))
            assert (np.abs(pixels.astype(int) - colour).max(axis=2) < 3).sum() > 200, f"{name}: {method} is not drawn"
        assert 0.5 < (pixels == 255).all(axis=2).mean() < 0.98
    words = texts_of_svg(tmp_path / "dynamics.svg")
    assert {*TITLES, "Training step", "grpo", "rlcsd"} <= set(words)
    words = texts_of_svg(tmp_path / "bars.svg")
    assert {"pass@1 (%)", "base", "knights-3", "knights-2 (not counted)", "Average out"} <= set(words)


def test_bars_whiskers_and_numbers_are_the_table(study):
    table = main_table(gather_scores(study.runs, study.tasks), study.tasks)
    table = table[table["task"] == "arithmetic"]
    figure = benchmarks_figure(table, study.methods)
    names = list(table["benchmark"].unique())
    assert [axis.get_title() for axis in figure.axes] == [
        *("chain-3", "chain-5", "chain-8", "chain-10 (out)", "Average", "Average in", "Average out")
    ]
    for axis, name in zip(figure.axes, names, strict=True):
        rows = table[table["benchmark"] == name]
        (bars,) = [container for container in axis.containers if hasattr(container, "patches")]
        np.testing.assert_allclose([bar.get_width() for bar in bars], rows["value"])
        spans = [segment[:, 0].tolist() for segment in bars.errorbar.lines[2][0].get_segments()]
        np.testing.assert_allclose(spans, rows[["low", "high"]].to_numpy())
        assert [text.get_text() for text in axis.texts] == [f"{value:.1f}" for value in rows["value"]]
        top, bottom = bars[0].get_y(), bars[-1].get_y()
        assert axis.transData.transform((0, top))[1] > axis.transData.transform((0, bottom))[1]  # base is on top
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["base", "grpo", "rlcsd"]


def test_a_variant_without_a_benchmark_leaves_a_gap(study):
    table = main_table(gather_scores(study.runs, study.tasks), study.tasks)
    table = table[(table["task"] == "arithmetic") & ~((table["variant"] == "grpo") & (table["benchmark"] == "chain-8"))]
    axis = benchmarks_figure(table, study.methods).axes[2]
    places = [bar.get_y() + bar.get_height() / 2 for bar in axis.containers[-1].patches]
    np.testing.assert_allclose(places, [0, 2])


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
        dynamics_figure([dataclasses.replace(run, metrics=path)], study.tasks)


def test_base_models_alone_have_no_dynamics(study):
    with pytest.raises(UserError, match="at least one trained run"):
        dynamics_figure(study.runs[:1], study.tasks)


def test_a_run_without_validation_leaves_that_panel_empty(study, tmp_path):
    run = runs_of(study, "arithmetic")[1]
    path = tmp_path / "metrics.jsonl"
    records = [{k: v for k, v in r.items() if not k.startswith("val/")} for r in read_metrics(run.metrics)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    figure = dynamics_figure([dataclasses.replace(run, metrics=path)], study.tasks)
    (line,) = figure.axes[3].get_lines()
    assert len(line.get_xdata()) == 0


def test_seeds_are_dots_beside_the_bars_and_profiles_are_steps_of_their_table(seeded_study):
    scores = gather_scores(seeded_study.runs, seeded_study.tasks)
    methods = {run.variant: run.method for run in seeded_study.runs}
    main = main_table([s for s in scores if s.task == "arithmetic"], seeded_study.tasks)
    axis = next(a for a in benchmarks_figure(main, methods).axes if a.get_title() == "chain-5")
    dots = {value for line in axis.get_lines() if line.get_marker() == "o" for value in line.get_xdata()}
    part = main[(main["model"] == "tiny-a") & (main["benchmark"] == "chain-5")]
    assert dots == {float(value) for text in part["by_seed"] for value in text.split()}
    assert len(dots) >= 4
    hard = problems_table(scores, seeded_study.tasks)
    hard = hard[(hard["task"] == "arithmetic") & (hard["model"] == "tiny-a")]
    axis = next(a for a in profiles_figure(hard, methods).axes if a.get_title() == "chain-5")
    row = hard[(hard["variant"] == "rlcsd") & (hard["benchmark"] == "chain-5")].iloc[0]
    drawn_lines = [list(line.get_ydata()) for line in axis.get_lines()]
    assert [100, *(row[f"at_least_{k}"] for k in range(10, 101, 10))] in drawn_lines
    assert len(drawn_lines) == 4
