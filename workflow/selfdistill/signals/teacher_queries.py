"""Collects the distinct pairs of context and response that a teacher scores, and spreads its answers.

A rollout that is scored under several hints, and hints that several rollouts share, make more uses than there is to
compute; so do equal rollouts of a group. What pairs of equal contexts share is the scorer's to find
(scoring.prefix_schedule).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from selfdistill.scoring.prompts import keyed
from selfdistill.scoring.scores import Sequences


class Use(NamedTuple):
    """A rollout that is scored under a context.

    Attributes:
        row: number of the rollout.
        context: its token ids.
        slot: number of the wrong hint; None for the correct one.
    """

    row: int
    context: Sequence[int]
    slot: int | None = None


@dataclass(frozen=True)
class TeacherQueries:
    """Distinct pairs of context and response.

    Attributes:
        pairs: contexts as prompts, with the responses.
        rows: a rollout of each pair.
        place: the pair of each use.
    """

    pairs: Sequences
    rows: list[int]
    place: list[int]


def distinct_queries(
    uses: Sequence[Use], responses: Sequence[Sequence[int]], *, by_rollout: bool = False
) -> TeacherQueries:
    """Return the distinct pairs of these uses.

    Args:
        uses: in any order.
        responses: of all rollouts, token ids.
        by_rollout: whether something else is asked of each rollout (other ids to be read): equal responses are then
            no reason to ask once.
    """
    keys = [(keyed(use.context), tuple(responses[use.row]), use.row if by_rollout else None) for use in uses]
    first = {}
    for number, key in enumerate(keys):
        first.setdefault(key, number)
    number_of = {key: number for number, key in enumerate(first)}
    chosen = [uses[number] for number in first.values()]
    pairs = Sequences([use.context for use in chosen], [responses[use.row] for use in chosen])
    return TeacherQueries(pairs, [use.row for use in chosen], [number_of[key] for key in keys])


def plain_tokens(
    correct: Sequence[Sequence[int] | None],
    wrong: Sequence[Sequence[Sequence[int]]],
    responses: Sequence[Sequence[int]],
) -> int:
    """Count the tokens of the plain scheme: every context whole, once a use, and as many wrong hints for every rollout.

    Such a scheme forwards all rollouts in K + 1 rectangles, K the most wrong hints of any; where a rollout has fewer
    (docs/departures.md D17) its first one fills the slot. Rollouts without hints are not counted.

    Args:
        correct: contexts of B rollouts, None where there is none.
        wrong: up to K contexts each.
        responses: token ids.
    """
    slots = max(map(len, wrong), default=0)
    total = 0
    for right, others, response in zip(correct, wrong, responses, strict=True):
        if right is not None:
            contexts = [right, *others, *others[:1] * (slots - len(others))]
            total += sum(len(context) + len(response) for context in contexts)
    return total
