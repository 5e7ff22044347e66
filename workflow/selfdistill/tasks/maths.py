r"""Grading of mathematical answers: exact decimals first, then math-verify (docs/methods.md, Notation).

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
import logging
import os
import subprocess
import sys
import threading
from typing import Any

from selfdistill.errors import UserError
from selfdistill.tasks.maths_text import (
    cleaned,
    decided,
    is_language,
    misreadings,
    number,
    plain,
    readable_by_math_verify,
    with_cases_apart,
)

TIME_LIMIT = 5.0  # seconds
#: Longer answers are compared as strings: no reference is nearly so long, and parsing takes longer than its limit.
MAX_CHARACTERS = 2000
_MEMORY_LIMIT = 2 << 30  # bytes of address space
_READY = "ready\n"

#: Comparisons with one reference that may end at the limit, one after the other, before the next ones get less time
#: (`_SHORT_LIMIT` seconds), and before the reference is compared as a string only.
_PATIENCE, _LAST_PATIENCE, _SHORT_LIMIT = 3, 20, 0.5
_REMEMBERED = 4096  # references, and verdicts

logger = logging.getLogger(__name__)


def grade(answer: str, reference: str, *, time_limit: float = TIME_LIMIT) -> bool:
    """Whether an answer equals the reference. Safe with any text, in any thread.

    What stands round the two is taken off, one full stop or comma included. Where their texts do not decide (see
    `maths_text.decided`: equal texts, numbers, lists of numbers, words), they go to math-verify; where that raises,
    finds nothing to parse, or exceeds its time, its memory or MAX_CHARACTERS, the two are compared as strings without
    case, white space and dollar signs. docs/departures.md#what-the-graders-take lists what math-verify gets wrong.

    Args:
        answer: content of the last box of a response.
        reference: the ground truth.
        time_limit: seconds for one comparison by math-verify; comparisons of one process take turns.

    Raises:
        UserError: where math-verify cannot be started.
    """
    ours, theirs = cleaned(answer), cleaned(reference)
    verdict = decided(ours, theirs)
    if verdict is None:
        verdict = _verdict(ours, theirs, time_limit)
    return plain(ours).lower() == plain(theirs).lower() if verdict is None else verdict


def readable(reference: str, *, time_limit: float = TIME_LIMIT) -> bool:
    """Whether a reference is a number, an expression or words to the grader; others are compared as strings."""
    text = cleaned(reference)
    if number(text) is not None or is_language(text):
        return True
    return _verdict(text, text, time_limit) is not None


def stands_for(reference: str, *, time_limit: float = TIME_LIMIT) -> str | None:
    """A plain number that the grader takes for a reference with letters or an equals sign, such as 2 for `2 cm`.

    Tried are 0, 1, 2 and the numbers in the text. None where there is none, and for x = 3, which is 3 to everybody.
    """
    tried = misreadings(cleaned(reference))
    return next((value for value in tried if grade(value, reference, time_limit=time_limit)), None)


def _verdict(answer: str, reference: str, time_limit: float) -> bool | None:
    """math-verify's verdict on cleaned texts, or None without one."""
    if max(len(answer), len(reference)) > MAX_CHARACTERS:
        return None
    verdict = _verified(readable_by_math_verify(answer), readable_by_math_verify(reference), time_limit)
    apart = with_cases_apart(answer, reference) if verdict else None
    if apart and _verified(*map(readable_by_math_verify, apart), time_limit) is False:
        return False
    return verdict


@functools.lru_cache(maxsize=_REMEMBERED)  # the draws of a group often agree
def _verified(answer: str, reference: str, time_limit: float) -> bool | None:
    """math-verify's verdict, or None without one. References that it cannot compare in time get less and less of it."""
    with _LOCK:
        ended = _ENDED.get(reference, 0)
        if ended >= _LAST_PATIENCE:
            return None
        limit = time_limit if ended < _PATIENCE else min(time_limit, _SHORT_LIMIT)
        try:
            verdict = _WORKER.ask(answer, reference, limit)
        except _EndedError:
            _ENDED[reference] = ended + 1
            if len(_ENDED) > _REMEMBERED:
                del _ENDED[next(iter(_ENDED))]
            if ended + 1 in (_PATIENCE, _LAST_PATIENCE):
                then = f"get {_SHORT_LIMIT} s each" if ended + 1 == _PATIENCE else "are compared with it as strings"
                logger.warning(
                    "maths grader: %d comparisons in a row with the reference %.80r ended at the limit of %g s (or of "
                    "memory); further answers %s",
                    ended + 1,
                    reference,
                    limit,
                    then,
                )
            return None
        _ENDED.pop(reference, None)
        return verdict


class _EndedError(Exception):
    """A comparison was ended by the operating system, at a limit of time or memory."""


class _Worker:
    """The process that math-verify runs in, started when it is first asked. One question at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, answer: str, reference: str, time_limit: float) -> bool | None:
        """math-verify's verdict; None where it raised or found nothing to parse. Raises _EndedError at a limit."""
        process = self._running()
        try:
            process.stdin.write(json.dumps([answer, reference, time_limit]) + "\n")
            process.stdin.flush()
            reply = process.stdout.readline()
        except BaseException as error:  # a reply that comes later must not be taken for the next question's
            self.stop()
            if isinstance(error, OSError):
                raise _EndedError from error
            raise
        if not reply:
            self.stop()
            raise _EndedError
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
_ENDED: dict[str, int] = {}  # by reference: comparisons in a row that were ended
atexit.register(lambda: _WORKER.stop())


def _after_fork() -> None:
    """A forked process shares neither the worker nor a lock that some other thread held."""
    global _WORKER, _LOCK
    _WORKER, _LOCK = _Worker(), threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


def _serve() -> None:
    """Answer questions, one JSON line each, from standard input until it closes."""
    import resource
    import signal

    import math_verify
    import sympy
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
            if not math_verify.verify(gold, given, timeout_seconds=None, raise_on_error=True):
                return False
            try:
                return is_credible(given[0], gold[0])
            except Exception:  # of a kind that has no value: nothing speaks against the yes
                return True
        except Exception:
            return None

    def is_credible(given: Any, gold: Any) -> bool:
        """Whether nothing speaks against math-verify's yes: a false equation (5 = 7 for 7), or what it rounds away.

        Values that differ by less than 1e-15 are equal to it. Here fractions must be equal, and values below 1e-4 agree
        to 1 %; below 1e-90 a value cannot be told from an error of rounding.
        """
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
