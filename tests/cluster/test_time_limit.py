"""A job near its time limit goes back into the queue, if it has something to go on from."""

import os
import threading
import time
from datetime import datetime

import pytest
from waiting import SECONDS, wait_for

from selfdistill.cluster.time_limit import requeued_before_limit


@pytest.fixture(autouse=True)
def job(monkeypatch):
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "17")


def at(seconds_from_now: float) -> str:
    return f"{datetime.fromtimestamp(time.time() + seconds_from_now):%Y-%m-%dT%H:%M:%S}\n"


def wait_in(state, clients, *, save: bool) -> list[str]:
    """Lines reported by work that takes longer than its limit of some two seconds."""
    clients.say("squeue", at(2))
    clients.say("scontrol", "")
    lines = []
    if save:  # with a time that lies after the beginning, however slow this machine is
        checkpoint = state / "checkpoints" / "step_000003"
        checkpoint.mkdir(parents=True)
        os.utime(checkpoint, (time.time() + 86_400,) * 2)
    with requeued_before_limit(state, ["checkpoints/step_*"], lines.append):
        wait_for(lambda: len(lines) == 2 and (clients.calls("scontrol") or not save), lambda: lines)
    return lines


def test_near_its_limit_a_job_that_has_saved_something_is_requeued(tmp_path, clients):
    lines = wait_in(tmp_path, clients, save=True)
    assert clients.calls("scontrol") == ["requeue 17"]
    assert "goes back into the queue" in lines[-1]
    assert clients.calls("squeue") == ["--noheader --jobs 17 --format=%e"]


def test_one_that_has_saved_nothing_since_it_began_is_not(tmp_path, clients):
    old = tmp_path / "checkpoints" / "step_000001"
    old.mkdir(parents=True)
    os.utime(old, (time.time() - 1,) * 2)
    lines = wait_in(tmp_path, clients, save=False)
    assert clients.calls("scontrol") == []
    assert "nothing was saved since this job began" in lines[-1]
    assert "runtime" in lines[-1]


def test_a_task_of_an_array_has_a_name_of_its_own(tmp_path, clients, monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "5")
    wait_in(tmp_path, clients, save=True)
    assert clients.calls("scontrol") == ["requeue 12_5"]


def test_work_that_ends_in_time_is_left_alone(tmp_path, clients):
    clients.say("squeue", at(86_400))
    clients.say("scontrol", "")
    (tmp_path / "checkpoints" / "step_000003").mkdir(parents=True)
    lines = []
    with requeued_before_limit(tmp_path, ["checkpoints/step_*"], lines.append):
        [watcher] = [thread for thread in threading.enumerate() if thread.name == "time limit"]
    watcher.join(SECONDS)
    assert not watcher.is_alive()
    assert clients.calls("scontrol") == []
    assert len(lines) == 1


@pytest.mark.parametrize("said", ["N/A\n", "NONE\n", "", "a year"])
def test_without_a_limit_nothing_is_watched(tmp_path, clients, said):
    clients.say("squeue", at(365 * 86_400) if said == "a year" else said)
    lines = []
    with requeued_before_limit(tmp_path, ["*"], lines.append):
        pass
    assert lines == []


def test_outside_of_slurm_nothing_is_asked(tmp_path, clients, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID")
    clients.say("squeue", at(2))
    with requeued_before_limit(tmp_path, ["*"], print):
        pass
    assert clients.calls("squeue") == []


def test_a_slurm_that_does_not_answer_is_no_reason_to_fail(tmp_path, clients):
    clients.say("squeue", "slurm_load_jobs error: Unable to contact slurm controller", status=1)
    lines = []
    with requeued_before_limit(tmp_path, ["*"], lines.append):
        pass
    assert "Unable to contact slurm controller" in lines[0]
    assert "will not be requeued" in lines[0]
