r"""Grading of mathematical answers: exact decimals first, then math-verify (spec methods.md 0.1).

math-verify limits its own time with signal.alarm, which works in the main thread only and cannot interrupt one long
operation of the interpreter (9^{9^{9^9}} is such an operation). Here it runs in a process of its own instead: this
module, started as a program by the first answer that needs it. The operating system ends that process when a comparison
exceeds its time or memory, whatever the process is doing and whatever thread asked; the next comparison starts a
new one (a third of a second). It leaves with the process that started it: at exit or, after a kill, when its input
closes.
"""

import atexit
import contextlib
import functools
import json
import os
import re
import subprocess
import sys
import threading
from decimal import Decimal

from selfdistill.errors import UserError

TIME_LIMIT = 5.0  # seconds
#: Longer answers are compared as strings: no reference is nearly so long, and parsing takes longer than its limit.
MAX_CHARACTERS = 2000
_MEMORY_LIMIT = 2 << 30  # bytes of address space
_READY = "ready\n"

_WRAPPING = re.compile(r"\\?\$|\\left(?![a-zA-Z])|\\right(?![a-zA-Z])|\\[()\[\]]|\s")
_DEGREES = re.compile(r"(?:\^(?:\\circ|\{\\circ\})|\\degree|°)$")
_THOUSANDS = re.compile(r"(?<=\d)(?:,|\{,\}|,\\!)(?=\d{3}(?!\d))")
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(?:(?:,|\{,\}|,\\!)\d{3})+(?:\.\d*)?", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)", re.ASCII)


def grade(answer: str, reference: str, *, time_limit: float = TIME_LIMIT) -> bool:
    """Whether an answer equals the reference. Safe with any text, in any thread.

    Two decimal numbers are compared exactly. Anything else goes to math-verify; where that raises, finds nothing to
    parse, or exceeds its time, its memory or MAX_CHARACTERS, the two are compared as strings without case, spaces and
    dollar signs.

    Args:
        answer: content of the last box of a response.
        reference: the ground truth.
        time_limit: seconds for one comparison by math-verify; comparisons of one process take turns.

    Raises:
        UserError: where math-verify cannot be started.
    """
    ours, theirs = _decimal(answer), _decimal(reference)
    if ours is not None and theirs is not None:
        return ours == theirs
    verdict = None
    if max(len(answer), len(reference)) <= MAX_CHARACTERS:
        verdict = _verified(answer, reference, time_limit)
    return _plain(answer) == _plain(reference) if verdict is None else verdict


def readable(reference: str, *, time_limit: float = TIME_LIMIT) -> bool:
    """Whether a reference is a number or expression to the grader; others are compared as strings."""
    if _decimal(reference) is not None:
        return True
    return len(reference) <= MAX_CHARACTERS and _verified(reference, reference, time_limit) is not None


def _decimal(text: str) -> Decimal | None:
    """The exact value of a plain number, or None. Exponents do not count: 1e999999999 is no number to expand."""
    text = _DEGREES.sub("", _WRAPPING.sub("", text)).replace("\N{MINUS SIGN}", "-")
    if _GROUPED.fullmatch(text):
        text = _THOUSANDS.sub("", text)
    return Decimal(text) if _DECIMAL.fullmatch(text) else None


def _plain(text: str) -> str:
    return re.sub(r"[\s$]", "", text).lower()


@functools.lru_cache(maxsize=4096)  # the draws of a group often agree, on answers that run out of time too
def _verified(answer: str, reference: str, time_limit: float) -> bool | None:
    """math-verify's verdict, or None without one."""
    with _LOCK:
        return _WORKER.ask(answer, reference, time_limit)


class _Worker:
    """The process that math-verify runs in, started when it is first asked. One question at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, answer: str, reference: str, time_limit: float) -> bool | None:
        """math-verify's verdict; None where it raised, found nothing to parse, or was ended at a limit."""
        process = self._running()
        try:
            process.stdin.write(json.dumps([answer, reference, time_limit]) + "\n")
            process.stdin.flush()
            reply = process.stdout.readline()
        except BaseException as error:  # a reply that comes later must not be taken for the next question's
            self.stop()
            if isinstance(error, OSError):
                return None
            raise
        if not reply:
            self.stop()
            return None
        return json.loads(reply)

    def stop(self) -> None:
        """End the process and wait for it; for the next question there is a new one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # a question that could not be delivered
                    stream.close()

    def _running(self) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is not None:  # someone else ended it
            self.stop()
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "selfdistill.tasks.maths"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,  # an interrupt from the keyboard is for us
            )
            if self._process.stdout.readline() != _READY:
                self.stop()
                raise UserError(
                    "the maths grader's process did not start (its own message is above): "
                    f"`{sys.executable} -c 'import math_verify'` must work; install math-verify==0.9.0"
                )
        return self._process


_WORKER = _Worker()
_LOCK = threading.Lock()
atexit.register(lambda: _WORKER.stop())


def _after_fork() -> None:
    """A forked process shares neither the worker nor a lock that some other thread held."""
    global _WORKER, _LOCK
    _WORKER, _LOCK = _Worker(), threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


def _serve() -> None:
    """Answer questions, one JSON line each, from standard input until it closes."""
    import logging
    import resource
    import signal

    import math_verify
    from latex2sympy2_extended.antlr_parser import PSParser
    from math_verify.parser import LatexExtractionConfig

    replies = os.fdopen(os.dup(1), "w")
    with open(os.devnull, "w") as nowhere:  # the libraries print warnings; nobody reads them here
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    logging.disable()
    with contextlib.suppress(ValueError):  # a stricter limit of the machine's stays
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_LIMIT, _MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the kernel ends the process; a handler would have to wait its turn
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    # Fault of latex2sympy2_extended 1.11.0 with antlr 4.9.3, which verl's hydra wants: that parser lacks a name which
    # reading a percentage asks for, and so 50\% would be no number.
    if not hasattr(PSParser.AtomContext, "FUNC_GAMMA"):
        PSParser.AtomContext.FUNC_GAMMA = lambda self: None
    # The box as a whole is the answer: not the last number in it, nor a phrase such as "final answer is 5" inside it.
    whole_box = [LatexExtractionConfig(boxed_match_priority=0)]

    def parse(text: str) -> list:
        return math_verify.parse(
            f"\\boxed{{{text}}}", whole_box, fallback_mode="no_fallback", parsing_timeout=None, raise_on_error=True
        )

    def verdict(answer: str, reference: str) -> bool | None:
        try:
            given, gold = parse(answer), parse(reference)
            if not given or not gold:
                return None
            return bool(math_verify.verify(gold, given, timeout_seconds=None, raise_on_error=True))
        except Exception:
            return None

    replies.write(_READY)
    replies.flush()
    for line in sys.stdin:
        answer, reference, time_limit = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, time_limit)
        reply = verdict(answer, reference)
        signal.setitimer(signal.ITIMER_REAL, 0)
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    _serve()
