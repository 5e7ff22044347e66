"""What a teacher is asked about a batch: distinct pairs of context and response, and where each answer belongs.

A rollout that is scored under several hints, and hints that several rollouts share, make more uses than there is to
compute; so do equal rollouts of a group. What pairs of equal contexts share is the scorer's to find
(sampling.shared_prefixes).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from selfdistill.scoring.scores import Sequences

#: A use of a context: number of the rollout, and the context's token ids.
Use = tuple[int, Sequence[int]]


@dataclass(frozen=True)
class ScoringPlan:
    """Distinct pairs of context and response.

    Attributes:
        pairs: contexts as prompts, with the responses.
        rows: a rollout of each pair.
        place: the pair of each use.
    """

    pairs: Sequences
    rows: list[int]
    place: list[int]


def plan_scores(uses: Sequence[Use], responses: Sequence[Sequence[int]], *, by_rollout: bool = False) -> ScoringPlan:
    """The plan for these uses.

    Args:
        uses: in any order.
        responses: of all rollouts, token ids.
        by_rollout: whether something else is asked of each rollout (other ids to be read): equal responses are then
            no reason to ask once.
    """
    keys = [(tuple(context), tuple(responses[row]), row if by_rollout else None) for row, context in uses]
    first = {}
    for number, key in enumerate(keys):
        first.setdefault(key, number)
    number_of = {key: number for number, key in enumerate(first)}
    chosen = [uses[number] for number in first.values()]
    pairs = Sequences([context for _, context in chosen], [responses[row] for row, _ in chosen])
    return ScoringPlan(pairs, [row for row, _ in chosen], [number_of[key] for key in keys])


def plain_tokens(
    correct: Sequence[Sequence[int] | None],
    wrong: Sequence[Sequence[Sequence[int]]],
    responses: Sequence[Sequence[int]],
) -> int:
    """Tokens of the plain scheme: every context whole, once a use, and every rollout under as many wrong hints.

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
