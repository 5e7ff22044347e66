"""Writes the page of attempts: what each search tried on a question, the feedback, and what changed."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup, escape

from selfdistill.reporting.read.searches import Searches
from selfdistill.reporting.render.html import render
from selfdistill.reporting.tables.discovery import TITLES
from selfdistill.texts import shortened, visible

#: Questions of a page, and attempts of a search at one: the first, and those up to its end.
QUESTIONS, FIRST, LAST = 4, 6, 4
#: Characters of a response or of feedback.
_LONGEST = 4000
_WORDS = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass(frozen=True)
class Shown:
    """An attempt as the page shows it; left_out: of those before it."""

    number: int
    turn: int
    updates: int
    seen: int
    verdict: str
    response: Markup
    feedback: str
    left_out: int


def attempts_page(every: Sequence[Searches]) -> str:
    """Return the page of several tasks and models: of each some questions, by the first seed of every search.

    Questions are those of which the searches differ most: found by one and not by another before the others.
    """
    blocks = []
    for searches in every:
        seeds = {search: min(of_seed) for search, of_seed in searches.attempts.items()}
        frames = {search: searches.attempts[search][seed] for search, seed in seeds.items()}
        for question in _chosen(frames, searches.questions["question"].tolist()):
            columns = [
                (TITLES[search], seeds[search], *_summary(rows), _shown_attempts(rows))
                for search in TITLES
                if search in frames and len(rows := frames[search][frames[search]["question"] == question])
            ]
            blocks.append((searches.task, searches.model, question, columns))
    return render("attempts.html", title="Attempts at single questions", blocks=blocks, first=FIRST, last=LAST)


def _chosen(frames: dict[str, pd.DataFrame], questions: Sequence[str]) -> list[str]:
    def order(question: str) -> tuple[int, str]:
        found = sum(bool(frame.loc[frame["question"] == question, "correct"].any()) for frame in frames.values())
        return (0 if 0 < found < len(frames) else 1 if found else 2), question

    return sorted(questions, key=order)[:QUESTIONS]


def _summary(rows: pd.DataFrame) -> tuple[int, str]:
    passed = rows[rows["correct"]]
    if passed.empty:
        return len(rows), "nothing passes"
    first = passed.sort_values("attempt").iloc[0]
    return len(
        rows
    ), f"attempt {first['attempt']:,} passes{' and holds' if first['held_back'] else ', and does not hold'}"


def _shown_attempts(rows: pd.DataFrame) -> list[Shown]:
    records = rows.sort_values("attempt").to_dict("records")
    passes = next((i for i, row in enumerate(records) if row["correct"]), len(records) - 1)
    places = [i for i in range(len(records)) if i < FIRST or passes - LAST < i <= passes]
    shown, before = [], -1
    for i in places:
        row = records[i]
        verdict = "fails" if not row["correct"] else "passes and holds" if row["held_back"] else "passes, does not hold"
        earlier = records[i - 1]["response"] if i else None
        shown.append(
            Shown(
                row["attempt"],
                row["turn"],
                row["updates"],
                row["shown"],
                verdict,
                _changed(earlier, row["response"]),
                shortened(row["feedback"], _LONGEST),
                i - before - 1,
            )
        )
        before = i
    return shown


def _changed(earlier: str | None, response: str) -> Markup:
    """A response with what the attempt before it did not have marked."""
    text = visible(shortened(response, _LONGEST))
    if earlier is None:
        return escape(text)
    old, new = _WORDS.findall(visible(shortened(earlier, _LONGEST))), _WORDS.findall(text)
    parts = []
    for kind, _, _, begin, end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        piece = escape("".join(new[begin:end]))
        parts.append(Markup("<mark>{}</mark>").format(piece) if kind in ("insert", "replace") and piece else piece)
    return Markup("").join(parts)
