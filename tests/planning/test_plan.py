"""The plan: what is to do and done, its sums, its text and its rows."""

import csv
import io

import pytest

from selfdistill.planning import __main__ as command
from selfdistill.planning import estimates
from selfdistill.planning.dry_run import Job
from selfdistill.planning.plan import as_csv, as_text, make_plan
from selfdistill.study.matrix import BASE


def jobs_of(study, skip=()):
    """A dry run that has everything to do but for some (rule, variant)."""
    found = [Job("tables", {}), Job("all", {})]
    for run in study.runs():
        cell = {"task": run.task, "model": run.model, "variant": run.variant, "seed": str(run.seed)}
        rules = ([] if run.variant == BASE else ["train"]) + [f"evaluate_{run.task}"]
        found += [Job(rule, cell) for rule in rules if (rule, run.variant) not in skip]
    return found


def table_row(text: str, name: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.split()[:1] == [name]]
    return line.split()[1:]


def test_gpu_hours_by_rule_add_up(paper):
    plan = make_plan(paper, jobs_of(paper))
    trained = [run for run in paper.runs() if run.variant != BASE]
    expected = sum(estimates.training(paper, run.task, run.model, run.variant).gpu_hours for run in trained)
    text = as_text(plan)
    assert table_row(text, "train")[:3] == [str(len(trained)), "0", f"{expected:,.0f}"]
    every = sum(item.estimate.gpu_hours for item in plan.to_do)
    assert table_row(text, "GPU-hours") == [f"{every:,.0f}"]
    models = [table_row(text, model) for model in paper.axis("models")]
    assert sum(float(row[2].replace(",", "")) for row in models) == pytest.approx(every, abs=4)
    assert "Beside them, of minutes each: tables 1, all 1." in text


def test_the_longest_chain_is_a_run_and_its_evaluation(paper):
    hours, name = make_plan(paper, jobs_of(paper)).longest_chain
    slowest = estimates.training(paper, "math", "qwen3_8b", "opsd").hours
    assert hours == pytest.approx(slowest + estimates.evaluation(paper, "math", "qwen3_8b").hours)
    assert name.startswith("math/qwen3_8b/opsd")
    assert "A job asks for 24 hours at most" in as_text(make_plan(paper, jobs_of(paper)))


def test_what_is_done_is_counted_and_costs_nothing(demo, left_run, left_draws):
    left_run(demo, "arithmetic", "tiny_qwen3", "grpo", wall=40.0, gpus=0)
    left_draws(demo, "arithmetic", "tiny_qwen3", "grpo", wall=5.0, gpus=0)
    jobs = [job for job in jobs_of(demo) if (job.wildcards.get("task"), job.wildcards.get("variant")) != DONE]
    plan = make_plan(demo, jobs)
    assert "Done already: 1 of 16 training runs, 1 of 18 evaluations." in as_text(plan)
    assert len(plan.to_do) == 15 + 17
    assert table_row(as_text(plan), "train")[:2] == ["15", "1"]


DONE = ("arithmetic", "grpo")


def test_files_that_snakemake_would_make_again_are_not_done(demo, left_run):
    left_run(demo, "arithmetic", "tiny_qwen3", "grpo", wall=40.0, gpus=0)  # stale, says the dry run
    assert "Done already: 0 of 16 training runs" in as_text(make_plan(demo, jobs_of(demo)))


def test_an_evaluation_without_the_benchmarks_of_another_task_is_not_done(demo, study_with, left_draws):
    left_draws(demo, "arithmetic", "tiny_qwen3", "grpo", wall=5.0, gpus=0)
    more = study_with("demo", "tasks: {arithmetic: {also: {math: {problems: 10}}}}")
    assert [len(make_plan(study, []).items) for study in (demo, more)] == [1, 0]


def test_what_was_not_asked_for_is_neither_to_do_nor_done(demo):
    plan = make_plan(demo, [job for job in jobs_of(demo) if job.wildcards.get("task") != "knights"])
    assert {item.run.task for item in plan.items} == {"arithmetic"}
    assert "Done already: 0 of 16" in as_text(plan)


def test_a_run_outside_of_the_matrix_may_be_asked_for(demo):
    cell = {"task": "arithmetic", "model": "tiny_qwen3", "variant": "rlcsd", "seed": "7"}
    plan = make_plan(demo, [Job("train", cell)])
    assert [(item.rule, item.run.seed) for item in plan.to_do] == [("train", 7)]


def test_nothing_to_do_says_so(demo):
    text = as_text(make_plan(demo, []))
    assert text == "0 jobs would run. Done already: 0 of 16 training runs, 0 of 18 evaluations.\n"


def test_disk_final_and_at_the_peak(paper):
    cells = [("math", "qwen3_4b", "grpo"), ("math", "qwen3_8b", "rlcsd")]
    jobs = [Job("train", dict(zip(("task", "model", "variant", "seed"), (*c, "0"), strict=True))) for c in cells]
    plan = make_plan(paper, [*jobs, Job("pretrained_model", {"model": "qwen3_4b"})])
    assert plan.final_bytes == pytest.approx(2 * 2 * (4.02e9 + 8.19e9) + 2 * 4.02e9)
    assert plan.running_bytes == (pytest.approx(2 * 16 * 8.19e9), pytest.approx(2 * 16 * 8.19e9 + 2 * 12 * 4.02e9))


def test_data_of_the_hub_without_a_known_size_is_told(paper):
    plan = make_plan(paper, [*jobs_of(paper), Job("data", {"dataset": "kk_4to8", "split": "train"})])
    assert plan.unsized == ["kk_4to8/train.parquet"]
    assert "without 1 data sets of the hub" in as_text(plan)


def test_rows_for_machines_hold_every_run_once(paper):
    rows = list(csv.DictReader(io.StringIO(as_csv(make_plan(paper, jobs_of(paper))))))
    assert len(rows) == len(jobs_of(paper)) - 2
    (row,) = [
        r for r in rows if (r["rule"], r["task"], r["model"], r["variant"]) == ("train", "math", "qwen3_4b", "grpo")
    ]
    found = estimates.training(paper, "math", "qwen3_4b", "grpo")
    assert float(row["gpu_hours"]) == pytest.approx(found.gpu_hours, abs=1e-3)
    assert (row["planned"], row["source"], row["basis"]) == ("true", found.source, found.basis)


def test_lines_fit_a_terminal(paper):
    assert max(map(len, as_text(make_plan(paper, jobs_of(paper))).splitlines())) <= 124


def test_a_config_that_snakemake_refuses_is_one_line(monkeypatch, capsys):
    class Refused:
        def __init__(self, words):
            assert words == ["--cores", "1", "--config", "matrix={seeds: [-1]}"]

        def jobs(self):
            raise command.UserError("--config: matrix.seeds.0: expected at least 0, found -1")

    monkeypatch.setattr(command, "DryRun", Refused)
    monkeypatch.setattr(command, "study_of", lambda words: pytest.fail("not reached") if words is None else None)
    assert command.main(["--snakemake", "--cores", "1", "--config", "matrix={seeds: [-1]}"]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "--config: matrix.seeds.0: expected at least 0, found -1\n")
