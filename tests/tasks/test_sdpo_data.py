"""SDPO's data as released, where somebody has them: SDPO_DATA names the folder that holds sciknoweval/ and tooluse/."""

import json
import os
import re
from collections import Counter
from pathlib import Path

import pytest

from selfdistill.tasks import choice, sciknoweval
from selfdistill.tasks.graders import grade_response
from selfdistill.tasks.release import import_folder, read_release
from selfdistill.tasks.schema import Problem, read_problems

VARIABLE = "SDPO_DATA"
#: Domain -> questions of train and test; with two options; answers of the test, A to D.
SHEET = {
    "biology": ((450, 50), (181, 19), (16, 19, 3, 12)),
    "chemistry": ((1890, 210), (0, 0), (64, 47, 57, 42)),
    "material": ((841, 94), (0, 0), (30, 25, 22, 17)),
    "physics": ((720, 80), (0, 0), (19, 33, 14, 14)),
}


@pytest.fixture
def released():
    """name of a file -> its path; skips where nobody has it."""

    def path(name: str) -> Path:
        found = Path(os.environ.get(VARIABLE, "")) / name
        if VARIABLE not in os.environ or not found.exists():
            pytest.skip(f"{VARIABLE} names no folder with {name}")
        return found

    return path


def problem(record):
    return Problem(f"x/{record.index}", "x", record.prompt, record.reference, "", record.kind, record.index, "val")


def of_the_hub(record, domain):
    """A record as a row of the hub: what the release was made from."""
    question, _, listed = record.prompt.rpartition("\n\nA: ")
    marks = list(re.finditer(r"^([A-D]): ", f"A: {listed}".removesuffix(f"\n{choice.CLOSING}"), re.MULTILINE))
    text = f"A: {listed}".removesuffix(f"\n{choice.CLOSING}")
    ends = [*(mark.start() - 1 for mark in marks[1:]), len(text)]
    texts = [text[mark.end() : end] for mark, end in zip(marks, ends, strict=True)]
    return {
        "question": question,
        "choices": {"label": [mark[1] for mark in marks], "text": texts},
        "answerKey": record.reference,
        "type": f"mcq-{len(marks)}-choices",
        "domain": domain.capitalize(),
        "details": {"level": "L3"},
    }


@pytest.mark.parametrize("domain", SHEET)
def test_sciknoweval_is_split_as_released_and_every_answer_is_right(domain, released):
    """From the rows in the order of their numbers, as the hub has them."""
    counts, pairs, letters = SHEET[domain]
    splits = {split: read_release(released(f"sciknoweval/{domain}/{split}.json")) for split in ("train", "test")}
    assert tuple(map(len, splits.values())) == counts
    assert tuple(sum("\nC: " not in r.prompt for r in records) for records in splits.values()) == pairs
    assert tuple(Counter(r.reference for r in splits["test"])[letter] for letter in "ABCD") == letters
    whole = sorted((r for records in splits.values() for r in records), key=lambda record: record.index)
    assert read_release(released(f"sciknoweval/{domain}.json")) == whole
    made = sciknoweval.domains(of_the_hub(record, domain) for record in whole)[f"sciknoweval_{domain}"]
    for split, records in splits.items():
        assert [(r.index, r.prompt, r.reference) for r in made[split]] == [
            (r.index, r.prompt, r.reference) for r in records
        ]
    for record in whole:
        right = [
            letter
            for letter in "ABCD"
            if grade_response(f"<answer>\n{letter}\n</answer>", problem(record), "choice").correct
        ]
        assert right == [record.reference]


def written(record, turn=0):
    calls = json.loads(record.reference)
    inputs = [call["Action_Input"] for call in calls]
    inputs = inputs[turn:] + inputs[:turn]
    named = zip((call["Action"] for call in calls), inputs, strict=True)
    return "\n".join(f"Action: {name}\nAction Input: {given}" for name, given in named)


def pairs(record, turn=0):
    found = re.findall(r"Action: (.*)\nAction Input: (.*)", written(record, turn))
    return Counter((name, json.dumps(json.loads(given), sort_keys=True)) for name, given in found)


def right(records, grader, turn=0):
    return {r.index for r in records if grade_response(written(r, turn), problem(r), grader).correct}


def test_tool_use_is_graded_as_the_sheet_says(released):
    records = read_release(released("tooluse/test.json"))
    assert [record.index for record in records] == list(range(4046, 4114))
    assert len(right(records, "tool_use")) == 68
    assert right(records, "tool_use") - right(records, "tool_use_as_published") == {4072, 4079}
    several = [record for record in records if len(json.loads(record.reference)) > 1]
    assert (len(several), len(right(several, "tool_use_as_published", turn=1))) == (19, 13)
    # Where the exchange gives the same calls in another order they are right; in all others strict sees it.
    alike = {r.index for r in several if pairs(r) == pairs(r, turn=1)}
    assert right(several, "tool_use", turn=1) == alike
    assert len(alike) == 8


def test_the_folder_becomes_parquets_that_are_asked_with_their_own_chats(released, tmp_path):
    source = released("tooluse/test.json").parents[1]
    for path in import_folder(source, tmp_path):
        problems = read_problems(path, own_prompts=True)
        system = ["system"] if "sciknoweval" in path else []
        assert {tuple(m.role for m in p.messages) for p in problems} == {(*system, "user")}
        assert all(p.messages[-1].content == p.problem for p in problems)
