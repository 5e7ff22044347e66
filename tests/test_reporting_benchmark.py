"""The benchmark of the report: what it reads out of Snakemake's log, and that the files it makes up can be reported."""

import importlib.util
import sys
from pathlib import Path

import pytest

from selfdistill.evaluation.draws import read_matrix
from selfdistill.reporting.read.accuracy import gather_scores
from selfdistill.reporting.read.runs import RunFiles, read_metrics
from selfdistill.reporting.tokens.summaries import summarise
from selfdistill.runs.records import read_records
from selfdistill.study.matrix import Run

ROOT = Path(__file__).parents[1]
LOG = """Building DAG of jobs...
Job stats:
job      count
tables       1

[Sat Nov 21 14:33:03 2026]
rule tables:
    input: a
    jobid: 7
    wildcards: x=y
[Sat Nov 21 14:33:04 2026]
localrule power:
    jobid: 8
[Sat Nov 21 14:33:06 2026]
Finished jobid: 7 (Rule: tables)
1 of 3 steps (33%) done
[Sat Nov 21 14:33:06 2026]
rule tables:
    jobid: 9
[Sat Nov 21 14:33:08 2026]
Finished jobid: 9 (Rule: tables)
[Sat Nov 21 14:33:09 2026]
Finished jobid: 8 (Rule: power)
"""


@pytest.fixture(scope="module")
def benchmarks():
    """A script of benchmarks/ as a module, by its file: a folder of tests is called `reporting` too."""
    folder = str(ROOT / "benchmarks")

    def load(name):
        if name in sys.modules and getattr(sys.modules[name], "__file__", None) == f"{folder}/{name}.py":
            return sys.modules[name]
        spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", f"{folder}/{name}.py")
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    sys.path.append(folder)
    yield load
    sys.path.remove(folder)


def test_times_are_read_from_the_log(benchmarks):
    reporting = benchmarks("reporting")
    began = reporting.datetime(2026, 11, 21, 14, 33, 1).timestamp()
    took = reporting._took(LOG, began, 9.5, 12.0)
    assert took == reporting.Took(9.5, 12.0, 2.0, 3, {"tables": 5, "power": 5})
    assert reporting._took("Nothing to be done", began, 4.0, 3.0) == reporting.Took(4.0, 3.0, 4.0, 0, {})


def test_made_up_runs_are_as_the_workflow_takes_them(benchmarks, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    reporting, made_up_runs = benchmarks("reporting"), benchmarks("made_up_runs")
    monkeypatch.setattr(made_up_runs, "RECORDED", 3)
    monkeypatch.setattr(made_up_runs, "SETS", 2)
    study = reporting.study(3)
    made_up = made_up_runs.MadeUp(tmp_path, study, dict.fromkeys(study.config["tasks"]["math"]["benchmarks"], 4))
    runs = [Run("math", "qwen3_4b", variant, seed, variant) for variant in ("base", "rlcsd") for seed in (0, 1)]
    for run in runs:
        made_up.make(run)
    folders = [made_up.folder / run.task / run.model / run.variant / f"seed{run.seed}" for run in runs]
    files = [
        RunFiles(*vars(run).values(), draws={file.stem: file for file in folder.glob("a*.parquet")})
        for run, folder in zip(runs, folders, strict=True)
    ]
    groups = gather_scores(files, {"math": study.config["tasks"]["math"]})
    assert [group.variant for group in groups] == ["base", "rlcsd"]
    for result in groups[1].results.values():
        assert result.draws.correct.shape == (2, 4, 12)
        assert (result.draws.correct[0] != result.draws.correct[1]).any()  # seeds differ
    assert len(read_records(folders[2] / "records.parquet")) == 3
    assert set(summarise(folders[2] / "records.parquet").classes["token_class"]) == {"style", "task", "other"}
    assert (
        read_metrics(folders[2] / "metrics.jsonl")[-1]["step"] == study.resolve("math", "qwen3_4b", "rlcsd", 0)["steps"]
    )
    assert not (folders[0] / "metrics.jsonl").exists()
    before = folders[2].joinpath("amc23.parquet").stat()
    made_up.make(runs[2], anew=True)
    after = folders[2].joinpath("amc23.parquet").stat()
    assert after.st_nlink == 1
    assert after.st_mtime_ns > before.st_mtime_ns
    assert read_matrix(folders[2] / "amc23.parquet").correct.shape == (4, 12)
