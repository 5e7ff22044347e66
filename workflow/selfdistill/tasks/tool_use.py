"""Poses and grades calls of documented functions (the layout of ToolAlpaca, arXiv 2306.05301).

The released grader (`as_published`) collects the words after action labels and merges the inputs, each read up to its
first closing brace, into one dictionary. So inputs may be exchanged between calls, an earlier value of a repeated key
is never looked at, 1 is true, and a nested object cannot be right: 66 of SDPO's 68 test questions can be answered.
`strict` reads label by label with a JSON decoder that finds its own end, and compares call by call.
"""

import itertools
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from selfdistill.tasks.graded import Graded, feedback_level
from selfdistill.tasks.schema import Problem

_COLON = r"(?:[ ]?\d{1,2}+)?[*_`]*+[ \t]*+[:\uff1a][*_`]*+"
_WORDS = r"Action(?P<input>[ \u00a0_-]{0,3}Input)?"
_LABEL = re.compile(rf"^(?:[ \t>*_`#-]|\d{{1,3}}+[.)][ \t])*+{_WORDS}{_COLON}", re.MULTILINE | re.IGNORECASE)
_INPUT_ON_LINE = re.compile(rf"[ \t][*_`]*+Action[ \u00a0_-]{{0,3}}Input{_COLON}", re.IGNORECASE)
_FENCE = re.compile(r"[\s\u200b-\u200d\u2060\ufeff]*+(?:(?:`++|~{3,}+)[ \t]*+\w*+\s*+)?")
_MARKUP = " \t\r*_`\"'\u2018\u2019\u201c\u201d[]()<>.,;:"
_THOUGHT = "</think>"
_TAG = re.compile(r"^\[\w+\]\s*(?=\w)")  # "[Optional]" before a name in the data
_PUBLISHED_NAME = re.compile(r"Action:\s*(\w+)")
_PUBLISHED_INPUT = re.compile(r"Action Input:\s*+\{")
_NO_CALL = "No action was found: write a line that begins with Action: and one that begins with Action Input:."


class ToolCall(NamedTuple):
    """A call: the function's name and its input as JSON text with sorted keys, or None where that is no JSON."""

    name: str
    input: str | None


def prompt(tool: Mapping[str, str], functions: Sequence[Mapping[str, str]], question: str) -> str:
    """Return the user message: task, tool, functions, pattern of the answer, question.

    Args:
        tool: name, description.
        functions: of each name, description, parameters (JSON: type and meaning by name), output (text).
        question: what the user wants.
    """
    listed = [
        f"{each['name']}: {each['description']}\nParameters: {each['parameters']}\nOutput: {each['output']}"
        for each in functions
    ]
    return "\n".join(
        [
            "Answer the question of a user by calling functions of the tool below.",
            f"Name: {tool['name']}",
            f"Description: {tool['description']}",
            "Documentation:",
            *listed,
            "",
            "Write three lines for each call:",
            "Thought: what you are about to do, and why",
            "Action: the name of one function of the documentation",
            "Action Input: its parameters as a JSON object, with values that the user gave",
            "",
            "Begin!",
            f"Question: {question}",
        ]
    )


def calls_in(response: str) -> list[ToolCall]:
    """The calls of a response in order: action labels, each with its input label behind it, of which there is one.

    What was thought before it does not count where there are calls behind it.
    """
    answer = response.rpartition(_THOUGHT)[2]
    response = answer if _LABEL.search(answer) else response
    labels = list(_LABEL.finditer(response))
    found: list[tuple[str, list[str]]] = []
    for label, following in itertools.zip_longest(labels, labels[1:]):
        text = response[label.end() : following and following.start()]
        if label["input"]:
            if found:
                found[-1][1].append(text)
            continue
        line = text.strip().partition("\n")[0]
        inside = _INPUT_ON_LINE.search(line)
        name, inputs = (line[: inside.start()], [text.strip()[inside.end() :]]) if inside else (line, [])
        found.append((_plain(name), inputs))
    return [ToolCall(name, _canonical(inputs[0]) if len(inputs) == 1 else None) for name, inputs in found]


def grade(response: str, problem: Problem, settings: Mapping[str, Any]) -> Graded:
    """Grade a response call by call; the order of the calls does not matter. Raises UserError for an unknown level.

    Feedback says at level `names` which calls are wrong, at `keys` (of calls with the right name) which parameters are,
    and at `full` what was expected, which hands over the answer.
    """
    level = feedback_level(settings.get("feedback"), "tool_use")
    wanted, given = _reference(problem.answer), calls_in(response)
    correct = Counter(given) == Counter(wanted) and all(call.input is not None for call in given)
    told = "" if correct or level == "none" else _feedback(given, wanted, level)
    return Graded(json.dumps(given, ensure_ascii=False) if given else None, correct, feedback=told)


def grade_as_published(response: str, problem: Problem, settings: Mapping[str, Any]) -> Graded:
    """Grade a response as SDPO's released code does; its feedback always prints what was expected."""
    level = feedback_level(settings.get("feedback"), "tool_use_as_published")
    reference = json.loads(problem.answer)
    names, inputs = _PUBLISHED_NAME.findall(response), _merged(_published_inputs(response))
    wanted_names = [call["Action"] for call in reference]
    wanted_inputs = _merged([call["Action_Input"] for call in reference])
    wrong = []
    if Counter(names) != Counter(wanted_names):
        wrong.append(f"wrong actions: {names} instead of {wanted_names}")
    if inputs != wanted_inputs:
        wrong.append(f"wrong inputs: {inputs} instead of {wanted_inputs}")
    answer = json.dumps([names, inputs], ensure_ascii=False) if names or inputs else None
    return Graded(answer, not wrong, feedback="; ".join(wrong) if level == "full" else "")


def readable(reference: str) -> bool:
    """Returns whether a reference is a list of calls whose inputs are JSON texts."""
    try:
        return bool(calls := _reference(reference)) and all(call.name and call.input is not None for call in calls)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return False


def _published_inputs(response: str) -> list[str]:
    """The texts from a brace behind an input label to the first closing one, in linear time."""
    found, end = [], 0
    while label := _PUBLISHED_INPUT.search(response, end):
        end = response.find("}", label.end()) + 1
        if not end:
            break
        found.append(response[label.end() - 1 : end])
    return found


def _reference(answer: str) -> list[ToolCall]:
    return [ToolCall(_plain(call["Action"]), _canonical(call["Action_Input"])) for call in json.loads(answer)]


def _plain(name: str) -> str:
    return _TAG.sub("", name.strip().strip("*_`").strip()).strip(_MARKUP).replace("\\_", "_")


def _canonical(text: str) -> str | None:
    """The first JSON value of a text, which may be in a code fence, or None; one more on its line makes it none.

    Types are kept apart: 1 is neither 1.0 nor true. Of numbers that no float holds one cannot be told from another.
    """
    try:
        value, end = json.JSONDecoder(object_pairs_hook=_unique).raw_decode(text, _FENCE.match(text).end())
        told = json.dumps(value, sort_keys=True, allow_nan=False)
    except (ValueError, RecursionError):
        return None
    return None if set("{}[]") & set(text[end:].partition("\n")[0]) else told


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key is there twice")
    return dict(pairs)


def _merged(texts: Sequence[str]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for text in texts:
        try:
            merged.update(json.loads(text))
        except (ValueError, TypeError, RecursionError):
            continue
    return merged


def _feedback(given: Sequence[ToolCall], wanted: Sequence[ToolCall], level: str) -> str:
    if not given:
        return _NO_CALL
    if level == "full":
        listed = "\n".join(f"Action: {call.name}\nAction Input: {call.input}" for call in wanted)
        return f"The calls are wrong. Expected:\n{listed}"
    wrong, missing = list((Counter(given) - Counter(wanted)).elements()), Counter(wanted) - Counter(given)
    left = list(missing.elements())
    lines = []
    for call in wrong:
        same = next((other for other in left if other.name == call.name), None)
        if call.input is None:
            lines.append(f"The input of {call.name} is missing or not valid JSON.")
        elif same is None:
            lines.append(f"The call of {call.name} is not needed here.")
        elif level == "names":
            lines.append(f"The input of {call.name} is wrong.")
        else:
            lines.append(f"The input of {call.name} is wrong: {_differences(call.input, same.input)}.")
        if same is not None:
            left.remove(same)
    if left:
        lines.append("A call is missing." if len(left) == 1 else f"{len(left)} calls are missing.")
    return "\n".join(lines)


def _differences(given: str, wanted: str) -> str:
    """Returns which parameters are wrong, missing or not needed, without their values."""
    ours, theirs = json.loads(given), json.loads(wanted)
    if not isinstance(ours, dict) or not isinstance(theirs, dict):
        return "a JSON object is needed"
    parts = {
        "wrong value of": [key for key in ours if key in theirs and json.dumps(ours[key]) != json.dumps(theirs[key])],
        "missing": [key for key in theirs if key not in ours],
        "not needed": [key for key in ours if key not in theirs],
    }
    return "; ".join(f"{what} {', '.join(keys)}" for what, keys in parts.items() if keys)
