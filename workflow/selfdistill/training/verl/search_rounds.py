"""The rounds of a search at test time: verl's trainer writes them down, one line each, and the search's job reads them.

Nothing of verl is imported: the job has none.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from selfdistill.files import write_text
from selfdistill.runs.metrics import READ_FOR_UPDATES, SKIPPED
from selfdistill.training.rollouts import StepRollouts

_FILE = "rounds.jsonl"


@dataclass(frozen=True)
class Round:
    """A step of attempts at one question.

    Attributes:
        turn: number of the step, from 1.
        responses: decoded texts.
        correct, feedback: what the grader says of each, on the tests that the search sees.
        truncated: cut at the limit of tokens.
        read, written: tokens of each prompt and response.
        updates: of the weights that it was followed by; none of the last round.
        trained: tokens that teacher and student read for these updates, of all responses together.
    """

    turn: int
    responses: list[str]
    correct: list[bool]
    feedback: list[str]
    truncated: list[bool]
    read: list[int]
    written: list[int]
    updates: int
    trained: float

    @property
    def passes(self) -> bool:
        """Returns whether any response passes."""
        return any(self.correct)


def read_rounds(state: str | os.PathLike) -> list[Round]:
    """Return the rounds that a state has, in order; none without a file. A line that is not whole was not made."""
    file, rounds = Path(state) / _FILE, []
    if not file.exists():
        return []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        try:
            found = Round(**json.loads(line))
        except (ValueError, TypeError):
            break
        if not line.endswith("\n"):
            break
        rounds.append(found)
    return rounds


class RoundsFile:
    """Takes the rounds of a run that begins, or goes on."""

    def __init__(self, state: str | os.PathLike, done: int, updates_of_step: int):
        """Keep the rounds of steps that a checkpoint holds; later ones are made again.

        Args:
            state: folder of the run.
            done: steps that the checkpoint holds.
            updates_of_step: optimizer steps of a training step, those that are skipped among them.
        """
        self._file, self._updates = Path(state) / _FILE, updates_of_step
        kept = [each for each in read_rounds(state) if each.turn <= done]
        write_text(self._file, "".join(map(_line, kept)))

    def add(self, turn: int, rollouts: StepRollouts, metrics: Mapping[str, float] | None = None) -> None:
        """Write a round down, and see to it that it is on the disk; without metrics no update followed it."""
        learned = metrics is not None
        made = Round(
            turn=turn,
            responses=list(rollouts.texts),
            correct=[bool(each) for each in rollouts.correct],
            feedback=list(rollouts.feedback or [""] * len(rollouts.texts)),
            truncated=[bool(each) for each in rollouts.truncated],
            read=[len(each) for each in rollouts.prompts],
            written=rollouts.lengths,
            updates=self._updates - int(metrics.get(SKIPPED, 0)) if learned else 0,
            trained=float(sum(metrics.get(name, 0) for name in READ_FOR_UPDATES)) if learned else 0.0,
        )
        with open(self._file, "a", encoding="utf-8") as file:
            file.write(_line(made))
            file.flush()
            os.fsync(file.fileno())


def _line(each: Round) -> str:
    return json.dumps(vars(each)) + "\n"
