"""What is left in the queue of a Snakemake that was killed."""

import contextlib
import itertools
import subprocess
import sys

import pytest

from selfdistill.cluster import leftovers
from selfdistill.cluster.leftovers import main, our_jobs, running_snakemake, settle
from selfdistill.cluster.slurm import ask
from selfdistill.errors import UserError


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(leftovers, "_POLL_SECONDS", 0)


def queue(folder, *jobs: tuple[str, str]) -> str:
    lines = [f"{number}|{state}|selfdistill_0a-1b|rule_train_wildcards_x|{folder}" for number, state in jobs]
    lines += [f"90|RUNNING|selfdistill_0a-1b|rule_train|{folder}/elsewhere", f"91|RUNNING|jupyter|(null)|{folder}"]
    return "\n".join(lines) + "\n"


def test_jobs_are_ours_by_name_and_folder_and_only_while_they_have_not_ended(tmp_path, clients):
    clients.say("squeue", queue(tmp_path, ("7", "RUNNING"), ("8_2", "PENDING"), ("9", "COMPLETED")))
    assert [(job.number, job.state) for job in our_jobs(tmp_path)] == [("7", "RUNNING"), ("8_2", "PENDING")]


def settled(tmp_path, clients, cancel: bool) -> list[str]:
    """What is said when one job runs and one waits, and both are gone when it is asked for the third time."""
    clients.say("squeue", queue(tmp_path, ("7", "RUNNING"), ("8", "PENDING")))
    clients.say("scancel", "")
    times, said = itertools.count(1), []
    real = leftovers.our_jobs

    def later(folder):
        if next(times) == 3:
            clients.say("squeue", queue(tmp_path))
        return real(folder)

    leftovers.our_jobs = later
    try:
        settle(tmp_path, cancel, said.append)
    finally:
        leftovers.our_jobs = real
    return said


def test_jobs_that_wait_are_cancelled_and_those_that_run_are_waited_for(tmp_path, clients, monkeypatch):
    monkeypatch.setattr(leftovers.time, "monotonic", lambda: 1.0)  # of a machine that has just started
    said = settled(tmp_path, clients, cancel=False)
    assert clients.calls("scancel") == ["8"]
    assert said[0].startswith("cancelled: 8 (rule_train_wildcards_x, pending)")
    assert said[1].startswith("waiting for 7 (")
    assert said[-1] == "no jobs of a former Snakemake are left"


def test_with_cancel_all_are_and_each_once(tmp_path, clients):
    settled(tmp_path, clients, cancel=True)
    assert clients.calls("scancel") == ["7 8"]


@contextlib.contextmanager
def snakemake_at_work(folder, *arguments: str):
    """Process id of a program of that name in `folder`, for as long as the block lasts."""
    program = folder / "snakemake"
    program.write_text("import time\nprint('at work', flush=True)\ntime.sleep(3600)")
    command = [sys.executable, str(program), *arguments]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        try:
            # Until it speaks: for a moment after `exec`, /proc shows a process without a command line.
            assert process.stdout.readline() == "at work\n"
            yield process.pid
        finally:
            process.kill()


def test_a_snakemake_that_still_works_here_is_not_disturbed(tmp_path, clients, monkeypatch, capsys):
    clients.say("squeue", queue(tmp_path))
    with snakemake_at_work(tmp_path) as process:
        assert running_snakemake(tmp_path) == process
        monkeypatch.chdir(tmp_path)
        assert main([]) == 1
        assert f"process {process}" in capsys.readouterr().err
        assert clients.calls("squeue") == []
    assert running_snakemake(tmp_path) is None


def test_the_snakemake_of_a_job_is_not_taken_for_one_that_submits(tmp_path):
    with snakemake_at_work(tmp_path, "--target-jobs", "train:seed=0"):
        assert running_snakemake(tmp_path) is None


def test_a_client_that_is_missing_fails_or_hangs_is_one_message(clients, monkeypatch):
    with pytest.raises(UserError, match="no-such-client: no such command"):
        ask("no-such-client")
    clients.say("squeue", "Unable to contact slurm controller\nmore", status=1)
    with pytest.raises(UserError, match=r"^squeue: Unable to contact slurm controller; is this a machine"):
        ask("squeue")
    monkeypatch.setattr("selfdistill.cluster.slurm._SECONDS", 0.2)
    with pytest.raises(UserError, match="sleep: no answer within"):
        ask("sleep", "3600")
