"""Runs math-verify in a process of its own, which the operating system ends at a limit of time or memory.

math-verify limits its own time with signal.alarm, which works in the main thread only and cannot interrupt one long
operation of the interpreter (9^{9^{9^9}} is such an operation). The process is this module, started as a program by the
first question; whatever it is doing and whatever thread asked, it ends at its limit, and the next question starts a new
one (a third of a second). It leaves with the process that started it: at exit or, after a kill, when its input closes.
"""

import contextlib
import json
import logging
import os
import subprocess
import sys
from typing import Any

from selfdistill.errors import UserError

_CLOCK = 60  # times a limit of the processor's seconds, by the clock
_MEMORY_LIMIT = 2 << 30  # bytes of address space
_READY = "ready\n"


class EndedError(Exception):
    """A comparison was ended by the operating system, at a limit of time or memory."""


class VerifyProcess:
    """The process that math-verify runs in, started when it is first asked. One question at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int | None:
        """Returns its number while it runs."""
        return None if self._process is None else self._process.pid

    def ask(self, answer: str, reference: str, time_limit: float) -> bool | None:
        """math-verify's verdict; None where it raised or found nothing to parse. Raises EndedError at a limit."""
        process = self._running()
        try:
            process.stdin.write(json.dumps([answer, reference, time_limit]) + "\n")
            process.stdin.flush()
            reply = process.stdout.readline()
        except BaseException as error:  # a reply that comes later must not be taken for the next question's
            self.stop()
            if isinstance(error, OSError):
                raise EndedError from error
            raise
        if not reply:
            self.stop()
            raise EndedError
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
                [sys.executable, "-P", "-m", "selfdistill.tasks.verify_process"],
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


def main() -> None:
    """Answer questions, one JSON line each, from standard input until it closes."""
    import signal

    import math_verify  # noqa: F401  (before it is ready: the first question's time is its own)
    import sympy  # noqa: F401

    replies = _own_streams()
    _limit_resources()
    _complete_parser()
    replies.write(_READY)
    replies.flush()
    for line in sys.stdin:
        answer, reference, time_limit = json.loads(line)
        # Processor time, so that no verdict depends on what else the machine does; the clock is for what only waits.
        signal.setitimer(signal.ITIMER_PROF, time_limit)
        signal.setitimer(signal.ITIMER_REAL, _CLOCK * time_limit)
        reply = _verdict(answer, reference)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def _own_streams() -> Any:
    """Where replies go; what libraries print goes nowhere, since nobody reads it here."""
    replies = os.fdopen(os.dup(1), "w")
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    logging.disable()
    return replies


def _limit_resources() -> None:
    """Let the kernel end the process at its limits; a handler would have to wait its turn."""
    import resource
    import signal

    with contextlib.suppress(ValueError):  # a stricter limit of the machine's stays
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_LIMIT, _MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ends = (signal.SIGPROF, signal.SIGALRM)
    for each in ends:
        signal.signal(each, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ends)


def _complete_parser() -> None:
    r"""Give the parser a name that it lacks.

    Fault of latex2sympy2_extended 1.11.0 with antlr 4.9.3, which verl's hydra wants: reading a percentage asks for that
    name, and so 50\% would be no number.
    """
    from latex2sympy2_extended.antlr_parser import PSParser

    if not hasattr(PSParser.AtomContext, "FUNC_GAMMA"):
        PSParser.AtomContext.FUNC_GAMMA = lambda self: None


def _parsed(text: str) -> list:
    """What math-verify reads in a whole box, not in its last number or a phrase such as "final answer is 5" in it."""
    import math_verify
    from math_verify.parser import LatexExtractionConfig

    whole_box = [LatexExtractionConfig(boxed_match_priority=0)]
    return math_verify.parse(
        f"\\boxed{{{text}}}", whole_box, fallback_mode="no_fallback", parsing_timeout=None, raise_on_error=True
    )


def _verdict(answer: str, reference: str) -> bool | None:
    """math-verify's verdict, unless it is not credible; None where it raised or found nothing to parse."""
    import math_verify

    try:
        given, gold = _parsed(answer), _parsed(reference)
        if not given or not gold:
            return None
        if not math_verify.verify(gold, given, timeout_seconds=None, raise_on_error=True):
            return False
        try:
            return _is_credible(given[0], gold[0])
        except Exception:  # of a kind that has no value: nothing speaks against the yes
            return True
    except Exception:
        return None


def _is_credible(given: Any, gold: Any) -> bool:
    """Returns whether nothing refutes math-verify's yes: a false equation (5 = 7 for 7), or what it rounds away.

    Values that differ by less than 1e-15 are equal to it. Here fractions must be equal, and values below 1e-4 agree to
    1 %; below 1e-90 a value cannot be told from an error of rounding.
    """
    import sympy

    if isinstance(given, sympy.Equality) and isinstance(gold, sympy.Equality):
        return True
    if isinstance(given, sympy.Equality):
        if not given.free_symbols and (given.lhs - given.rhs).equals(0) is False:
            return False
        given = given.rhs
    if isinstance(gold, sympy.Equality):
        gold = gold.rhs
    if not all(isinstance(value, sympy.Expr) and value.is_number for value in (given, gold)):
        return True
    if given.has(sympy.UnevaluatedExpr) or gold.has(sympy.UnevaluatedExpr):  # 50% is 50 to math-verify
        return True
    given, gold = given.doit(), gold.doit()
    if given.is_Rational and gold.is_Rational:
        return given == gold
    size = max(abs(sympy.N(given)), abs(sympy.N(gold)))
    return bool(not 1e-90 < size < 1e-4 or abs(sympy.N(given - gold)) <= 0.01 * size)


if __name__ == "__main__":
    main()
