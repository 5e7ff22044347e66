import contextlib
import math
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import SECONDS, is_running, wait_for

from selfdistill.errors import UserError
from selfdistill.tasks import maths
from selfdistill.tasks.maths import grade
from selfdistill.tasks.verify_process import EndedError, VerifyProcess

POWER_TOWER = "9^{9^{9^9}}"


@pytest.fixture(autouse=True)
def nothing_remembered():
    maths.forget()


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("27", "27"),
        ("27.0", "27"),
        ("27.", "27"),
        (".5", "0.50"),
        ("+5", "5"),
        ("073", "73"),
        ("025", "025"),
        ("$27$", "27"),
        (r"\$27", "27"),
        (r"\(27\)", "27"),
        (r"\[ 27 \]", "27"),
        (r"\left 27 \right", "27"),
        ("1,234,567.5", "1234567.5"),
        ("10{,}000", "10000"),
        (r"10,\!000", "10000"),
        (r"90^\circ", "90"),
        (r"90^{\circ}", "90"),
        ("90°", "90"),
        ("\N{MINUS SIGN}5", "-5"),
        ("1" * 100_000, "1" * 100_000),
    ],
)
def test_equal_decimals(answer, reference, monkeypatch):
    monkeypatch.setattr(maths, "_verified", lambda *_: pytest.fail("decimals need no algebra"))
    assert grade(answer, reference)
    assert grade(reference, answer)


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("27", "28"),
        ("-5", "5"),
        ("0.1", "0.10000000000000000000000000000001"),
        ("10000000000000000000000000000001", "10000000000000000000000000000002"),
        ("1" * 100_000, "1" * 99_999),
        ("0.333333", "0.333334"),
    ],
)
def test_different_decimals(answer, reference, monkeypatch):
    monkeypatch.setattr(maths, "_verified", lambda *_: pytest.fail("decimals need no algebra"))
    assert not grade(answer, reference)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3), st.decimals(min_value=-99, max_value=99, places=2))
def test_decimals_against_fractions(one, other):
    assert grade(f"{one:f}", f"{other:f}") == (Fraction(one) == Fraction(other))
    assert grade(f"{one:f}", f"{one:f}0")


@settings(deadline=None)
@given(st.integers(-(10**12), 10**12))
def test_thousands_commas(number):
    assert grade(f"{number:,}", str(number))
    assert grade(f"{number:,}".replace(",", "{,}"), str(number))
    assert not grade(f"{number:,}", str(number + 1))


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        (r"\frac{1}{2}", "0.5"),
        ("1/2", r"\dfrac12"),
        ("x=3", "3"),
        (r"2\sqrt{3}", r"\sqrt{12}"),
        ("3+4", "7"),
        ("3,4", "4,3"),
        (r"(\frac{3}{2}, 5)", "(1.5,5)"),
        (r"\left(1,2\right)", "(1,2)"),
        (r"10 \text{ cm}", "10"),
        (r"\frac{\pi}{2}", r"\pi/2"),
        ("p - q", "-q+p"),
        (r"\text{(B)}", "B"),
        (r"50\%", "50"),
        ("Tuesday", r"Tuesday"),
    ],
)
def test_equal_expressions(answer, reference):
    assert grade(answer, reference)


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        (r"\frac{1}{3}", "0.5"),
        ("1,2", "12"),
        ("(1,2)", "(2,1)"),
        ("5 or 7", "7"),
        ("final answer is $5$, or 6", "5"),
        ("The answer is 5", "5"),
        ("1e3", "100"),
        ("", "5"),
        (" ", "5"),
        ("even", "odd"),
        (r"\frac{", "5"),
        ("nan", "5"),
        ("\ud800", "5"),
        ("\x00", "5"),
    ],
)
def test_different_expressions(answer, reference):
    assert not grade(answer, reference)


def test_what_cannot_be_parsed_is_compared_as_strings():
    assert grade("}{", "} {")
    assert grade("$ }A{", "} a {")
    assert not grade("}{", "}}{")


@pytest.mark.parametrize(
    "answer",
    [POWER_TOWER, "9**9**9**9", "(((20!)!)!)!", "(" * 900 + "1" + ")" * 900, "9" * 1000 + "^{" + "9" * 900 + "}"],
)
def test_hostile_answers_end_within_the_limit(answer):
    assert not grade(answer, "5", time_limit=0.5)
    assert grade(r"\frac{10}{2}", "5"), "grading goes on"


def test_a_reference_that_takes_too_long_costs_less_and_less(monkeypatch, caplog):
    limits = []

    def ask(answer, reference, limit):
        if reference == "quick":
            return True
        limits.append(limit)
        raise EndedError

    monkeypatch.setattr(VerifyProcess, "ask", lambda self, *asked: ask(*asked))
    for i in range(100):
        assert not grade(f"x+{i}", POWER_TOWER)
        assert grade(f"x+{i}", "quick"), "other references are compared as before"
    assert limits == [maths.TIME_LIMIT] * 3 + [0.5] * 17
    assert grade(f" {POWER_TOWER}", POWER_TOWER), "as a string"
    assert [record.args[0] for record in caplog.records] == [3, 20]
    assert "in a row with the reference '9^{9^{9^9}}' ended at the limit" in caplog.text


def test_a_comparison_in_time_restores_the_limit(monkeypatch):
    limits = []

    def ask(answer, reference, limit):
        limits.append(limit)
        if "slow" in answer:
            raise EndedError
        return True

    monkeypatch.setattr(VerifyProcess, "ask", lambda self, *asked: ask(*asked))
    for answer in ("slow", "slow1", "slow2", "x+1", "slow3"):
        grade(answer, "x")
    assert limits == [5.0, 5.0, 5.0, 0.5, 5.0]


def test_what_is_remembered_of_references_is_bounded(monkeypatch):
    def ask(*_):
        raise EndedError

    monkeypatch.setattr(VerifyProcess, "ask", lambda self, *asked: ask(*asked))
    monkeypatch.setattr(maths, "_REMEMBERED", 10)
    for i in range(50):
        grade("x", f"y+{i}")
    assert list(maths._ENDED) == [f"y+{i}" for i in range(40, 50)]


@pytest.mark.parametrize("answer", ["1+" * 50_000 + "1", "(" * 100_000, "a" * 100_000, r"\frac{1}{" * 10_000])
def test_very_long_answers_are_not_parsed(answer):
    began = time.process_time()
    assert not grade(answer, "5")
    assert grade(answer, answer.upper() if answer[0] == "a" else answer)
    assert time.process_time() - began < 3  # of the processor: a busy machine costs nothing


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=30), st.text(max_size=5))
def test_any_text_is_graded(answer, reference):
    assert grade(answer, reference, time_limit=1.0) in (True, False)


def test_grading_in_threads_has_the_same_limit_and_results():
    results = {}

    def work(i: int) -> None:
        answer = POWER_TOWER + f"+{i}" if i == 2 else rf"\frac{{{i}}}{{7}}"
        results[i] = grade(answer, f"{i}/7", time_limit=0.6)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {i: i != 2 for i in range(8)}


def test_what_else_the_machine_does_takes_nothing_from_the_limit():
    """A comparison that lost the processor for twice its limit still gets the whole limit."""
    assert grade(r"\frac{6}{9}", "2/3")
    worker = maths._WORKER.pid
    before, reaped = _processor_seconds_of(worker), _processor_seconds_of_children()
    asking = threading.Thread(target=grade, args=(POWER_TOWER, "5"), kwargs={"time_limit": 1.0})
    asking.start()
    wait_for(lambda: _processor_seconds_of(worker) > before + 0.01)
    with contextlib.suppress(ProcessLookupError):  # at its limit already, had this process to wait that long
        os.kill(worker, signal.SIGSTOP)
        time.sleep(2)
        os.kill(worker, signal.SIGCONT)
    asking.join()
    assert maths._WORKER.pid != worker
    assert _processor_seconds_of_children() - reaped - before > 0.8


def _processor_seconds_of(pid: int) -> float:
    """Of one that runs; without end of one that has ended."""
    try:
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    except (FileNotFoundError, ProcessLookupError):
        return math.inf
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _processor_seconds_of_children() -> float:
    """Of those that have ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_alarms_of_the_caller_stay_as_they_are():
    def handler(*_):
        pass

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.alarm(100)
        assert grade(r"\frac{22}{4}", "5.5")
        assert signal.getsignal(signal.SIGALRM) is handler
        assert 90 < signal.alarm(0) <= 100
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_a_forked_process_grades_with_a_worker_of_its_own():
    assert grade(r"\frac{6}{4}", "1.5")
    ours = maths._WORKER.pid
    child = os.fork()
    if child == 0:
        right = grade(r"\frac{14}{4}", "3.5") and maths._WORKER.pid != ours
        maths._WORKER.stop()
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert grade(r"\frac{10}{4}", "2.5")
    assert maths._WORKER.pid == ours


def test_a_worker_that_was_killed_is_replaced():
    assert grade(r"\frac{6}{8}", "0.75")
    old = maths._WORKER.pid
    os.kill(old, signal.SIGKILL)
    maths._WORKER._process.wait()
    assert grade(r"\frac{3}{8}", "0.375")
    assert maths._WORKER.pid != old


CHILD = """
import sys, threading, time
from selfdistill.tasks import maths
assert maths.grade(r"\\frac{1}{2}", "0.5")
print(maths._WORKER.pid, flush=True)
if sys.argv[1] == "busy":
    threading.Thread(target=maths.grade, args=("9^{9^{9^9}}", "5"), kwargs={"time_limit": 2.0}).start()
if sys.argv[1] != "exit":
    time.sleep(3600)
"""


@pytest.mark.parametrize("end", ["exit", "idle", "busy"])
def test_no_process_is_left_behind(end):
    """After a normal exit, and after a kill while the worker waits or computes."""
    parent = subprocess.Popen([sys.executable, "-c", CHILD, end], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    if end == "busy":
        time.sleep(0.5)
    if end != "exit":
        parent.kill()
    parent.wait(timeout=SECONDS)
    parent.stdout.close()
    wait_for(lambda: not is_running(worker), lambda: "the worker outlives its process")


def test_a_grader_that_cannot_start_is_an_error_and_no_wrong_answer(monkeypatch):
    monkeypatch.setattr(maths, "_WORKER", VerifyProcess())
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(UserError, match=r"did not start.*math-verify==0\.9\.0"):
        grade(r"\frac{31}{2}", "15.5")
