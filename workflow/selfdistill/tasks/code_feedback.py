"""Words feedback on a program that fails: a runtime error, a time-out, or the shortest wrong answers.

Structure and caps are those of SDPO's released environment (the look of programming sites); the words are ours. Its
`as_published` form cuts the whole text at the end, so a long input may push output and expectation out, and it counts
lines from one too many for programs that read standard input. The strict form shortens each part instead, and shows the
program's own lines.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from selfdistill.sandbox.runner import Run

_SHOWN_CASES = 2
_LINES = 8
_LINE = 250
_PART = 500  # of the strict form's inputs, messages and lines
_WHOLE = 2000  # of the published form
_FORMAT = "No program was found: the answer must end with the whole program in a block fenced by three backticks."
_CUT = "The answer was cut because it became too long, before there was a program: answer in fewer words."


@dataclass(frozen=True)
class Failure:
    """A test that was not passed: its number from 1, input, expected output, and what came of it."""

    number: int
    given: str | dict[str, Any]
    wanted: str
    run: Run
    functional: bool


def no_program(*, truncated: bool) -> str:
    """Returns what is said of a response without a program."""
    return _CUT if truncated else _FORMAT


def feedback_of(failures: Sequence[Failure], program: str, level: str, *, published: bool) -> str:
    """Returns what is said of the tests that a program does not pass; "" where there are none.

    The first runtime error wins, then the first time-out, then the two shortest wrong answers.

    Args:
        failures: in the order of the tests.
        program: its source, whose lines the strict form shows.
        level: "verdict" (what went wrong), "case" (with the input, and the output), "full" (with the expectation too).
        published: the released form instead of the strict one.
    """
    if not failures:
        return ""
    chosen = next((each for each in failures if each.run.status in ("error", "ended")), None)
    chosen = chosen or next((each for each in failures if each.run.status in ("time", "output")), None)
    if chosen is not None:
        parts = [_broken(chosen, program, level, published)]
        if level != "verdict":
            parts.append(f"Last input:\n{_input(chosen.given, published)}")
        text = "\n\n".join(parts)
    else:
        shortest = sorted(failures, key=lambda each: len(_whole(each.given)) + len(each.wanted))[:_SHOWN_CASES]
        text = "\n\n".join(_wrong(each, level, published) for each in shortest)
    return (text[:_WHOLE] if published else text).rstrip("\n")


def _broken(failure: Failure, program: str, level: str, published: bool) -> str:
    run = failure.run
    if run.status == "time":
        return "Time limit exceeded"
    if run.status == "output":
        return "Output limit exceeded"
    # A message may quote the input, which a mere verdict does not tell.
    error = run.error.partition(":")[0] if level == "verdict" else run.error
    lines = ["Runtime error", error if published else _capped(error, _PART)]
    source = re.split(r"\r\n|\r|\n", program)  # the lines that Python counts
    for number, function in run.places:
        if published:
            lines.append(f"line {number + (not failure.functional)} in {function}")
        else:
            shown = source[number - 1].strip()[:_LINE] if 0 < number <= len(source) else ""
            lines.append(_capped(f"line {number} in {function}: {shown}", _PART))
    return "\n".join(lines)


def _wrong(failure: Failure, level: str, published: bool) -> str:
    parts = [f"Wrong answer on test {failure.number}"]
    if level in ("case", "full"):
        output = (failure.run.result or "") if failure.functional else failure.run.stdout.strip()
        parts += [f"Input:\n{_input(failure.given, published)}", f"Output:\n{_capped(output, _LINE)}"]
    if level == "full":
        parts.append(f"Expected:\n{_capped(failure.wanted.strip(), _LINE)}")
    return "\n\n".join(parts)


def _input(given: str | dict[str, Any], published: bool) -> str:
    lines = _whole(given).splitlines()
    shown = [_capped(line, _LINE) for line in lines[:_LINES]]
    if len(lines) > _LINES:
        shown.append(f"({len(lines) - _LINES} more lines)")
    text = "\n".join(shown)
    return text if published else _capped(text, _PART)


def _whole(given: str | dict[str, Any]) -> str:
    if isinstance(given, str):
        return given
    return "\n".join(f"{key} = {json.dumps(value)}" for key, value in given.items())


def _capped(text: str, length: int) -> str:
    return text if len(text) <= length else text[:length] + "..."
