"""Reads problems of mathematics out of files of several repositories with columns of their own: format `mixture`.

Layouts of rows: gsm8k (question, answer: the working, then `#### n`), math (problem, level, solution with a boxed
answer; of MATH-500 also its answer), simplerl (prompt, target, reward_model, extra_info with the question:
SimpleRL-Zoo's parquets).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfdistill.errors import UserError
from selfdistill.randomness import generator
from selfdistill.tasks.boxed import last_boxed
from selfdistill.tasks.release import read_rows
from selfdistill.tasks.schema import Problem

#: What a row says: question, answer, solution.
Row = tuple[str, str, str]
_CALCULATOR = re.compile(r"<<[^<>]*>>")
_LEVEL = re.compile(r"(?:Level )?([1-5])")


def mixture(recipe: Mapping[str, Any], files: Sequence[str | Path]) -> list[Problem]:
    """Return the problems of a split, part by part; of a training set in one random order, which its name decides.

    Training takes rows in the file's order, and steps of one part alone would be no mixture.

    Args:
        recipe: split, name, and parts: name, layout, and levels where not all are taken.
        files: of each part.

    Raises:
        UserError: for a file that is no table, a row without what its layout has, and a part without any row.
    """
    problems: list[Problem] = []
    for part, file in zip(recipe["parts"], files, strict=True):
        rows = [
            _read(part, row, f"{file}: row {number} (counted from 0)") for number, row in enumerate(read_rows(file))
        ]
        chosen = [row for row in rows if row is not None]
        if not chosen:
            levels = ", ".join(map(str, part.get("levels", ()))) or "any"
            raise UserError(f"{file}: no rows of level {levels}; name another file or other levels")
        name, before = part["name"], sum(problem.data_source == part["name"] for problem in problems)
        for index, (question, answer, solution) in enumerate(chosen, start=before):
            problems.append(
                Problem(f"{name}/{index}", name, question, answer, solution, "math", index, recipe["split"])
            )
    if recipe["split"] != "train":
        return problems
    return [problems[i] for i in generator("mixture", recipe["name"]).permutation(len(problems))]


def _read(part: Mapping[str, Any], row: Mapping[str, Any], where: str) -> Row | None:
    """Returns what a row says; None where its level is not asked for."""
    if "levels" in part:
        found = _LEVEL.fullmatch(str(row.get("level", "")))
        if not found or int(found[1]) not in part["levels"]:
            return None
    try:
        question, answer, solution = (text.strip() for text in _LAYOUTS[part["layout"]](row))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"{where}: not as layout {part['layout']} has it ({type(error).__name__}: {error}); it has "
            f"{', '.join(row)}: name another layout or file"
        ) from None
    if not (question and answer):
        raise UserError(f"{where}: no {'answer' if question else 'question'}; drop it, or name another file")
    return question, answer, solution


def _gsm8k(row: Mapping[str, Any]) -> Row:
    """The working without the marks of its calculator, and the number behind the last ####, without commas."""
    working, marks, number = row["answer"].rpartition("####")
    if not marks:
        raise ValueError("no ####")
    return row["question"], number.replace(",", ""), _CALCULATOR.sub("", working)


def _math(row: Mapping[str, Any]) -> Row:
    answer = row.get("answer")
    return row["problem"], last_boxed(row["solution"]) or "" if answer is None else answer, row["solution"]


def _simplerl(row: Mapping[str, Any]) -> Row:
    """A target that is the bare answer, as of all rows of MATH, is no solution."""
    answer, told = row["reward_model"]["ground_truth"], row["target"]
    return row["extra_info"]["question"], answer, "" if told.strip() == answer.strip() else told


_LAYOUTS: dict[str, Callable[[Mapping[str, Any]], Row]] = {"gsm8k": _gsm8k, "math": _math, "simplerl": _simplerl}
