"""Reads searches at test time: questions by set, attempts by search and seed, the untrained draws."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from selfdistill.errors import UserError
from selfdistill.evaluation.attempts import read_attempts
from selfdistill.reporting.render.csv_tables import read_csv

#: Of a column of the file of questions that says which of them a set has.
SET = "set:"


@dataclass(frozen=True)
class Searches:
    """All searches of a task with a model.

    Attributes:
        task, model: whose they are.
        sets: name -> ids of its questions.
        questions: the file of questions.
        attempts: search -> seed -> attempts at all questions, without texts unless asked for.
        pool: draws of the untrained model that chose no question; None without any.
        budget: attempts that a search might make at a question; 0 where it is not told.
    """

    task: str
    model: str
    sets: Mapping[str, list[str]]
    questions: pd.DataFrame
    attempts: Mapping[str, Mapping[int, pd.DataFrame]]
    pool: pd.DataFrame | None
    budget: int = 0


def read_searches(
    cells: Sequence[Mapping[str, Any]],
    questions: str | os.PathLike,
    draws: Sequence[str | os.PathLike],
    selection: int,
    *,
    budget: int = 0,
    texts: bool = False,
) -> Searches:
    """Read the searches of one task and model.

    Args:
        cells: task, model, search, seed, part and file of each job.
        questions: file of the chosen questions.
        draws: files of the untrained model's draws.
        selection: so many draws of each question chose; the others are the pool.
        budget: of attempts at a question.
        texts: with responses and feedback.

    Raises:
        UserError: as `read_attempts`, and for a search without an attempt at one of the questions.
    """
    chosen = read_csv(questions)
    names = [column.removeprefix(SET) for column in chosen.columns if column.startswith(SET)]
    sets = {name: chosen.loc[chosen[SET + name] == 1, "question"].tolist() for name in names}
    parts: dict[str, dict[int, list[pd.DataFrame]]] = {}
    for cell in cells:
        parts.setdefault(cell["search"], {}).setdefault(cell["seed"], []).append(
            read_attempts(cell["file"], texts=texts)
        )
    joined = {
        search: {seed: pd.concat(frames, ignore_index=True) for seed, frames in seeds.items()}
        for search, seeds in parts.items()
    }
    for search, seeds in joined.items():
        for seed, frame in seeds.items():
            if missing := sorted(set(chosen["question"]) - set(frame["question"])):
                raise UserError(f"{search}, seed {seed}: no attempts at {missing[0]}; run this search again")
    pool = pd.concat([read_attempts(file, texts=False) for file in draws], ignore_index=True) if draws else None
    if pool is not None:
        pool = pool[(pool["attempt"] > selection) & pool["question"].isin(chosen["question"])]
    first = cells[0]
    pool = None if pool is None or pool.empty else pool
    return Searches(first["task"], first["model"], sets, chosen, joined, pool, budget)
