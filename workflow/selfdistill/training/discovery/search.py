"""Drives every search: attempts come in rounds, up to a budget a question, and a first pass ends a question."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from selfdistill.evaluation.attempts import Attempt
from selfdistill.training.discovery.journal import Journal
from selfdistill.training.discovery.questions import Question

_SAID_SECONDS, _NOTED_SECONDS = 20.0, 1.0


@dataclass
class Quest:
    """A question that is at work.

    Attributes:
        question: what is asked.
        attempts: those that were made at it, in order.
        left: how many more may be made.
    """

    question: Question
    attempts: list[Attempt] = field(default_factory=list)
    left: int = 0


class Search(Protocol):
    """A way to look for answers.

    Attributes:
        one_by_one: whether questions are taken up one after the other; else all are at work in every round.
        least: attempts of a round at a question: where the budget has no room for them, the question is done.
    """

    one_by_one: bool
    least: int

    def begin(self, question: Question, before: Sequence[Attempt]) -> Sequence[Attempt]:
        """Take up a question.

        Args:
            question: what is asked.
            before: attempts that an earlier process made at it.

        Returns:
            Those of them from which the search goes on; what comes after them is made again.
        """

    def round(self, quests: Sequence[Quest]) -> list[list[Attempt]]:
        """Make the next attempts, one or more, at each question that is at work.

        They depend on the questions, the attempts before and the search's settings alone, and not on how often it was
        interrupted.
        """

    def written(self, quests: Sequence[Quest]) -> None:
        """Take note that all attempts so far are written down."""


def passed(attempts: Sequence[Attempt]) -> bool:
    """Returns whether any attempt passes what the search is graded on."""
    return any(attempt.correct for attempt in attempts)


def search_all(
    search: Search,
    questions: Sequence[Question],
    journal: Journal,
    *,
    budget: int,
    stops: bool,
    report: Callable[[str], None],
    note: Callable[[Mapping[str, float]], None] = lambda facts: None,
) -> list[Attempt]:
    """Return the attempts at every question, question by question, those of an earlier process among them.

    Args:
        search: how.
        questions: what is asked.
        journal: keeps the attempts.
        budget: of attempts at a question.
        stops: whether the first pass ends a question. The round that it is in is kept as a whole.
        report: takes one line of progress.
        note: takes how far it is, at most once a second, and at its end: attempts, questions done, those with a pass,
            those whose first pass holds, and attempts and seconds of this process (`runs.watched` shows them).
    """

    def open_(attempts: Sequence[Attempt]) -> bool:
        return len(attempts) + search.least <= budget and not (stops and passed(attempts))

    waiting = [question for question in questions if open_(journal.of(question.id))]
    pace = _Pace(questions, waiting, journal, budget, report, note)
    groups = [[each] for each in waiting] if search.one_by_one else [waiting]
    for group in filter(None, groups):
        quests = [_taken_up(search, question, journal, budget) for question in group]
        while quests:
            made = search.round(quests)
            journal.add([attempt for batch in made for attempt in batch])
            for quest, batch in zip(quests, made, strict=True):
                quest.attempts += batch
                quest.left -= len(batch)
            search.written(quests)
            going = [quest for quest in quests if open_(quest.attempts)]
            pace.count(made, going)
            for quest in quests:
                if quest not in going:
                    pace.ended(quest)
            quests = going
    pace.note()
    return [attempt for question in questions for attempt in journal.of(question.id)]


def _taken_up(search: Search, question: Question, journal: Journal, budget: int) -> Quest:
    known = journal.of(question.id)
    going = list(search.begin(question, known))
    if len(going) < len(known):
        journal.forget(question.id, going[-1].turn if going else 0)
    return Quest(question, going, budget - len(going))


class _Pace:
    """Lines of progress, with the rate of attempts and what is left at the most; and the same in numbers."""

    def __init__(
        self,
        questions: Sequence[Question],
        waiting: Sequence[Question],
        journal: Journal,
        budget: int,
        report: Callable[[str], None],
        note: Callable[[Mapping[str, float]], None],
    ):
        self._questions, self._done = len(questions), len(questions) - len(waiting)
        self._journal, self._budget, self._report, self._note = journal, budget, report, note
        self._made, self._began = 0, time.monotonic()
        self._said = self._noted = self._began
        self._first = {q.id: first for q in questions if (first := _first_pass(journal.of(q.id))) is not None}
        self.note()

    def count(self, made: Sequence[Sequence[Attempt]], going: Sequence[Quest]) -> None:
        """Count the attempts of a round, those at questions which are still at work among them."""
        self._made += sum(map(len, made))
        for batch in made:
            if (first := _first_pass(batch)) is not None:
                self._first.setdefault(first.question, first)
        now = time.monotonic()
        if now - self._noted >= _NOTED_SECONDS:
            self.note()
        if now - self._said < _SAID_SECONDS or not going:
            return
        self._said = now
        rate = self._made / (now - self._began)
        most = max(len(quest.attempts) for quest in going)
        left = (self._questions - self._done) * self._budget - sum(len(quest.attempts) for quest in going)
        self._report(
            f"{self._done} of {self._questions} questions done, {len(going)} at work with up to {most:,} of "
            f"{self._budget:,} attempts, {rate:.1f} attempts/s, at most {left / rate:.0f} s left"
        )

    def note(self) -> None:
        """Give the numbers."""
        self._noted = time.monotonic()
        facts = {"attempts": len(self._journal), "questions": self._done, "passed": len(self._first)}
        facts |= {"hold": sum(bool(first.held_back) for first in self._first.values())}
        self._note(facts | {"made": self._made, "seconds": self._noted - self._began})

    def ended(self, quest: Quest) -> None:
        """Say what came of a question."""
        self._done += 1
        first = _first_pass(quest.attempts)
        told = f"nothing passes in {len(quest.attempts):,} attempts"
        if first is not None:
            told = (
                f"attempt {first.attempt:,} passes, and {'holds' if first.held_back else 'does not hold'} on all tests"
            )
        self._report(f"question {self._done}/{self._questions} ({quest.question.id}): {told}")


def _first_pass(attempts: Sequence[Attempt]) -> Attempt | None:
    return next((attempt for attempt in attempts if attempt.correct), None)
