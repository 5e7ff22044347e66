"""The job around verl, for which a script stands in: its processes, its reason for failing, its clock."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from selfdistill.errors import UserError
from selfdistill.training.verl import run
from selfdistill.training.verl.run import _ClockFile, _run, attention


def script(folder: Path, text: str) -> list[str]:
    file = folder / "stand_in.py"
    file.write_text(textwrap.dedent(text))
    return [sys.executable, str(file)]


def start(folder: Path, text: str) -> None:
    _run(script(folder, text), dict(os.environ), folder / "reason.txt", _ClockFile(folder / "clock.json"))


def is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


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
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        pathlib.Path({str(tmp_path / "pid")!r}).write_text(str(child.pid))
        """,
    )
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)


def test_it_dies_with_its_job(tmp_path):
    """A job that was killed leaves nobody training."""
    library = Path(run.__file__).parents[3]
    stand_in = script(
        tmp_path, f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)"
    )
    job = (
        "import os, sys, pathlib\n"
        "from selfdistill.training.verl.run import _run, _ClockFile\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        f"_run({stand_in!r}, dict(os.environ), folder / 'reason.txt', _ClockFile(folder / 'clock.json'))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(library)}
    with subprocess.Popen([sys.executable, "-c", job], env=environment) as parent:
        deadline = time.monotonic() + 60
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        pid = int((tmp_path / "pid").read_text())
        assert is_running(pid)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)


def test_the_clock_goes_on_over_attempts(tmp_path):
    file = tmp_path / "clock.json"
    file.write_text(json.dumps({"started": 1000.0, "seconds": 50.0}))
    clock = _ClockFile(file)
    time.sleep(0.05)
    clock.tick(now=True)
    written = json.loads(file.read_text())
    assert written["started"] == clock.started == 1000.0
    assert 50.0 < written["seconds"] < 51.0


def test_attention_is_flash_attention_where_it_is_installed(monkeypatch):
    monkeypatch.setattr(run.importlib.util, "find_spec", lambda name: object() if name == "flash_attn" else None)
    assert attention("auto") == "flash_attention_2"
    monkeypatch.setattr(run.importlib.util, "find_spec", lambda name: None)
    assert attention("auto") == "sdpa"
    assert attention("flash_attention_2") == "flash_attention_2"
