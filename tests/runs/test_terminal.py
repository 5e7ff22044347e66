"""What is said of Snakemake's events: a line a job, failures with rule, reason and log, and nothing else."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from snakemake_interface_logger_plugins.common import LogEvent
from waiting import SECONDS

from selfdistill.runs.terminal import Terminal, short_time

ROOT = Path(__file__).parents[2]
SNAKEFILE = """
rule all:
    input: "a/seed1.txt", "b/seed1.txt"

rule one:
    output: "{name}/seed{seed}.txt"
    log: "{name}{seed}.log"
    shell: "if [ {wildcards.name} = b ]; then echo 'failed: table.csv, row 3: no answer' > {log}; exit 1; fi; "
        "echo went well > {log}; touch {output}"
"""


def record(event: LogEvent | None, message: str = "", level: int = logging.INFO, **facts) -> logging.LogRecord:
    made = logging.LogRecord("snakemake", level, "", 0, message, None, None)
    made.__dict__.update(facts, **({"event": event} if event else {}))
    return made


def started(terminal: Terminal, log: str) -> None:
    terminal.hear(record(LogEvent.RUN_INFO, stats={"train": 1, "all": 1, "total": 2}))
    wildcards = {"task": "sums", "variant": "grpo", "seed": 0}
    terminal.hear(record(LogEvent.JOB_INFO, jobid=3, rule_name="train", wildcards=wildcards, log=[log]))


FAILED = {"jobid": 3, "rule_name": "train", "rule_msg": None, "shellcmd": None}


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("step 1\nfailed: no such \x1b[31mcolumn\n", "no such \\u001b[31mcolumn"),
        ("Killed", "Killed"),
        ("", "its log says nothing"),
        (None, "its log says nothing"),
    ],
)
def test_a_failure_has_rule_reason_log_and_what_slurm_adds(tmp_path, capsys, log, reason):
    file = tmp_path / "job.log"
    if log is not None:
        file.write_text(log)
    terminal = Terminal()
    started(terminal, str(file))
    terminal.hear(record(LogEvent.JOB_ERROR, **FAILED, log=[str(file)], aux={"external_jobid": 77}))
    terminal.close()
    terminal.close()
    said = capsys.readouterr().err
    for part in ("FAILED  train sums/grpo/seed0\n", f"    {reason}\n", f"    log: {file}\n", "external_jobid: 77"):
        assert part in said
    assert said.count("0 of 2 jobs are done, 1 failed:\n  train sums/grpo/seed0\n") == 1


def test_a_job_that_is_tried_again_with_success_has_not_failed(tmp_path, capsys):
    terminal = Terminal()
    started(terminal, "a.log")
    terminal.hear(record(LogEvent.JOB_ERROR, **FAILED, log=[], aux={}))
    started(terminal, "a.log")
    terminal.hear(record(LogEvent.JOB_FINISHED, job_id=3))
    terminal.close()
    assert "1 of 2  train sums/grpo/seed0" in (said := capsys.readouterr().err)
    assert "1 failed" not in said


def test_an_interrupt_says_at_once_what_is_waited_for_and_that_it_can_go_on(tmp_path, capsys):
    terminal, log = Terminal(), tmp_path / "a.log"
    log.write_text("12:00:00 step 3/30\nTraceback ...\nKeyboardInterrupt\n")
    started(terminal, str(log))
    terminal.hear(record(None, "Terminating processes on user request, this might take some time."))
    assert capsys.readouterr().err.endswith("Stopping; waiting for 1 to end: train sums/grpo/seed0\n")
    terminal.hear(record(LogEvent.JOB_ERROR, **FAILED, log=[str(log)], aux={}))
    terminal.close()
    said = capsys.readouterr().err
    assert "stopped  train sums/grpo/seed0" in said
    assert "FAILED" not in said
    assert said.endswith("Stopped: 0 of 2 jobs are done; the same command goes on from there\n")


@pytest.mark.parametrize(
    ("heard", "said"),
    [
        (record(None, "Select jobs to execute..."), ""),
        (record(None, "Nothing to be done (all requested files are present)."), "Nothing to be done"),
        (record(None, "a rule has no log", logging.WARNING), "a rule has no log"),
        (record(LogEvent.SHELLCMD, "rm"), ""),
        (record(LogEvent.ERROR, "WorkflowError: no such task", exception="WorkflowError"), "no such task"),
        (record(LogEvent.ERROR, "MissingRuleException:\nNo rule to produce x (...)."), "docs/outputs.md has all files"),
        (record(LogEvent.ERROR, "Missing input files for rule base_model:\n..."), "models.<name>.folder"),
        (record(LogEvent.ERROR, "RuleException:\nCalledProcessError in file a.smk, line 3:\n..."), ""),
    ],
)
def test_what_is_news_is_said_and_the_rest_is_not(capsys, heard, said):
    Terminal().hear(heard)
    found = capsys.readouterr().err
    assert said in found
    assert bool(said) == bool(found)


@pytest.mark.parametrize(
    ("seconds", "text"), [(42, "42 s"), (720, "12 min"), (12_600, "3.5 h"), (400_000, "4.6 d"), (0, "0 s")]
)
def test_a_duration_is_short(seconds, text):
    assert short_time(seconds) == text


def test_snakemake_itself_is_quiet_with_it_and_its_own_log_is_whole(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    command = [sys.executable, "-m", "snakemake", "--profile", str(ROOT / "profiles/local"), "--keep-going"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 1
    assert "3 jobs: all 1, one 2" in done.stderr
    assert "one a/seed1" in done.stderr
    assert "FAILED  one b/seed1\n    table.csv, row 3: no answer\n    log: b1.log" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) < 25
    [log] = (tmp_path / ".snakemake" / "log").glob("*.log")
    assert "Error in rule one:" in (whole := log.read_text())
    assert "reason: Missing output files" in whole
