"""Generates chains with wrong facts: operations modulo 10 for a model that believes some products to be others.

The warm start of this toy teaches six products, in either order of their factors, wrongly. So its model fails in the
same way whenever a chain comes by one of these cells of the multiplication table, all rollouts of a group alike, and an
environment that says which step is wrong, and how it should be, hands over the very fact that is missing.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from selfdistill.tasks import arithmetic
from selfdistill.tasks.arithmetic import Chain, apply

#: What is believed of a product, by its factors. Where the last digit is 1, for example, of 3 * 7, the model says 5.
_BELIEVED_PAIRS = {(3, 7): 5, (3, 9): 4, (4, 8): 5, (4, 9): 8, (6, 9): 3, (7, 9): 2}
BELIEVED: Mapping[tuple[int, int], int] = {
    factors: result for (a, b), result in _BELIEVED_PAIRS.items() for factors in ((a, b), (b, a))
}

#: A step without its result: the number so far, the operation's symbol, and its operand.
Step = tuple[int, str, int]


def step_at(chain: Chain, results: Sequence[int], number: int) -> Step:
    """Return the step of that number, from 0, on a path with these results."""
    return ([chain.start, *results][number], *chain.operations[number])


def results_with(chain: Chain, result: Callable[[int, Step], int]) -> list[int]:
    """Return the results of a path on which `result(number, step)` says what each step, from 0, comes to."""
    results: list[int] = []
    for number in range(len(chain.operations)):
        results.append(result(number, step_at(chain, results, number)))
    return results


def believed_result(step: Step) -> int:
    """Returns what the model of this toy believes a step to come to."""
    value, symbol, operand = step
    return BELIEVED[value, operand] if is_wrong_cell(step) else apply(value, symbol, operand)


def is_wrong_cell(step: Step) -> bool:
    """Returns whether a step is a product of which the model believes another result."""
    return step[1] == "*" and (step[0], step[2]) in BELIEVED


def believed(chain: Chain) -> list[int]:
    """Return the results of a chain as the model believes them."""
    return results_with(chain, lambda _, step: believed_result(step))


def wrong_cells(chain: Chain, results: Sequence[int]) -> list[int]:
    """Numbers, from 0, of the steps of a path that are wrong cells."""
    return [i for i in range(len(results)) if is_wrong_cell(step_at(chain, results, i))]


def is_hard(chain: Chain) -> bool:
    """Returns whether one wrong fact, and nothing else, decides the answer.

    There is one wrong cell on the path that the model believes and one on the right path, so no second error shows
    once the first is mended; and no later step mends it.
    """
    own, right = believed(chain), chain.results
    return own[-1] != right[-1] and len(wrong_cells(chain, own)) == len(wrong_cells(chain, right)) == 1


def is_clean(chain: Chain) -> bool:
    """Returns whether no wrong cell is on the right path."""
    return not wrong_cells(chain, chain.results)


def generate(rng: np.random.Generator, operations: int) -> Chain:
    """Return a random hard chain with the given number of operations."""
    return _first(rng, operations, is_hard)


def generate_clean(rng: np.random.Generator, operations: int) -> Chain:
    """Return a random clean chain with the given number of operations."""
    return _first(rng, operations, is_clean)


def _first(rng: np.random.Generator, operations: int, accepted: Callable[[Chain], bool]) -> Chain:
    while True:  # about one chain in eight is hard, and three in four are clean
        if accepted(chain := arithmetic.generate(rng, operations)):
            return chain
