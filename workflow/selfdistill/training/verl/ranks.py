"""Assigns rows to ranks: equal work, or prompts next to the responses that share them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from verl.utils.seqlen_balancing import calculate_workload, get_seqlen_balanced_partitions

from selfdistill.scoring.prefix_schedule import WORTH_SHARING, schedule_prefixes
from selfdistill.scoring.prompts import keyed
from selfdistill.scoring.scores import Sequences
from selfdistill.training.step import rows_of
from selfdistill.training.verl.shared_prompts import SHARED, SHARED_TOKENS


@dataclass(frozen=True)
class Plan:
    """Rows in an order whose consecutive equal parts are the ranks'.

    Attributes:
        order: numbers of rows. real: which are no repetition.
        tokens: that go through the model on all ranks, padding not counted.
        options: of the request.
    """

    order: list[int]
    real: list[bool]
    tokens: int
    options: dict[str, Any]


@dataclass(frozen=True)
class SharedPrompts:
    """Says whether prompts are computed once for all their responses, as a run's settings say.

    Attributes:
        form: "none", "padded" or "packed".
        max_tokens: of a forward.
    """

    form: str = "none"
    max_tokens: int = 0

    def plan(self, sequences: Sequences, ranks: int) -> Plan | None:
        """Return how rows are to be shared out, or None where it is off or saves less than a tenth of the tokens.

        Rows are sorted by their prompts, so that those of one prompt, and prompts that begin alike, are on one rank but
        for a cut between neighbours. Ranks have equally many rows, not equal work.
        """
        if self.form == "none":
            return None
        count = len(sequences.responses)
        order = sorted(range(count), key=lambda row: (keyed(sequences.prompts[row]), row))
        order += order[-1:] * (-count % ranks)
        share = len(order) // ranks
        parts = [rows_of(sequences, order[begin : begin + share]) for begin in range(0, len(order), share)]
        tokens = sum(schedule_prefixes(part, self.max_tokens).tokens for part in parts)
        if tokens > WORTH_SHARING * sum(sequences.lengths):
            return None
        real = [place < count for place in range(len(order))]
        return Plan(order, real, tokens, {SHARED: self.form, SHARED_TOKENS: self.max_tokens})


def shared_out(lengths: Sequence[int], ranks: int) -> tuple[list[int], list[bool]]:
    """Return rows in an order whose consecutive equal parts, one a rank, make about equal work.

    Args:
        lengths: tokens of each row.
        ranks: data-parallel ranks.

    Returns:
        Numbers of rows; the shortest is repeated until the ranks divide them. And which are no repetition.
    """
    count = len(lengths)
    rows = [*range(count)] + [min(range(count), key=lambda i: lengths[i])] * (-count % ranks)
    if ranks == 1:
        return rows, [True] * count
    work = calculate_workload(torch.tensor([lengths[row] for row in rows]))
    parts = get_seqlen_balanced_partitions(work, k_partitions=ranks, equal_size=True)
    order = [i for part in parts for i in part]
    return [rows[i] for i in order], [i < count for i in order]
