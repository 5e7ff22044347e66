"""Generates programs on digits, a toy of code with hidden tests: two pairs of input and output are shown.

A program is a row of operations on a digit: add modulo 10, multiply modulo 10, at least, at most. It is tested on all
ten digits, in an order of the question's own: the first two are shown, a search may use the first half, and the others
are held back. Programs of three operations are 35,937, the functions that they compute 8,334, so that two pairs, or
five, leave many programs that agree with them.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from selfdistill.tasks.prompts import Hint

DIGITS = 10
#: Symbol -> operands; those that change nothing, or leave one digit whatever the input, are left out.
OPERANDS = {"+": range(1, DIGITS), "*": range(2, DIGITS), "max ": range(1, DIGITS - 1), "min ": range(1, DIGITS - 1)}
OPERATIONS = [(symbol, operand) for symbol, operands in OPERANDS.items() for operand in operands]
#: Inputs of a question that are shown, and of those that a search is graded on, the shown ones among them.
SHOWN, SEARCHED = 2, 5

_OPENING, _CLOSING = "Find a program of ", " operations: "
_ARROW, _BETWEEN = " -> ", "; "
_OPERATION = re.compile(r"(\+|\*|max |min )(\d)")
_QUESTION = re.compile(rf"{_OPENING}(\d+){_CLOSING}\d{_ARROW}\d(?:{_BETWEEN}\d{_ARROW}\d)*\.")

#: Text pieces that a word-level tokenizer should keep whole.
PHRASES = [_OPENING, _CLOSING, _ARROW, *OPERANDS, "."]


class Pair(NamedTuple):
    """An input, and the output that a program gives or should give."""

    given: int
    result: int

    def __str__(self) -> str:
        """In the notation of a question, which feedback uses as well."""
        return f"{self.given}{_ARROW}{self.result}"


def run(operations: Iterable[tuple[str, int]], digit: int) -> int:
    """Returns what operations make of a digit, one after the other."""
    for symbol, operand in operations:
        if symbol == "+":
            digit = (digit + operand) % DIGITS
        elif symbol == "*":
            digit = digit * operand % DIGITS
        else:
            digit = max(digit, operand) if symbol == "max " else min(digit, operand)
    return digit


def written(operations: Iterable[tuple[str, int]]) -> str:
    """Operations as a response boxes them."""
    return _BETWEEN.join(f"{symbol}{operand}" for symbol, operand in operations)


def read_program(text: str) -> list[tuple[str, int]] | None:
    """Return the operations of a program; None for anything else."""
    found = [_OPERATION.fullmatch(part.strip()) for part in text.split(_BETWEEN.strip())]
    operations = [(each[1], int(each[2])) for each in found if each]
    return operations if len(operations) == len(found) and all(each in OPERATIONS for each in operations) else None


def operations_asked(question: str) -> int | None:
    """Returns how many operations a question asks for; None where it is no question of this kind."""
    found = _QUESTION.fullmatch(question.strip())
    return int(found[1]) if found else None


def tests_text(pairs: Sequence[Pair]) -> str:
    """Tests as a reference: a JSON list of [input, output]."""
    return json.dumps([list(pair) for pair in pairs])


def read_tests(reference: str) -> list[Pair]:
    """Return the tests in a reference. Raises ValueError, in words, for anything else."""
    try:
        pairs = [Pair(*(int(digit) for digit in pair)) for pair in json.loads(reference)]
    except (ValueError, TypeError, RecursionError):
        raise ValueError("no JSON list of pairs of digits") from None
    if not pairs or any(digit not in range(DIGITS) for pair in pairs for digit in pair):
        raise ValueError("no pairs of digits in it")
    return pairs


@dataclass(frozen=True)
class Programming:
    """A question: the program that made it, and the order in which the inputs are tested."""

    operations: tuple[tuple[str, int], ...]
    order: tuple[int, ...]

    @property
    def pairs(self) -> list[Pair]:
        """Returns all tests, the shown ones first."""
        return [Pair(digit, run(self.operations, digit)) for digit in self.order]

    @property
    def answer(self) -> str:
        """Returns all tests, as a reference."""
        return tests_text(self.pairs)

    @property
    def searched_answer(self) -> str:
        """Returns the half of the tests that a search may use, as a reference."""
        return tests_text(self.pairs[:SEARCHED])

    @property
    def canonical(self) -> str:
        """Returns the function: programs that compute the same are one, whatever is shown of them."""
        return "".join(str(run(self.operations, digit)) for digit in range(DIGITS))

    def text(self) -> str:
        """Returns what is asked."""
        return question(len(self.operations), self.pairs[:SHOWN])

    def reference(self, rng: np.random.Generator) -> Hint:
        """Return the program that made the question, with all tests as its answer; `rng` is not drawn from."""
        return Hint(rf"\boxed{{{written(self.operations)}}}", self.answer)

    def mistake(self, rng: np.random.Generator) -> Hint:
        """Another program, which fails a test."""
        while True:
            other = generate(rng, len(self.operations))
            if other.canonical != self.canonical:
                return Hint(rf"\boxed{{{written(other.operations)}}}", self.answer)


def question(operations: int, pairs: Sequence[Pair]) -> str:
    """Return the text that asks for a program of so many operations which gives these pairs."""
    return f"{_OPENING}{operations}{_CLOSING}{_BETWEEN.join(map(str, pairs))}."


def generate(rng: np.random.Generator, operations: int) -> Programming:
    """Return a random question whose program has the given number of operations."""
    chosen = rng.integers(len(OPERATIONS), size=operations)
    order = rng.permutation(DIGITS)
    return Programming(tuple(OPERATIONS[i] for i in chosen), tuple(int(digit) for digit in order))
