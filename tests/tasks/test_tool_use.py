import json
import time

import pytest

from selfdistill.tasks import tool_use
from selfdistill.tasks.graders import grade_response
from selfdistill.tasks.schema import Problem

ONE = [{"Action": "find", "Action_Input": '{"name": "axolotl", "page": 1}'}]
TWO = [
    {"Action": "find", "Action_Input": '{"name": "axolotl", "page": 1}'},
    {"Action": "facts", "Action_Input": '{"limit": 2, "kind": ""}'},
]
REPEATED = [{"Action": "find", "Action_Input": json.dumps({"name": "axolotl", "page": page})} for page in (1, 2)]
NESTED = [{"Action": "update", "Action_Input": '{"id": "7", "profile": {"picture": "a}b", "tags": ["x", "y"]}}'}]
TAGGED = [{"Action": "[Optional]update", "Action_Input": '{"id": "7"}'}]
ALL = {"one": ONE, "two": TWO, "repeated": REPEATED, "nested": NESTED, "tagged": TAGGED}


def problem(calls) -> Problem:
    return Problem("t/0", "t", "Do it.", json.dumps(calls), "", "tooluse", 0, "val")


def written(calls) -> str:
    lines = [f"Thought: so\nAction: {each['Action']}\nAction Input: {each['Action_Input']}" for each in calls]
    return "\n".join(lines)


def verdicts(response: str, calls) -> tuple[bool, bool]:
    """By the released grader and by ours."""
    names = ("tool_use_as_published", "tool_use")
    return tuple(grade_response(response, problem(calls), name).correct for name in names)


@pytest.mark.parametrize("calls", ALL.values(), ids=ALL)
def test_every_reference_is_right_as_it_is(calls):
    assert tool_use.readable(json.dumps(calls))
    assert verdicts(written(calls), calls) == (calls not in (NESTED, TAGGED), True)
    assert verdicts(written(calls[::-1]), calls)[1]  # in any order


def inputs(calls, *texts: str):
    return [each | {"Action_Input": text} for each, text in zip(calls, texts, strict=True)]


# (response, reference): (right to the released grader, right to ours)
CASES = {
    "rotated inputs": (written(inputs(TWO, TWO[1]["Action_Input"], TWO[0]["Action_Input"])), TWO, (True, False)),
    "only the last input": (written(inputs(REPEATED, "{}", REPEATED[1]["Action_Input"])), REPEATED, (True, False)),
    "a float for an integer": (written(inputs(ONE, '{"name": "axolotl", "page": 1.0}')), ONE, (True, False)),
    "true for 1": (written(inputs(ONE, '{"name": "axolotl", "page": true}')), ONE, (True, False)),
    "text for a number": (written(inputs(ONE, '{"name": "axolotl", "page": "1"}')), ONE, (False, False)),
    "another order of keys": (written(inputs(ONE, '{"page": 1, "name": "axolotl"}')), ONE, (True, True)),
    "a key twice": (written(inputs(ONE, '{"page": 2, "page": 1, "name": "axolotl"}')), ONE, (True, False)),
    "over several lines": (written(inputs(ONE, '{\n  "name": "axolotl",\n  "page": 1\n}')), ONE, (True, True)),
    "in a fence": (written(inputs(ONE, '\n```json\n{"name": "axolotl", "page": 1}\n```')), ONE, (False, True)),
    "in backticks": (written(inputs(ONE, '`{"name": "axolotl", "page": 1}`')), ONE, (False, True)),
    "in a fence on the line": (written(inputs(ONE, '```json {"name": "axolotl", "page": 1} ```')), ONE, (False, True)),
    "a list of steps": ('1. Action: find\n2. Action Input: {"name": "axolotl", "page": 1}', ONE, (True, True)),
    "on one line": ('Action: find Action Input: {"name": "axolotl", "page": 1}', ONE, (True, True)),
    "a call and its brackets": (written(ONE).replace("find", "`[find]`").replace("\n", "\r\n"), ONE, (False, True)),
    "talk of an input": (written(ONE) + "\nThought: the Action Input: has a name", ONE, (True, True)),
    "two inputs": (written(ONE) + '\nAction Input: {"name": "newt", "page": 1}', ONE, (False, False)),
    "two inputs, one of them no JSON": (
        written(inputs(ONE, "?")) + f"\nAction Input: {ONE[0]['Action_Input']}",
        ONE,
        (True, False),
    ),
    "two values": (written(ONE) + ' {"name": "newt", "page": 1}', ONE, (True, False)),
    "not a number": (written(inputs(ONE, '{"name": "axolotl", "page": NaN}')), ONE, (False, False)),
    "bold labels": ('**Action:** find\n**Action Input:** {"name": "axolotl", "page": 1}', ONE, (False, True)),
    "talk behind": (written(ONE) + "\nObservation: none {}\nFinal Answer: done.", ONE, (True, True)),
    "a call too many": (written(TWO), ONE, (False, False)),
    "a call too few": (written(ONE), TWO, (False, False)),
    "the same call twice": (written(ONE + ONE), ONE, (False, False)),
    "another name": (written(ONE).replace("find", "search"), ONE, (False, False)),
    "an action without input": ("Action: find", ONE, (False, False)),
    "an input without action": ('Action Input: {"name": "axolotl", "page": 1}', ONE, (False, False)),
    "name on its own line": (
        '**Action:**\nfind\n**Action Input:**\n{"name": "axolotl", "page": 1}',
        ONE,
        (False, True),
    ),
    "other colons and blanks": (
        'Action\uff1afind\nAction\u00a0Input\uff1a\u200b{"name": "axolotl", "page": 1}',
        ONE,
        (False, True),
    ),
    "labels as one word, with numbers": (
        'Action 1: find\nActionInput 1: {"name": "axolotl", "page": 1}',
        ONE,
        (False, True),
    ),
    "quotes of print": (written(ONE).replace("find", "\u201cfind\u201d"), ONE, (False, True)),
    "in another fence": (written(inputs(ONE, '\n~~~ json\n{"name": "axolotl", "page": 1}\n~~~')), ONE, (False, True)),
    "an underscore of Markdown": (
        written(ONE).replace("find", "find\\_it"),
        [ONE[0] | {"Action": "find_it"}],
        (False, True),
    ),
    "a call that was thought of": (f"<think>\n{written(TWO)}\n</think>\n{written(ONE)}", ONE, (False, True)),
    "a call that was only thought of": (f"<think>\n{written(ONE)}\n</think>\nDone.", ONE, (True, True)),
    "quotes of Python": (written(inputs(ONE, "{'name': 'axolotl', 'page': 1}")), ONE, (False, False)),
    "a comment in JSON": (written(inputs(ONE, '{"name": "axolotl", "page": 1 // first\n}')), ONE, (False, False)),
    "no JSON": (written(inputs(ONE, "{name: axolotl}")), ONE, (False, False)),
    "a deep tower": (written(inputs(ONE, "[" * 100_000)), ONE, (False, False)),
    "nothing": ("", ONE, (False, False)),
}


@pytest.mark.parametrize(("response", "calls", "expected"), CASES.values(), ids=CASES)
def test_both_graders(response, calls, expected):
    assert verdicts(response, calls) == expected


def test_feedback_at_each_level():
    wrong = written([{"Action": "find", "Action_Input": '{"name": "newt", "size": 3}'}, *ONE])

    def told(level: str, response: str = wrong, calls=TWO) -> str:
        return grade_response(response, problem(calls), "tool_use", grading={"feedback": level}).feedback

    assert told("none") == ""
    assert told("names") == "The call of find is not needed here.\nA call is missing."
    one = written(inputs(ONE, '{"name": "newt", "size": 3}'))
    assert told("names", one, ONE) == "The input of find is wrong."
    assert told("keys", one, ONE) == "The input of find is wrong: wrong value of name; missing page; not needed size."
    assert '{"name": "axolotl", "page": 1}' in told("full", one, ONE)
    for level in ("names", "keys"):  # never the answer
        assert "axolotl" not in told(level, one, ONE)
        assert "Action:" in told(level, "hello")
    assert told("keys", written(ONE), ONE) == ""
    assert grade_response(one, problem(ONE), "tool_use").feedback == told("names", one, ONE)  # the default
    published = grade_response(one, problem(ONE), "tool_use_as_published").feedback
    assert "newt" in published
    assert "axolotl" in published


def test_feedback_can_be_written_to_any_file():
    one = written(inputs(ONE, '{"\\ud800": 1}'))
    told = grade_response(one, problem(ONE), "tool_use", grading={"feedback": "keys"}).feedback
    assert "not needed ?" in told
    told.encode()


@pytest.mark.parametrize(
    "unit", ["Action:", "Action Input: {", "**Action", "Action: a\nAction Input: {", "\n", " ", "{"]
)
def test_degenerate_responses_are_read_in_seconds(unit):
    began = time.process_time()
    verdicts(unit * 5_000, ONE)
    assert time.process_time() - began < 10


def test_references_that_are_no_calls():
    huge = json.dumps([{"Action": "a", "Action_Input": '{"x": 1e999}'}])
    for text in (
        huge,
        "",
        "[]",
        "7",
        "{}",
        '[{"Action": "a"}]',
        '[{"Action": "a", "Action_Input": "x"}]',
        "[" * 100_000,
    ):
        assert not tool_use.readable(text)


def test_the_prompt_ends_with_the_question():
    functions = [{"name": "find", "description": "Finds.", "parameters": "{}", "output": "text"}]
    text = tool_use.prompt({"name": "Zoo", "description": "Animals"}, functions, "Who?")
    assert text.endswith("Begin!\nQuestion: Who?")
    assert text.index("Documentation:") < text.index("find: Finds.") < text.index("Action Input:")
