"""Nothing of a guarded command outlives it, its caller, or the guard's patience."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from waiting import SECONDS, is_running, wait_for, written

from selfdistill.training.verl import process_group
from selfdistill.training.verl.process_group import FOLDER, descendants, end_guarded, start_guarded

LIBRARY = Path(process_group.__file__).parents[3]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(LIBRARY)}
#: Leaves its group and its parent, as Ray's agents do, and does not care for SIGTERM.
STUBBORN = """
import os, signal, sys, time
if os.fork():
    while not (os.path.exists(sys.argv[1]) and os.path.getsize(sys.argv[1])):
        time.sleep(0.01)
    {then}
os.setsid()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(3600)
"""


def stubborn(folder: Path, then: str) -> tuple[list[str], Path]:
    script, pid = folder / "stubborn.py", folder / "pid"
    script.write_text(STUBBORN.format(then=then))
    return [sys.executable, str(script), str(pid)], pid


@pytest.mark.parametrize(("ending", "status"), [("sys.exit(3)", 3), ("os.kill(os.getpid(), 9)", 128 + 9), ("", 0)])
def test_its_status_is_that_of_the_command(ending, status):
    process = start_guarded([sys.executable, "-c", f"import os, sys\n{ending}"], ENVIRONMENT)
    assert process.wait(timeout=SECONDS) == status


def test_an_orphan_with_a_session_of_its_own_ends_with_the_command(tmp_path):
    command, pid = stubborn(tmp_path, then="sys.exit(0)")
    process = start_guarded(command, ENVIRONMENT)
    orphan = written(pid)
    assert process.wait(timeout=SECONDS) == 0
    assert not is_running(orphan)


def test_all_end_when_the_input_ends(tmp_path):
    command, pid = stubborn(tmp_path, then="time.sleep(3600)")
    process = start_guarded(command, ENVIRONMENT)
    orphan = written(pid)
    end_guarded([process])
    assert not is_running(orphan)
    assert process.returncode == 128 + 15


def test_all_end_when_the_caller_is_killed(tmp_path):
    """SIGKILL: nothing of the caller can help."""
    command, pid = stubborn(tmp_path, then="time.sleep(3600)")
    caller = textwrap.dedent(
        f"""
        import os, time
        from selfdistill.training.verl.process_group import start_guarded
        process = start_guarded({command!r}, os.environ)
        time.sleep(3600)
        """
    )
    with subprocess.Popen([sys.executable, "-c", caller], env=ENVIRONMENT) as process:
        orphan = written(pid)
        process.kill()
    wait_for(lambda: not is_running(orphan))


def test_a_second_signal_does_not_break_off_what_ends_the_others():
    """As when a scheduler ends both sides: SIGTERM, and the end of the input."""
    before = {number: signal.signal(number, process_group._end) for number in process_group._ENDS}
    try:
        with pytest.raises(process_group._Ended):
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_folder_is_the_commands_own_and_goes_with_it(tmp_path):
    code = "import os, sys; open(sys.argv[1] + '/x', 'w'); open(sys.argv[2], 'w').write(sys.argv[1])"
    command = [sys.executable, "-c", code, FOLDER, str(tmp_path / "name")]
    given = tmp_path / "given"
    given.mkdir()
    assert start_guarded(command, ENVIRONMENT, folder=str(given)).wait(timeout=SECONDS) == 0
    assert (tmp_path / "name").read_text() == str(given)
    assert not given.exists()
    # Without one: where the guard runs, in its TMPDIR.
    (tmp_path / "node").mkdir()
    environment = ENVIRONMENT | {"TMPDIR": str(tmp_path / "node")}
    assert start_guarded(command, environment).wait(timeout=SECONDS) == 0
    assert Path((tmp_path / "name").read_text()).parent == tmp_path / "node"
    assert not any((tmp_path / "node").iterdir())


def test_descendants_are_all_generations_and_no_zombies():
    # Asked of the child, not of this process: pytest and its libraries have children of their own.
    code = "import subprocess; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    inner = "import subprocess; subprocess.run(['sleep', '3600'])"
    child = subprocess.Popen([sys.executable, "-c", f"import sys; {code}", inner])
    found: list[int] = []
    try:
        found = wait_for(lambda: len(each := descendants(child.pid)) == 2 and each)
        assert child.pid in descendants(os.getpid())
        os.kill(child.pid, signal.SIGKILL)
        wait_for(lambda: not is_running(child.pid))
        assert child.pid not in descendants(os.getpid())  # a zombie until it is waited for
    finally:
        for pid in [child.pid, *found]:
            os.kill(pid, signal.SIGKILL)
        child.wait(timeout=SECONDS)
