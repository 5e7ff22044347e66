"""The job around verl, for which a script stands in: its processes, its reason for failing, its clock."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from waiting import SECONDS, is_running, wait_for, written

from selfdistill.errors import UserError
from selfdistill.training.verl import run
from selfdistill.training.verl.ray_cluster import RayCluster
from selfdistill.training.verl.run import _ClockFile, _ended_by_sigterm, _run, attention


def script(folder: Path, text: str) -> list[str]:
    file = folder / "stand_in.py"
    file.write_text(textwrap.dedent(text))
    return [sys.executable, str(file)]


def start(folder: Path, text: str) -> None:
    _run(script(folder, text), dict(os.environ), folder / "reason.txt", _ClockFile(folder / "clock.json"))


def test_the_reason_that_verl_left_is_the_message(tmp_path):
    (tmp_path / "reason.txt").write_text("of an earlier attempt")
    with pytest.raises(UserError, match=r"too few GPUs .*resumes from its last checkpoint"):
        start(
            tmp_path,
            """
            import os, pathlib, sys
            pathlib.Path(os.environ["SELFDISTILL_REASON_FILE"]).write_text("too few GPUs")
            sys.exit(1)
            """,
        )


@pytest.mark.parametrize(
    ("ending", "said"), [("sys.exit(3)", "exit status 3"), ("os.kill(os.getpid(), 9)", "signal 9")]
)
def test_without_a_reason_the_way_it_ended_is_named(tmp_path, ending, said):
    (tmp_path / "reason.txt").write_text("of an earlier attempt")
    with pytest.raises(UserError, match=f"verl ended with {said}"):
        start(tmp_path, f"import os, sys\n{ending}")


def test_nothing_of_its_group_outlives_it(tmp_path):
    """As a rollout engine that its trainer forgot."""
    start(
        tmp_path,
        f"""
        import subprocess, sys, pathlib
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
        pathlib.Path({str(tmp_path / "pid")!r}).write_text(str(child.pid))
        """,
    )
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: not is_running(pid))


def test_it_dies_with_its_job(tmp_path):
    """A job that was killed leaves nobody training."""
    library = Path(run.__file__).parents[3]
    stand_in = script(
        tmp_path, f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(3600)"
    )
    job = (
        "import os, sys, pathlib\n"
        "from selfdistill.training.verl.run import _run, _ClockFile\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        f"_run({stand_in!r}, dict(os.environ), folder / 'reason.txt', _ClockFile(folder / 'clock.json'))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(library)}
    with subprocess.Popen([sys.executable, "-c", job], env=environment) as parent:
        pid = written(tmp_path / "pid")
        assert is_running(pid)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    wait_for(lambda: not is_running(pid))


def test_sigterm_ends_all_of_it_in_order(tmp_path):
    """As scancel and preemption send it, to the job's script alone."""
    library = Path(run.__file__).parents[3]
    stand_in = script(
        tmp_path, f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(3600)"
    )
    job = (
        "import os, pathlib\n"
        "from selfdistill.training.verl.run import _ClockFile, _ended_by_sigterm, _run\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "with _ended_by_sigterm():\n"
        f"    _run({stand_in!r}, dict(os.environ), folder / 'reason.txt', _ClockFile(folder / 'clock.json'))\n"
    )
    with subprocess.Popen([sys.executable, "-c", job], env=os.environ | {"PYTHONPATH": str(library)}) as parent:
        pid = written(tmp_path / "pid")
        parent.terminate()
        assert parent.wait(timeout=SECONDS) == 128 + signal.SIGTERM
    assert not is_running(pid)
    assert (tmp_path / "clock.json").exists()


def test_a_handler_of_somebody_else_stays():
    mine = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        before = signal.getsignal(signal.SIGTERM)
        with _ended_by_sigterm():
            assert signal.getsignal(signal.SIGTERM) is before
    finally:
        signal.signal(signal.SIGTERM, mine)
    with _ended_by_sigterm():
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


class _Enough(Exception):  # noqa: N818
    """In place of the training."""


@pytest.mark.parametrize(("nodes", "address", "folder"), [(1, None, True), (2, "ours:1", False)])
def test_a_run_joins_its_own_cluster_or_none(tmp_path, monkeypatch, nodes, address, folder):
    seen = {}

    def stand_in(command, environment, *rest):
        seen.update(command=command, environment=environment)
        raise _Enough

    @contextlib.contextmanager
    def its_own(asked, gpus, *, environment, report):
        assert (asked, gpus) == (nodes, 1)
        yield RayCluster({"RAY_ADDRESS": "ours:1"}, {})

    monkeypatch.setenv("RAY_ADDRESS", "somebody.elses:6379")
    monkeypatch.setattr(run, "_run", stand_in)
    monkeypatch.setattr(run, "ray_cluster", its_own)
    monkeypatch.setattr(run, "hydra_overrides", lambda config, **places: ["a=b"])
    files = {name: tmp_path / name for name in ("train_file", "val_file", "base_model", "state_dir")}
    named = {"task": "t", "model": "m", "variant": "grpo", "seed": 0}
    config = {**named, "steps": 1, "grader": "maths", "verl": {"device": "cpu", "attention": "sdpa"}}
    with pytest.raises(_Enough):
        run.train(config, **files, outputs={}, threads=1, gpus=0, nodes=nodes, report=print)
    assert seen["environment"].get("RAY_ADDRESS") == address
    assert any("_temp_dir={folder}" in word for word in seen["command"]) == folder


def test_a_cluster_that_falls_apart_ends_the_run(tmp_path):
    def check():
        raise UserError("a node is gone")

    with pytest.raises(UserError, match="a node is gone"):
        _run(
            script(tmp_path, "import time\ntime.sleep(3600)"),
            dict(os.environ),
            tmp_path / "reason.txt",
            _ClockFile(tmp_path / "clock.json"),
            check,
        )


def test_the_clock_goes_on_over_attempts(tmp_path, monkeypatch):
    now = [7.0]
    monkeypatch.setattr(run.time, "monotonic", lambda: now[0])
    file = tmp_path / "clock.json"
    file.write_text(json.dumps({"started": 1000.0, "seconds": 50.0}))
    clock = _ClockFile(file)
    now[0] += 0.25
    clock.tick(now=True)
    assert json.loads(file.read_text()) == {"started": clock.started, "seconds": 50.25}
    assert clock.started == 1000.0


def test_attention_is_flash_attention_where_it_is_installed(monkeypatch):
    monkeypatch.setattr(run.importlib.util, "find_spec", lambda name: object() if name == "flash_attn" else None)
    assert attention("auto") == "flash_attention_2"
    monkeypatch.setattr(run.importlib.util, "find_spec", lambda name: None)
    assert attention("auto") == "sdpa"
    assert attention("flash_attention_2") == "flash_attention_2"
