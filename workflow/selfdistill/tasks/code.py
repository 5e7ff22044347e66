"""Grades programs in a fenced block by running hidden tests (LiveCodeBench in SDPO).

Programs run in `selfdistill.sandbox`, in both modes: how the released code runs them (forks of the trainer with a list
of 41 builtins and no walls) is no matter of grading, and its authors call it no sandbox. `as_published` keeps what its
grader reads and compares; docs/departures.md lists both.
"""

import json
import math
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from selfdistill.errors import UserError
from selfdistill.sandbox.runner import Call, Limits, Run
from selfdistill.sandbox.trial import run_program
from selfdistill.tasks.code_feedback import Failure, feedback_of, no_program
from selfdistill.tasks.graded import Graded, feedback_level
from selfdistill.tasks.schema import Problem

#: Seconds of a test where neither the settings nor the tests say so.
TEST_SECONDS = 6.0
_ABSOLUTE = 1e-12  # of a float's difference, for one that should be 0
KINDS = ("stdin", "functional")

# All in linear time. A fence opens a line, or ends one that begins with words; it closes a line, or ends one of code.
_OPENING = re.compile(
    r"(?P<indent>[ \t]*+)(?:[^`\n]*+(?P<ticks>`{3,}+)|(?P<tildes>~{3,}+))[ \t]*+(?P<language>[\w+#.-]*+)[^\n`]*+$"
)
_CLOSING = re.compile(
    r"(?P<code>[ \t]*+|.*?[^\s`#][ \t]*+)(?P<marks>`{3,}+|~{3,}+)(?P<rest>(?:[.,;:!)\]}\s]|</\w++>)*+)$"
)
_PYTHON = re.compile(r"(?:language-)?(?:[ci]?python|pypy|py)[\d.-]*+(?:_?code)?", re.IGNORECASE)
_NO_LANGUAGE = ("", "code")
_SESSION = re.compile(r"(?:[ \t]*+(?:#.*+)?\r?\n)*+[ \t]*+>>>")  # shows how a program is used, in an interpreter
_DEEPER = 4  # columns: so far in a fence is a line of the program, a docstring's perhaps
_DECIMAL = re.compile(r"-?(?:(?:0|[1-9]\d*+)(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d{1,4})?", re.ASCII)
_PUBLISHED_FENCE = re.compile(r"```(?:\w+)?\n(.*?)```", re.DOTALL)
_INSTRUCTION = (
    "You are an expert programmer. Write a correct Python program for the problem below; it is right when it passes "
    "all tests. Each test allows 1 second. You may think aloud first. The last thing that you write is the complete "
    "program in a block of its own: a line with ```python, the program, and a line with ```."
)
_STARTER = "Use this beginning of the program, with the names as they are:"


@dataclass(frozen=True)
class Tests:
    """The tests of a question.

    Attributes:
        inputs: texts; of kind functional, a JSON value a line, or a dictionary of arguments by name.
        outputs: texts; of kind functional, JSON.
        kind: "stdin" (standard input and output) or "functional" (a function's arguments and result).
        function: its name, or "" for the first that the program defines.
        seconds: processor time of a test.
    """

    inputs: tuple[str | dict[str, Any], ...]
    outputs: tuple[str, ...]
    kind: str
    function: str
    seconds: float


def prompt(statement: str, starter: str = "") -> str:
    """The user message: instruction, blank line, problem; after it the beginning of the program where there is one."""
    parts = [_INSTRUCTION, statement.rstrip()]
    if starter.strip():
        parts.append(f"{_STARTER}\n```python\n{starter.rstrip()}\n```")
    return "\n\n".join(parts)


def read_tests(reference: str) -> Tests:
    """Return the tests in a reference: a JSON object with inputs, outputs, testtype, fn_name and time_limit.

    Raises ValueError, in words, for anything else.
    """
    try:
        told = json.loads(reference)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
    inputs, outputs = (told.get(name) if isinstance(told, dict) else None for name in ("inputs", "outputs"))
    if not isinstance(inputs, list) or not isinstance(outputs, list):
        raise ValueError("no JSON object with the lists `inputs` and `outputs`")
    if len(inputs) != len(outputs) or not inputs:
        raise ValueError(f"{len(inputs)} inputs and {len(outputs)} outputs; expected as many, one or more")
    if (kind := told.get("testtype")) not in KINDS:
        raise ValueError(f"testtype {kind!r} is none of {', '.join(KINDS)}")
    limit = told.get("time_limit")
    seconds = float(limit) if isinstance(limit, int | float) and 0 < limit < math.inf else TEST_SECONDS
    if not isinstance(function := told.get("fn_name") or "", str):
        raise ValueError(f"fn_name is {function!r}, expected a name or null")
    return Tests(
        inputs=tuple(each if isinstance(each, dict) else _text(each) for each in inputs),
        outputs=tuple(_text(each) for each in outputs),
        kind=kind,
        function=function,
        seconds=seconds,
    )


def check_tests(reference: str) -> None:
    """Raise ValueError, in words, for a reference that holds no tests, or one of a function that is no JSON."""
    tests = read_tests(reference)
    if tests.kind != "functional":
        return
    for number, (given, wanted) in enumerate(zip(tests.inputs, tests.outputs, strict=True), start=1):
        for what, text in (("input", given), ("output", wanted)):
            try:
                _ = text if isinstance(text, dict) else _lines_of_json(text) if what == "input" else json.loads(text)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"test {number}: the {what} {text[:40]!r} is no JSON ({error})") from None


def readable(reference: str) -> bool:
    """Returns whether a reference holds tests."""
    try:
        check_tests(reference)
    except ValueError:
        return False
    return True


def program_in(response: str) -> str | None:
    """The last block of a response that is marked as Python's, or else the last without a mark; None without any.

    A block that never closes goes to the end. The indentation that all of its lines have is not the program's.
    """
    found: dict[bool, str] = {}  # by whether it is marked
    block: list[str] = []
    opened: tuple[str, str, int] | None = None  # marks, language, column
    for line in response.splitlines(keepends=True):
        text = line.rstrip("\r\n")
        if opened is None:
            if fence := _OPENING.match(text):
                marks = fence["ticks"] or fence["tildes"]
                block, opened = [], (marks, fence["language"], len(fence["indent"]))
            continue
        fence = _CLOSING.match(text)
        if not fence or not fence["marks"].startswith(opened[0]) or _is_inside(fence, opened[2]):
            block.append(line)
            continue
        _keep(found, opened[1], [*block, fence["code"]])
        opened = None
    if opened is not None:
        _keep(found, opened[1], block)
    return found.get(True, found.get(False))


def _is_inside(fence: re.Match[str], column: int) -> bool:
    if fence["code"].strip():
        return bool(fence["rest"].strip())  # of a line of code nothing but the fence may follow
    return len(fence["code"]) >= column + _DEEPER


def _keep(found: dict[bool, str], language: str, lines: list[str]) -> None:
    program = "".join(lines)
    marked = language.lower() not in _NO_LANGUAGE
    if program.strip() and not _SESSION.match(program) and (not marked or _PYTHON.fullmatch(language)):
        # Without its first line's no other indentation is a program's either.
        indented = program.lstrip("\r\n")[:1] in (" ", "\t")
        found[marked] = textwrap.dedent(program) if indented else program


def grade(response: str, problem: Problem, settings: Mapping[str, Any]) -> Graded:
    """Grade a response by running its program on all tests. `score` is the share that it passes.

    Outputs are compared line by line, by words with any white space between them, without blank lines around them;
    words that are both decimal numbers agree by value, where neither begins with a zero that could be left out: 007 is
    a text. Results of functions are compared as JSON values: 3.0 is 3, floats agree to nine digits, true is no number.

    Args:
        response: decoded text.
        problem: its answer holds the tests (`read_tests`).
        settings: feedback ("none", "verdict", "case", "full"), exact_whitespace, allow_unisolated, limits (seconds,
            wall_seconds, question_seconds, memory_mb, processes), truncated.

    Raises:
        UserError: for tests that cannot be read, and where no isolation can be had.
    """
    return _graded(response, problem, settings, _STRICT)


def grade_as_published(response: str, problem: Problem, settings: Mapping[str, Any]) -> Graded:
    """Grade a response as SDPO's released grader reads and compares; arguments and errors as of `grade`."""
    return _graded(response, problem, settings, _PUBLISHED)


@dataclass(frozen=True)
class _Mode:
    """Says how a grader finds the program, reads arguments, and compares."""

    program_in: Callable[[str], str | None]
    arguments: Callable[[str], list[Any]]
    same_text: Callable[[str, str, bool], bool]
    same_value: Callable[[str, str], bool]
    classes: bool
    published: bool


def _graded(response: str, problem: Problem, settings: Mapping[str, Any], mode: _Mode) -> Graded:
    level = feedback_level(settings.get("feedback"), "code")
    try:
        tests = read_tests(problem.answer)
    except ValueError as error:
        raise UserError(f"problem {problem.id}: its tests cannot be read: {error}; drop or mend it") from None
    program = mode.program_in(response)
    if program is None:
        told = "" if level == "none" else no_program(truncated=bool(settings.get("truncated")))
        return Graded(None, False, feedback=told)
    runs = _runs(program, tests, settings, mode)
    failures = []
    for number, (run, given, wanted) in enumerate(zip(runs, tests.inputs, tests.outputs, strict=True), start=1):
        if not _passes(run, wanted, tests.kind, settings, mode):
            failures.append(Failure(number, given, wanted, run, tests.kind == "functional"))
    told = "" if level == "none" else feedback_of(failures, program, level, published=mode.published)
    return Graded(program, not failures, 1 - len(failures) / len(runs), told)


def _runs(program: str, tests: Tests, settings: Mapping[str, Any], mode: _Mode) -> list[Run]:
    """Runs each test, but one whose arguments cannot be read, which only the published reading has."""
    calls: list[Call | Run] = []
    for given in tests.inputs:
        if tests.kind == "stdin":
            calls.append(Call(stdin=given if isinstance(given, str) else json.dumps(given)))
            continue
        try:
            arguments = given if isinstance(given, dict) else mode.arguments(given)
        except (ValueError, RecursionError) as error:
            calls.append(Run("error", error=f"JSONDecodeError: {error}"))
            continue
        calls.append(Call(arguments=arguments, function=tests.function, classes=mode.classes))
    unisolated = bool(settings.get("allow_unisolated", False))
    wanted = [call for call in calls if isinstance(call, Call)]
    found = iter(run_program(program, wanted, _limits(tests, settings), allow_unisolated=unisolated))
    return [next(found) if isinstance(call, Call) else call for call in calls]


def _limits(tests: Tests, settings: Mapping[str, Any]) -> Limits:
    seconds = float(settings.get("seconds") or tests.seconds)
    default = Limits()
    return Limits(
        seconds=seconds,
        wall_seconds=float(settings.get("wall_seconds") or 2 * seconds),
        question_seconds=float(settings.get("question_seconds") or default.question_seconds),
        memory_bytes=int(settings["memory_mb"]) << 20 if settings.get("memory_mb") else default.memory_bytes,
        processes=int(settings.get("processes") or default.processes),
    )


def _passes(run: Run, wanted: str, kind: str, settings: Mapping[str, Any], mode: _Mode) -> bool:
    if run.status != "ok":
        return False
    if kind == "stdin":
        return mode.same_text(run.stdout, wanted, bool(settings.get("exact_whitespace")))
    return run.result is not None and mode.same_value(run.result, wanted)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _lines_of_json(text: str) -> list[Any]:
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _pieces_of_json(text: str) -> list[Any]:
    return [json.loads(piece) for piece in text.split()]


def _same_text(output: str, wanted: str, exact: bool) -> bool:
    if exact:
        ours, theirs = ([line.rstrip() for line in text.rstrip().split("\n")] for text in (output, wanted))
        return ours == theirs
    ours, theirs = output.strip().split("\n"), wanted.strip().split("\n")
    return len(ours) == len(theirs) and all(map(_same_line, ours, theirs))


def _same_line(ours: str, theirs: str) -> bool:
    left, right = ours.split(), theirs.split()
    return left == right or (len(left) == len(right) and all(map(_same_word, left, right)))


def _same_word(ours: str, theirs: str) -> bool:
    if ours == theirs:
        return True
    return bool(_DECIMAL.fullmatch(ours) and _DECIMAL.fullmatch(theirs)) and Decimal(ours) == Decimal(theirs)


def _same_text_as_published(output: str, wanted: str, exact: bool) -> bool:
    wanted = re.sub(r"\n-\s*$", "", wanted)

    def plain(text: str) -> str:
        return text.strip().replace("\r", "").replace("\n", " ")

    return plain(output) == plain(wanted)


def _same_value(result: str, wanted: str) -> bool:
    try:
        return _equal(json.loads(result), json.loads(wanted))
    except (ValueError, RecursionError):
        return False


def _equal(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, bool) or isinstance(theirs, bool):
        return ours is theirs
    if isinstance(ours, int | float) and isinstance(theirs, int | float):
        try:
            floats = float in (type(ours), type(theirs))
            return ours == theirs or (floats and math.isclose(ours, theirs, abs_tol=_ABSOLUTE))
        except OverflowError:  # an integer that no float holds
            return False
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(_equal, ours, theirs))
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(_equal(ours[key], theirs[key]) for key in ours)
    return type(ours) is type(theirs) and ours == theirs


def _same_value_as_published(result: str, wanted: str) -> bool:
    try:
        ours, theirs = json.loads(result), json.loads(wanted)
        return json.dumps(ours, sort_keys=True) == json.dumps(theirs, sort_keys=True)
    except (ValueError, RecursionError):
        return False


def _longest_block(response: str) -> str | None:
    return max(_PUBLISHED_FENCE.findall(response), key=len, default=None)


_STRICT = _Mode(program_in, _lines_of_json, _same_text, _same_value, classes=True, published=False)
_PUBLISHED = _Mode(
    _longest_block, _pieces_of_json, _same_text_as_published, _same_value_as_published, classes=False, published=True
)
