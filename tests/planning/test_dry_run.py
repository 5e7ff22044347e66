"""Snakemake's words: what it would run, what it says is wrong, and the study that it makes of them."""

import re
from pathlib import Path

import pytest

from selfdistill.errors import UserError
from selfdistill.planning import dry_run
from selfdistill.planning.__main__ import main
from selfdistill.planning.dry_run import Job, listed_jobs, refusal, study_of
from selfdistill.study.config_files import REGISTRIES

ROOT = Path(__file__).parents[2]
COUNTED = """Job stats:
job      count
-----  -------
train        1
all          1
total        2
"""
LISTED = f"""Building DAG of jobs...
{COUNTED}

[Sat Nov 21 14:33:01 2026]
rule train:
    input: results/a
    reason: Params have changed: before: 'rule x: y' now: z
    wildcards: task=math, model=qwen3_4b, variant=rlcsd-gt_cot, seed=2
    resources: gpus=8
[Sat Nov 21 14:33:01 2026]
localrule all:
    input: results/b
{COUNTED}"""


def test_jobs_are_read_with_their_wildcards():
    named = {"task": "math", "model": "qwen3_4b", "variant": "rlcsd-gt_cot", "seed": "2"}
    assert listed_jobs(LISTED) == [Job("train", named), Job("all", {})]
    assert listed_jobs("Nothing to be done (all requested files are present and up to date).\n") == []


def test_a_quiet_dry_run_lists_nothing_and_is_refused():
    with pytest.raises(UserError, match=r"counts 2 jobs and lists 0: leave --quiet out"):
        listed_jobs(LISTED.partition("[Sat")[0])


def test_the_one_line_that_says_what_is_wrong():
    said = 'Config file x.\nWorkflowError in file "/a/common.smk", line 15:\n--config: matrix: bad\n  File "/a"'
    assert refusal(said) == "--config: matrix: bad"
    assert refusal('WorkflowError:\n--configfile: bad\n  File "/a"') == "--configfile: bad"
    trace = "Traceback (most recent call last):\n  File x\n\nFileNotFoundError: no such file: 'x.yaml'\n"
    assert refusal(trace) == "FileNotFoundError: no such file: 'x.yaml'"
    assert refusal("") == "snakemake ended without a word"


def test_words_make_the_study_that_snakemake_makes_of_them(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert study_of(["--cores", "1"]).axis("models") == ["tiny_qwen3"]  # the demo
    words = ["--cores", "1", "--configfile", "config/paper.yaml", "--config", "matrix={seeds: [0, 4]}"]
    study = study_of(words)
    assert study.axis("seeds") == [0, 4]
    assert len(study.runs()) == 2 * len(study_of(words[:4]).runs())
    with pytest.raises(UserError, match=r"config/nowhere\.yaml"):
        study_of(["--cores", "1", "--configfile", "config/nowhere.yaml"])


def test_the_registries_are_those_of_the_snakefile_and_found_from_anywhere(tmp_path, monkeypatch):
    named = re.findall(r'configfile: f"{SHIPPED}/(.*)"', (ROOT / "workflow/Snakefile").read_text())
    assert named == [*(f"{name}.yaml" for name in REGISTRIES), dry_run.DEFAULT]
    monkeypatch.chdir(tmp_path)
    assert study_of(["--cores", "1"]).axis("models") == ["tiny_qwen3"]
    assert study_of(["--snakefile", str(ROOT / "workflow/Snakefile")]).axis("models") == ["tiny_qwen3"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"matrix: \xe9", "--configfile: mine.yaml, line 1: byte 9 is no UTF-8"),
        (b"a: &x {b: *x}", "mine.yaml: an anchor (&) holds"),
    ],
)
def test_a_file_that_snakemake_cannot_read_is_named(tmp_path, monkeypatch, capsys, content, said):
    (tmp_path / "mine.yaml").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    words = ["--cores", "1", "--snakefile", str(ROOT / "workflow/Snakefile"), "--configfile", "mine.yaml"]
    assert main(["--snakemake", *words]) == 1
    assert capsys.readouterr().err.startswith(said)
