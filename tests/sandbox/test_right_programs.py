"""Programs that answer a question rightly, with all that such programs use."""

import json
from types import SimpleNamespace

import pytest
from waiting import SECONDS

from selfdistill.sandbox import runner, trial
from selfdistill.sandbox.isolation import Isolation
from selfdistill.sandbox.runner import Call, Limits, run_with
from selfdistill.sandbox.trial import run_program

RIGHT = {
    "input": "n = int(input())\nprint(n * n)",
    "try/except": "try:\n    int('x')\nexcept ValueError:\n    pass\ntry:\n    while True:\n        n = int(input())\n"
    "except EOFError:\n    print(n * n)",
    "sys.exit": "import sys\nprint(int(sys.stdin.readline()) ** 2)\nsys.exit()\nprint('not reached')",
    "exit": "print(int(input()) ** 2)\nexit(0)",
    "stdin.buffer": "import sys\nn = int(sys.stdin.buffer.read())\nsys.stdout.buffer.write(b'%d\\n' % n ** 2)",
    "big lists": "n = int(input())\na = list(range(3_000_000))\nprint(a[n] * n)",
    "threads": "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(1 << 26)\n"
    "def f(k):\n    return 0 if k == 0 else 1 + f(k - 1)\n"
    "def main():\n    n = int(input())\n    print(f(20_000) // 20_000 * n * n)\n"
    "t = threading.Thread(target=main)\nt.start()\nt.join()",
    "a stack without limit": "import resource, sys\nresource.setrlimit(resource.RLIMIT_STACK, (-1, -1))\n"
    "sys.setrecursionlimit(10**7)\ndef f(k):\n    return 0 if k == 0 else 1 + f(k - 1)\n"
    "n = int(input())\nprint(f(50_000) // 50_000 * n * n)",
    "input at once": "import io, os\ninput = io.BytesIO(os.read(0, os.fstat(0).st_size)).readline\n"
    "print(int(input()) ** 2)\nassert __file__.endswith('.py')",
    "main guard, builtins": "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    "from collections import namedtuple\n@dataclass\nclass P:\n    n: int\n"
    "class Q(P):\n    def __init__(self):\n        super().__init__(int(bin(int(input()))[2:], 2))\n"
    "if __name__ == '__main__':\n    q = Q()\n    assert type(q) is Q and divmod(7, 2) == (3, 1)\n    print(q.n * q.n)",
    "daemon left behind": "import os, time\nprint(int(input()) ** 2, flush=True)\nif os.fork() == 0:\n"
    "    time.sleep(60)",
    "working file": "open('a.txt', 'w').write(input())\nprint(int(open('a.txt').read()) ** 2)",
}


@pytest.mark.parametrize("program", RIGHT.values(), ids=RIGHT)
def test_a_right_program_answers_every_input(program, isolated):
    runs = run_with(isolated, program, [Call(stdin=f"{n}\n") for n in (3, 12)], Limits())
    assert [(run.status, run.stdout) for run in runs] == [("ok", "9\n"), ("ok", "144\n")]


def test_text_of_any_kind_goes_in_and_comes_out(isolated):
    text = "é 漢 \U0001f600\x00\r\n\\ 'quoted'"
    (run,) = run_with(isolated, "import sys\nprint(sys.stdin.read(), end='')", [Call(stdin=text)], Limits())
    assert run.stdout == text


FUNCTIONS = {
    "method": ("class Solution:\n    def twice(self, a: List[int]) -> List[int]:\n        return a * 2", "twice"),
    "function": ("def twice(a):\n    print('noise')\n    return tuple(a * 2)", "twice"),
    "first one": (
        "import math\nfrom bisect import bisect\ndef any_name(a):\n    return a + a\ndef other():\n    pass",
        "",
    ),
    "first method": (
        "class Solution:\n    MOD = 7\n    class N: 0\n    @staticmethod\n    def f(a):\n        return a * 2",
        "",
    ),
    "inherited": ("class A:\n    def twice(self, a):\n        return a * 2\nclass Solution(A):\n    pass", ""),
    "without a def": ("twice = lambda a: a * 2", ""),
    "output closed": ("import sys\nsys.stdout.close()\ndef twice(a):\n    return a * 2", "twice"),
    "guard": ("def twice(a): return a * 2\nif __name__ == '__main__':\n    print(twice(input()))", "twice"),
}


@pytest.mark.parametrize("name", ["input", "sys.exit", "daemon left behind", "working file"])
def test_it_does_so_under_limits_alone(name):
    runs = run_with(Isolation(""), RIGHT[name], [Call(stdin=f"{n}\n") for n in (3, 12)], Limits())
    assert [(run.status, run.stdout) for run in runs] == [("ok", "9\n"), ("ok", "144\n")]


@pytest.mark.parametrize(("program", "name"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_are_called_with_json_values(program, name, isolated):
    calls = [Call(arguments=([1, 2],), function=name), Call(arguments=([],), function=name)]
    assert [run.result for run in run_with(isolated, program, calls, Limits())] == ["[1, 2, 1, 2]", "[]"]


def test_what_a_program_raises_is_told_with_its_places(isolated):
    program = "def inner(n):\n    return [][n]\n\ndef outer(n):\n    return inner(n)\n\nouter(int(input()))\n"
    (run,) = run_with(isolated, program, [Call(stdin="4")], Limits())
    assert run.status == "error"
    assert run.error == "IndexError: list index out of range"
    assert run.places == ((7, "<module>"), (5, "outer"), (2, "inner"))
    (broken,) = run_with(isolated, "x = 1\ndef f(:\n", [Call()], Limits())
    assert broken.error.startswith("SyntaxError")
    assert broken.places == ((2, "<module>"),)
    (missing,) = run_with(isolated, "x = 1", [Call(arguments=(), function="f")], Limits())
    assert missing.error == "NameError: the program defines no function f"


def test_each_test_starts_anew(isolated):
    """Neither names, nor files, nor processes of one test are there in the next."""
    program = (
        "import os, builtins\nprint(hasattr(builtins, 'seen'), os.listdir('.'))\nbuiltins.seen = 1\nopen('f', 'w')"
    )
    runs = run_with(isolated, program, [Call()] * 3, Limits())
    assert [run.stdout for run in runs] == ["False []\n"] * 3


def test_a_hundred_tests_take_seconds(isolated):
    program = "import sys, json, heapq, collections\nprint(sum(map(int, sys.stdin.read().split())))"
    calls, limits = [Call(stdin=" ".join(map(str, range(n)))) for n in range(100)], Limits(question_seconds=SECONDS)
    runs = run_with(isolated, program, calls, limits)
    assert [run.stdout for run in runs] == [f"{n * (n - 1) // 2}\n" for n in range(100)]
    assert sum(run.seconds for run in runs) < 10  # of the processor: a busy machine costs nothing


def test_numpy_can_be_imported(isolated):
    (run,) = run_with(isolated, "import numpy as np\nprint(np.linalg.det(np.eye(3)))", [Call()], Limits())
    assert run.stdout == "1.0\n", run.error


def test_exit_statuses_other_than_zero_are_errors(isolated):
    program = "import os\nn = int(input())\nprint(n, flush=True)\nos._exit(n) if n >= 0 else os.kill(os.getpid(), -n)"
    runs = run_with(isolated, program, [Call(stdin=text) for text in ("0", "3", "-9", "-11")], Limits())
    assert [run.status for run in runs] == ["ok", "error", "error", "error"]
    assert [run.error for run in runs[1:]] == ["exit status 3", "ended by signal SIGKILL", "ended by signal SIGSEGV"]


def test_the_whole_question_has_a_limit(isolated, monkeypatch):
    """By a clock of our own the first test takes all but a second: the next one is ended, the last never begins."""
    ask, clock, asked = runner._Session._ask, SimpleNamespace(now=7.0), []

    def taking_long(session, message, deadline):
        reply = ask(session, message, deadline)
        if "stdin" in message:
            clock.now += SECONDS - 1.0
            asked.append(message["stdin"])
        return reply

    monkeypatch.setattr(runner._Session, "_ask", taking_long)
    monkeypatch.setattr(runner, "time", SimpleNamespace(monotonic=lambda: clock.now))
    limits = Limits(wall_seconds=SECONDS, question_seconds=SECONDS)
    program, calls = "import time\ntime.sleep(float(input()))", [Call(stdin=text) for text in ("0", "999", "1000")]
    assert [run.status for run in run_with(isolated, program, calls, limits)] == ["ok", "time", "time"]
    assert asked == ["0", "999"]


def test_results_are_json_or_errors(isolated):
    calls = [Call(arguments=(kind,), function="f") for kind in ("set", "nan", "nested")]
    program = "def f(k):\n    return {'set': {1}, 'nan': float('nan'), 'nested': {'a': (1, None)}}[k]"
    runs = run_with(isolated, program, calls, Limits())
    assert runs[0].error.startswith("TypeError")
    assert json.loads(runs[2].result) == {"a": [1, None]}


def test_a_way_is_found_here(isolated):
    assert run_program("print(1)", [Call()])[0].stdout == "1\n"


def test_every_way_that_holds_runs_programs(isolated):
    """As root there are several: the first one that holds is used, and the others must be as good."""
    holding = [way for way in trial._ways() if not trial._fault(way)]
    assert isolated in holding
    for way in holding:
        runs = run_with(way, RIGHT["working file"], [Call(stdin=f"{n}\n") for n in (3, 12)], Limits())
        assert [(run.status, run.stdout) for run in runs] == [("ok", "9\n"), ("ok", "144\n")], way
