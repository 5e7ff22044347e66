"""Splits rows into padded batches within a budget of tokens: the one rule for whatever is forwarded."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def batches_within(
    items: Iterable[Item],
    widths: Callable[[Item], tuple[int, ...]],
    row_tokens: Callable[..., float],
    max_tokens: int,
) -> Iterator[list[Item]]:
    """Cut items, in their order, into consecutive batches, each as long as its padded tokens are within the budget.

    A row of a batch takes `row_tokens(*widest)` tokens, `widest` being the largest of each of its items' widths, which
    may belong to different items. Nothing is reordered: similar items next to each other waste least.

    Args:
        items: what becomes rows.
        widths: of an item, as many for each.
        row_tokens: tokens of a padded row of these widths.
        max_tokens: the budget of a batch. A single item may be over it.

    Returns:
        The batches, none of them empty.
    """
    batch: list[Item] = []
    widest: tuple[int, ...] = ()
    for item in items:
        own = widths(item)
        wider = tuple(map(max, widest, own)) if batch else own
        if batch and (len(batch) + 1) * row_tokens(*wider) > max_tokens:
            yield batch
            batch, wider = [], own
        batch.append(item)
        widest = wider
    if batch:
        yield batch


def less_padded(rows: Sequence[Item], width: Callable[[Item], int], worth: int) -> Iterator[list[Item]]:
    """Cut a batch of rows, longest first, wherever a further forward saves more than `worth` columns of padding.

    Each time at the place that saves most: the rows behind it are padded to the longest of their own.
    """
    widths = [width(row) for row in rows]
    saved = [(widths[0] - own) * (len(rows) - place) for place, own in enumerate(widths)]
    best = max(saved)
    if best <= worth:
        yield list(rows)
        return
    place = saved.index(best)
    yield from less_padded(rows[:place], width, worth)
    yield from less_padded(rows[place:], width, worth)
