"""Reads the questions of a search, each with the tests that the search sees and with all of its tests."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from selfdistill.errors import UserError
from selfdistill.evaluation.attempts import read_attempts
from selfdistill.evaluation.discovery import pass_at
from selfdistill.study.own_prompts import own_prompts
from selfdistill.tasks import code, programs
from selfdistill.tasks.schema import Problem, read_problems

#: What the file of questions says of each; one column more a set, with 1 for its members.
COLUMNS = ("question", "index", "draws", "passes", "held_back", "pass_at_k")


@dataclass(frozen=True)
class Question:
    """A question as it is asked, and with held-back tests.

    Attributes:
        asked: graded on the tests that a search sees, as it is in the training set.
        whole: the same with all tests, as it is in the validation set.
    """

    asked: Problem
    whole: Problem

    @property
    def id(self) -> str:
        """Returns the id of the problem that is asked."""
        return self.asked.id


def read_questions(
    train_file: Path, val_file: Path, config: Mapping[str, Any], searched: Iterable[int] | None = None
) -> list[Question]:
    """Read the questions of a task that are in its training set with a part of their tests.

    Args:
        train_file, val_file: parquets of the task.
        config: a resolved run, or what of it says how problems are asked.
        searched: indices of the questions that are searched, which need held-back tests; all for None.

    Raises:
        UserError: as `read_problems`, and for a question that the validation set lacks, or has several times with
            unlike tests of which it is not clear which are meant; for a searched one that it has with the same tests.
    """
    own = own_prompts(config)
    whole: dict[str, list[Problem]] = {}
    for problem in read_problems(val_file, own_prompts=own):
        whole.setdefault(_text(problem), []).append(problem)
    wanted = None if searched is None else set(searched)
    questions = []
    for problem in read_problems(train_file, own_prompts=own):
        if problem.images:
            raise UserError(f"{train_file}: {problem.id} has pictures, which a search does not show; take data without")
        if not (others := whole.get(_text(problem))):
            raise UserError(
                f"{train_file}: {problem.id} is not in {val_file}, so it has no held-back tests; a search needs a task "
                "whose training set asks the questions of its validation set with a part of their tests"
            )
        if (other := _with_more_tests(problem, others)) is None:
            raise UserError(
                f"{train_file}: {problem.id} is in {val_file} {len(others)} times with unlike tests "
                f"({', '.join(each.id for each in others[:3])}), and which hold its own is not clear; drop all but one"
            )
        if other.answer == problem.answer and (wanted is None or problem.index in wanted):
            raise UserError(
                f"{train_file}: {problem.id} has the same tests as in {val_file}, so none is held back; give the "
                "training set a part of them, or leave the question out of discovery.sets"
            )
        questions.append(Question(problem, other))
    return questions


def indices_of(sets: Mapping[str, Mapping[str, Any]]) -> list[int] | None:
    """Return the indices of questions that may be in any set; None where draws choose among all."""
    if any(about["questions"] is None and about["of"] is None for about in sets.values()):
        return None
    return sorted({index for about in sets.values() for index in about["questions"] or ()})


def picked(questions: Sequence[Question], indices: Sequence[int] | None, where: str) -> list[Question]:
    """Return the questions of these indices, in their order; all for None.

    Raises UserError for an unknown index, and for one that two of these questions have.
    """
    wanted = {each.asked.index for each in questions} if indices is None else set(indices)
    known: dict[int, Question] = {}
    for each in questions:
        if each.asked.index in wanted and (other := known.get(each.asked.index)) is not None:
            raise UserError(
                f"{where}: {other.id} and {each.id} both have the index {each.asked.index}, which names a question of "
                "a search; number the questions of the training set"
            )
        known[each.asked.index] = each
    if indices is None:
        return list(questions)
    if unknown := [index for index in indices if index not in known]:
        raise UserError(
            f"{where}: no question {unknown[0]}; the training set has {len(known)} of them, from {min(known)} to "
            f"{max(known)}: change discovery.sets"
        )
    return [known[index] for index in indices]


def choose_questions(
    questions: Sequence[Question], draws: Sequence[Path], sets: Mapping[str, Mapping[str, Any]], at: int, selection: int
) -> pd.DataFrame:
    """Return the questions of the sets, each once, in their order, and what chose them.

    Args:
        questions: of the task.
        draws: files of the untrained model's attempts; none where every set is a list.
        sets: name -> `below`, a bound of pass@k, and `of`, a set that holds its questions; or `questions`, indices.
        at: the k.
        selection: so many draws of each question choose it, the first ones.

    Returns:
        COLUMNS, and a column "set:<name>" of 0 and 1 for each set. `passes` and `held_back` count those draws that
        pass, and that pass the held-back tests as well; nothing where there are none.

    Raises:
        UserError: for an unknown index, missing draws, and where no set has a question.
    """
    listed = {name: about["questions"] for name, about in sets.items() if about["questions"] is not None}
    chosen = {name: picked(questions, indices, f"set {name}") for name, indices in listed.items()}
    counts = _counts(draws, selection) if selection else {}
    rows = []
    for question in questions:
        n, passes, held = counts.get(question.id, (0, None, None))
        rate = None if n < at else float(pass_at([passes], n, at)[0])
        member = {}
        for name, about in sets.items():
            if about["below"] is None:
                member[f"set:{name}"] = int(question in chosen[name])
                continue
            if about["of"] is not None and question not in chosen[about["of"]]:
                member[f"set:{name}"] = 0
                continue
            if rate is None:
                raise UserError(f"question {question.id}: {n} draws of it, pass@{at} needs {at} or more; draw it again")
            member[f"set:{name}"] = int(rate < about["below"])
        values = (question.id, question.asked.index, n, passes, held, rate)
        if any(member.values()):
            rows.append(dict(zip(COLUMNS, values, strict=True)) | member)
    if not rows:
        raise UserError(
            f"discovery.sets: none of {len(questions)} questions is in any set; raise `below`, or take a weaker "
            "model or harder questions"
        )
    return pd.DataFrame(rows)


def _counts(draws: Sequence[Path], selection: int) -> dict[str, tuple[int, int, int]]:
    frame = pd.concat([read_attempts(file, texts=False) for file in draws], ignore_index=True)
    frame = frame[frame["attempt"] <= selection]
    whole = frame["held_back"].fillna(False).astype(bool)
    found = (
        frame.assign(whole=whole)
        .groupby("question")
        .agg(n=("correct", "size"), c=("correct", "sum"), h=("whole", "sum"))
    )
    return {question: (int(row.n), int(row.c), int(row.h)) for question, row in found.iterrows()}


def _text(problem: Problem) -> str:
    return " ".join(problem.problem.split())


def _with_more_tests(problem: Problem, others: Sequence[Problem]) -> Problem | None:
    """The question whose tests hold the problem's, of several that ask the same; by its index where several do."""
    found = list({other.answer: other for other in reversed(others)}.values())
    if len(found) > 1 and (holding := [other for other in found if _tests(problem) <= _tests(other)]):
        found = holding
    if len(found) > 1:
        found = [other for other in found if other.index == problem.index]
    return found[0] if len(found) == 1 else None


def _tests(problem: Problem) -> set[str]:
    """The tests of a problem, each as a text. Raises UserError where they cannot be read."""
    try:
        told = code.read_tests(problem.answer)
        return {json.dumps(pair) for pair in zip(told.inputs, told.outputs, strict=True)}
    except ValueError:
        pass
    try:
        return {json.dumps(pair) for pair in programs.read_tests(problem.answer)}
    except ValueError as error:
        raise UserError(f"problem {problem.id}: its tests cannot be read: {error}; drop or mend it") from None
