import json
import time

import pytest
from unhurried import unhurried

from selfdistill.errors import UserError
from selfdistill.sandbox import trial as isolating
from selfdistill.sandbox.runner import Run
from selfdistill.sandbox.trial import isolation
from selfdistill.tasks import code
from selfdistill.tasks.graders import check_sandbox, grade_response
from selfdistill.tasks.schema import Problem


@pytest.fixture(scope="module", autouse=True)
def _sandbox():
    try:
        isolation()
    except UserError as error:
        pytest.skip(str(error))


def problem(inputs, outputs, kind="stdin", name="") -> Problem:
    tests = {"inputs": inputs, "outputs": outputs, "testtype": kind, "fn_name": name, "time_limit": 6}
    return Problem("p/0", "p", "Compute.", json.dumps(tests), "", "code", 0, "val")


SQUARES = problem(["3\n", "12\n", "5\n"], ["9\n", "144\n", "25\n"])


def block(program: str) -> str:
    return f"So:\n```python\n{program}\n```"


def verdicts(response: str, row: Problem) -> tuple[bool, bool]:
    """By the released grader and by ours."""
    return tuple(grade_response(response, row, name).correct for name in ("code_as_published", "code"))


RIGHT = "print(int(input()) ** 2)"
RESPONSES = {
    "plain": (block(RIGHT), (True, True)),
    "any word": (f"```\n{RIGHT}\n```", (True, True)),
    "a blank behind the word": (f"```python \n{RIGHT}\n```", (False, True)),
    "never closed": (f"```python\n{RIGHT}", (False, True)),
    "the last one counts": (
        block("print('a longer first attempt which is wrong')") + "\n" + block(RIGHT),
        (False, True),
    ),
    "output shown behind": (block(RIGHT) + "\nwhich prints\n```text\n9\n```", (True, True)),
    "in a list": (f"1. It is\n   ```python\n{RIGHT}\n   ```", (True, True)),
    "backticks inside": (f"````python\ns = '''\n```\n'''\n{RIGHT}\n````", (False, True)),
    "output shown without a word": (block(RIGHT) + "\nwhich prints\n```\n9\n```", (True, True)),
    "in a list, as deep as it": (f"- It is ```python\n  def f(n):\n    return n\n  {RIGHT}\n  ```", (False, True)),
    "in a docstring": (f"```py\ndef f():\n    '''\n    ```\n    f()\n    ```\n    '''\n{RIGHT}\n```", (False, True)),
    "behind words": (f"The program: ```Python3.11\n{RIGHT}\n```", (False, True)),
    "fences in words": (f"In ```x``` I write ```\n{block(RIGHT)}", (False, True)),
    "closed with what surrounds it": (f"<answer>\n```python\n{RIGHT}\n```</answer>", (True, True)),
    "a fence in a comment": (f"```python\n# no ```.\n{RIGHT}\n```", (False, True)),
    "a session in an interpreter behind": (
        block(RIGHT) + "\nTry it:\n```python\n# as in\n>>> 3\n9\n" + "9\n" * 20 + "```",
        (False, True),
    ),
    "marked as code": (f"```code\n{RIGHT}\n```", (True, True)),
    "marked as on pages": (f"```language-python\n{RIGHT}\n```", (False, True)),
    "closed on its last line": (f"```python\n{RIGHT}```\nDone.", (True, True)),
    "ends of lines": (block(RIGHT).replace("\n", "\r\n"), (False, True)),
    "none": ("print(int(input()) ** 2)", (False, False)),
    "empty": ("```python\n\n```", (False, False)),
    "of another language": ("```cpp\nint main() {}\n```", (False, False)),
}


@pytest.mark.parametrize(("response", "expected"), RESPONSES.values(), ids=RESPONSES)
def test_where_the_program_is(response, expected, monkeypatch):
    def run(program, calls):
        compile(program, "program", "exec")
        return [Run("ok", str(int(call.stdin) ** 2) if program.strip().endswith(RIGHT) else "") for call in calls]

    def run_or_not(program, calls, *_, **__):
        try:
            return run(program, calls)
        except SyntaxError:
            return [Run("error") for _ in calls]

    monkeypatch.setattr(code, "run_program", run_or_not)
    assert verdicts(response, SQUARES) == expected


def test_the_share_of_tests_passed_is_the_score():
    graded = grade_response(block("n = int(input())\nprint(n * n if n < 10 else 0)"), SQUARES, "code")
    assert (graded.correct, graded.score) == (False, pytest.approx(2 / 3))
    assert (grade_response(block(RIGHT), SQUARES, "code").score, grade_response("", SQUARES, "code").score) == (1, 0)


# (output, expected): (same to the released grader, same to ours)
OUTPUTS = {
    ("1 2\n3\n", "1 2\n3"): (True, True),
    ("1  2 \n3", "1 2\n3"): (False, True),
    ("1.0 2", "1 2.00"): (False, True),
    ("1 2 3", "1 2\n3"): (True, False),
    ("Yes", "YES"): (False, False),
    ("nan", "nan"): (True, True),
    ("1e3", "1000"): (False, True),
    ("1_000", "1000"): (False, False),
    ("11", "0011"): (False, False),
    ("+5", "5"): (False, False),
    ("-0.50", "-.5"): (False, True),
    ("\n 5\n\n", "5"): (True, True),
    ("1\n\n2", "1\n2"): (False, False),
    ("1\u20282", "1\n2"): (False, False),
    ("\u0661", "1"): (False, False),
    ("0.1", "0.10000001"): (False, False),
    ("", ""): (True, True),
    ("x", ""): (False, False),
    ("1\r\n2", "1\n2"): (True, True),
    ("5", "5\n-"): (True, False),
}


@pytest.mark.parametrize(("texts", "expected"), OUTPUTS.items())
def test_outputs_are_compared(texts, expected, monkeypatch):
    monkeypatch.setattr(code, "run_program", lambda *_, **__: [Run("ok", texts[0])])
    assert verdicts(block(RIGHT), problem([""], [texts[1]])) == expected


def test_white_space_counts_on_request():
    row = problem([""], ["1 2"])
    assert grade_response(block("print('1  2')"), row, "code").correct
    assert not grade_response(block("print('1  2')"), row, "code", grading={"exact_whitespace": True}).correct


ADD = "def add(a, b):\n    return a + b"
CALLS = {
    "lists over lines": (ADD, ["[1, 2]\n[3]"], ["[1, 2, 3]"], (False, True)),
    "numbers over lines": (ADD, ["1\n2"], ["3"], (True, True)),
    "texts with blanks": (ADD, ['"a b"\n"c"'], ['"a bc"'], (False, True)),
    "by name": (ADD, [{"b": 1, "a": 2}], ["3"], (True, True)),
    "a class": ("class Solution:\n    def add(self, a, b):\n        return a + b", ["1\n2"], ["3"], (False, True)),
    "tuples are lists": ("def add(a, b):\n    return a, [b]", ["1\n2"], ["[1, [2]]"], (True, True)),
    "a float for an integer": ("def add(a, b):\n    return a + 2.0", ["1\n2"], ["3"], (False, True)),
    "a rounding error at 0": ("def add(a, b):\n    return a + b - 0.3", ["0.1\n0.2"], ["0"], (False, True)),
    "ends of lines in a text": (ADD, ['"a\u2028b"\n"c"'], ['"a\u2028bc"'], (False, True)),
    "a rounding error": (ADD, ["0.1\n0.2"], ["0.3"], (False, True)),
    "true for 1": ("def add(a, b):\n    return True", ["1\n0"], ["1"], (False, False)),
    "nothing for something": ("def add(a, b):\n    pass", ["1\n0"], ["0"], (False, False)),
    "an equal to everything": ("def add(a, b):\n    class A(int):\n        __eq__ = lambda *_: True\n    return A(7)",
                               ["1\n0"], ["1"], (False, False)),
    "numbers of numpy": ("import numpy as np\ndef add(a, b):\n    return [np.int64(a), np.bool_(b)]",
                         ["1\n0"], ["[1, false]"], (False, True)),
    "an array": ("import numpy\ndef add(a, b):\n    return numpy.array([a, b])", ["1\n2"], ["[1, 2]"], (False, True)),
    "a set": ("def add(a, b):\n    return {a, b}", ["1\n2"], ["[1, 2]"], (False, False)),
    "no standard output": ("import sys\nsys.stdout = None\n" + ADD, ["1\n2"], ["3"], (True, True)),
    "another name": ("def sum_(a, b):\n    return a + b", ["1\n2"], ["3"], (False, False)),
}  # fmt: skip


@pytest.mark.parametrize(("program", "inputs", "outputs", "expected"), CALLS.values(), ids=CALLS)
def test_functions(program, inputs, outputs, expected):
    assert verdicts(block(program), problem(inputs, outputs, "functional", "add")) == expected


def feedback(program: str, row: Problem = SQUARES, name: str = "code", **grading) -> str:
    return grade_response(block(program), row, name, grading=grading).feedback


def test_feedback_on_errors():
    program = "def f(n):\n    return [][n]\n\nn = int(input())\nprint(f(n) if n > 9 else n)"
    assert feedback(program) == (  # the error wins over the wrong answers before it
        "Runtime error\nIndexError: list index out of range\nline 5 in <module>: print(f(n) if n > 9 else n)\n"
        "line 2 in f: return [][n]\n\nLast input:\n12"
    )
    assert "line 6 in <module>\nline 3 in f\n" in feedback(
        program, name="code_as_published"
    )  # one too high, as released
    assert feedback(program, feedback="verdict").endswith("line 2 in f: return [][n]")
    quoted = "raise ValueError('input ' + input() + '!' * 4000)"
    assert feedback(quoted, feedback="verdict") == f"Runtime error\nValueError\nline 1 in <module>: {quoted}"
    assert feedback(quoted).endswith("\n\nLast input:\n3")


def test_feedback_on_slow_programs_and_wrong_answers():
    slow = "import time\nn = int(input())\nprint(n)\nif n == 5:\n    time.sleep(60)"
    with unhurried("3\n", "12\n"):
        assert feedback(slow, seconds=1, wall_seconds=1) == "Time limit exceeded\n\nLast input:\n5"
    wrong = "n = int(input())\nprint(n if n != 5 else 25)"
    assert feedback(wrong) == (
        "Wrong answer on test 1\n\nInput:\n3\n\nOutput:\n3\n\nExpected:\n9\n\n"
        "Wrong answer on test 2\n\nInput:\n12\n\nOutput:\n12\n\nExpected:\n144"
    )
    assert "Expected" not in feedback(wrong, feedback="case")
    assert feedback(wrong, feedback="verdict") == "Wrong answer on test 1\n\nWrong answer on test 2"
    assert feedback(wrong, feedback="none") == feedback(RIGHT) == ""


def test_a_printed_error_is_an_output():
    """The released grader takes a record that begins like its own for a runtime error."""
    row = problem([""], ["Runtime error"])
    assert grade_response(block("print('Runtime error')"), row, "code").correct
    assert feedback("print('Runtime error')", row) == ""
    assert feedback("print('Runtime error!')", row).startswith("Wrong answer")


def test_long_inputs_leave_room_for_what_matters():
    row = problem(["\n".join(["x" * 300] * 12)], ["1"])
    told = feedback("print(2)", row)
    assert told.endswith("Output:\n2\n\nExpected:\n1")
    published = feedback("print(2)", row, "code_as_published")
    assert len(published) == 2000
    assert "Expected" not in published


def test_feedback_can_be_written_to_any_file():
    told = feedback("raise ValueError('\\ud800')")
    assert "ValueError: ?" in told
    told.encode()


@pytest.mark.parametrize("unit", ["```", "```a", "```python\n", "`", "a", "~~~\n", " "])
def test_degenerate_responses_are_read_in_linear_time(unit):
    began = time.process_time()
    for response in (unit * 100_000, "```" + unit * 100_000 + "`"):
        code.program_in(response)
    assert time.process_time() - began < 5


def test_long_words_are_compared_in_linear_time(monkeypatch):
    """A program may print a number of a million digits that is none."""
    monkeypatch.setattr(code, "run_program", lambda *_, **__: [Run("ok", "1" * 1_000_000 + "x")])
    assert verdicts(block(RIGHT), problem([""], ["2"])) == (False, False)


def test_feedback_without_a_program():
    assert "backticks" in grade_response("Hm.", SQUARES, "code").feedback
    cut = grade_response("Hm.", SQUARES, "code", truncated=True).feedback
    assert "cut" in cut
    assert grade_response(block(RIGHT), SQUARES, "code", truncated=True).feedback == ""


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("7", "no JSON object"),
        ('{"inputs": ["1"], "outputs": [], "testtype": "stdin"}', "1 inputs and 0 outputs"),
        ('{"inputs": [], "outputs": [], "testtype": "stdin"}', "0 inputs"),
        ('{"inputs": ["1"], "outputs": ["1"], "testtype": "code"}', "testtype 'code'"),
        ('{"inputs": ["1"], "outputs": ["1"], "testtype": "stdin", "fn_name": 3}', "fn_name is 3"),
        ('{"inputs": ["1 2"], "outputs": ["1"], "testtype": "functional"}', ""),
        ('{"inputs": ["1\\n2"], "outputs": ["True"], "testtype": "functional"}', ""),
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_tests_that_cannot_be_read(reference, message):
    assert not code.readable(reference)
    if not message:  # a test that no program passes
        return
    row = Problem("p/7", "p", "Q", reference, "", "code", 7, "val")
    with pytest.raises(UserError, match=f"problem p/7.*{message}"):
        grade_response(block(RIGHT), row, "code")


def test_without_isolation_nothing_is_graded_unless_it_may(monkeypatch):
    """And that is told before anything is drawn."""
    monkeypatch.setattr(isolating, "_first_that_holds", lambda: (None, "there is no program bwrap"))
    for names in (["code"], ["choice", "code_as_published"]):
        with pytest.raises(UserError, match=r"^no sandbox for programs that a model wrote: there is no program bwrap"):
            check_sandbox(names)
        check_sandbox(names, {"allow_unisolated": True})
    check_sandbox(["choice", "tool_use", "maths", None])
    with pytest.raises(UserError, match="allow_unisolated"):
        grade_response(block(RIGHT), SQUARES, "code")
    assert grade_response(block(RIGHT), SQUARES, "code", grading={"allow_unisolated": True}).correct


def test_the_prompt():
    text = code.prompt("Square n.\n", "def square(n):\n")
    assert "\n\nSquare n.\n\n" in text
    assert text.endswith("```python\ndef square(n):\n```")
    assert code.prompt("Square n.").endswith("\n\nSquare n.")
