"""Grades mathematical answers: exact decimals first, then math-verify (docs/departures.md#what-the-graders-take).

math-verify runs in a process of its own (verify_process).
"""

import atexit
import functools
import logging
import os
import threading

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
from selfdistill.tasks.verify_process import EndedError, VerifyProcess

TIME_LIMIT = 5.0  # seconds of the processor
#: Longer answers are compared as strings: no reference is nearly so long, and parsing takes longer than its limit.
MAX_CHARACTERS = 2000

#: Comparisons with one reference that may end at the limit, one after the other, before the next ones get less time
#: (`_SHORT_LIMIT` seconds), and before the reference is compared as a string only.
_PATIENCE, _LAST_PATIENCE, _SHORT_LIMIT = 3, 20, 0.5
_REMEMBERED = 4096  # references, and verdicts

logger = logging.getLogger(__name__)


def grade(answer: str, reference: str, *, time_limit: float = TIME_LIMIT) -> bool:
    """Returns whether an answer equals the reference. Safe with any text, in any thread.

    What stands round the two is taken off, one full stop or comma included. Where their texts do not decide (see
    `maths_text.decided`: equal texts, numbers, lists of numbers, words), they go to math-verify; where that raises,
    finds nothing to parse, or exceeds its time, its memory or MAX_CHARACTERS, the two are compared as strings without
    case, white space and dollar signs. docs/departures.md#what-the-graders-take lists what math-verify gets wrong.

    Args:
        answer: content of the last box of a response.
        reference: the ground truth.
        time_limit: seconds of the processor for one comparison by math-verify; comparisons of one process take turns.

    Raises:
        UserError: where math-verify cannot be started.
    """
    ours, theirs = cleaned(answer), cleaned(reference)
    verdict = decided(ours, theirs)
    if verdict is None:
        verdict = _verdict(ours, theirs, time_limit)
    return plain(ours).lower() == plain(theirs).lower() if verdict is None else verdict


def readable(reference: str, *, time_limit: float = TIME_LIMIT) -> bool:
    """Returns whether a reference is a number, an expression or words to the grader; others are compared as strings."""
    text = cleaned(reference)
    if number(text) is not None or is_language(text):
        return True
    return _verdict(text, text, time_limit) is not None


def stands_for(reference: str, *, time_limit: float = TIME_LIMIT) -> str | None:
    """Return a plain number that the grader takes for a reference with letters or an equals sign, such as 2 for `2 cm`.

    Tried are 0, 1, 2 and the numbers in the text. None where there is none, and for x = 3, which is 3 to everybody.
    """
    tried = misreadings(cleaned(reference))
    return next((value for value in tried if grade(value, reference, time_limit=time_limit)), None)


def forget() -> None:
    """Forget all verdicts, and which references took too long."""
    _verified.cache_clear()
    _ENDED.clear()


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
        except EndedError:
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


_WORKER = VerifyProcess()
_LOCK = threading.Lock()
_ENDED: dict[str, int] = {}  # by reference: comparisons in a row that were ended
atexit.register(lambda: _WORKER.stop())


def _after_fork() -> None:
    """A forked process shares neither the worker nor a lock that some other thread held."""
    global _WORKER, _LOCK
    _WORKER, _LOCK = VerifyProcess(), threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
