"""Generates chains of operations modulo 10: the toy stand-in for competition mathematics.

A problem with n operations is one of 10 * 30**n; a worked solution takes six tokens an operation.
"""

import hashlib
import re
from dataclasses import dataclass

import numpy as np

from selfdistill.tasks.prompts import Hint

MODULUS = 10
_SPOKEN = {"+": ", then add ", "-": ", then subtract ", "*": ", then multiply by "}
_OPENING = "Start with "
_CLOSING = ". What is the result modulo 10?"

_CHAIN = re.compile(rf"{_OPENING}(\d)((?:(?:{'|'.join(_SPOKEN.values())})\d)+){re.escape(_CLOSING)}")
_OPERATION = re.compile(rf"({'|'.join(_SPOKEN.values())})(\d)")

#: Text pieces that a word-level tokenizer should keep whole.
PHRASES = [_OPENING, *_SPOKEN.values(), _CLOSING, "+", "-", "*", "=", "; ", ". ", *map(str, range(MODULUS))]


@dataclass(frozen=True)
class Chain:
    """A start digit and operations (symbol, digit), applied from left to right modulo 10."""

    start: int
    operations: tuple[tuple[str, int], ...]

    @property
    def results(self) -> list[int]:
        """Value after each operation."""
        values, value = [], self.start
        for symbol, operand in self.operations:
            value = apply(value, symbol, operand)
            values.append(value)
        return values

    @property
    def answer(self) -> str:
        return str(self.results[-1])

    @property
    def canonical(self) -> str:
        """Returns what makes two problems the same one, for splitting by hash."""
        return f"{self.start}" + "".join(f"{symbol}{operand}" for symbol, operand in self.operations)

    def text(self) -> str:
        return _OPENING + str(self.start) + "".join(_SPOKEN[s] + str(d) for s, d in self.operations) + _CLOSING

    def steps(self, results: list[int] | None = None) -> list[str]:
        """Return the steps, one by one; `results` overrides the true values (for wrong solutions)."""
        results = self.results if results is None else results
        before = [self.start, *results[:-1]]
        return [f"{b}{s}{d}={r}" for b, (s, d), r in zip(before, self.operations, results, strict=True)]

    def worked(self, results: list[int] | None = None) -> str:
        """Return the steps, without the final answer; `results` as of `steps`."""
        return "; ".join(self.steps(results)) + ". "

    def mistaken_results(self, rng: np.random.Generator) -> list[int]:
        """Results with one slip, carried on from there, and a wrong final value."""
        while True:  # a later multiplication can mend a slip; one in the last step never mends
            slip = int(rng.integers(len(self.operations)))
            results, value = [], self.start
            for i, (symbol, operand) in enumerate(self.operations):
                value = apply(value, symbol, operand)
                if i == slip:
                    value = (value + int(rng.integers(1, MODULUS))) % MODULUS
                results.append(value)
            if results[-1] != self.results[-1]:
                return results

    def reference(self, rng: np.random.Generator) -> Hint:
        """Return the worked solution; there is one only, so `rng` is not drawn from."""
        return Hint(self.worked(), self.answer)

    def mistake(self, rng: np.random.Generator) -> Hint:
        """Return a worked solution with a slip, and its wrong answer."""
        results = self.mistaken_results(rng)
        return Hint(self.worked(results), str(results[-1]))

    def slipping(self, rng: np.random.Generator, rate: float) -> Hint:
        """A worked solution in which each shaky operation (`is_shaky`) gives one more than it should at this rate.

        What was got wrong is carried on. Which operations are shaky is the same in all chains, and so is their wrong
        result: attempts at one problem tend to slip alike.
        """
        results, value = [], self.start
        for symbol, operand in self.operations:
            value = apply(value, symbol, operand)
            if is_shaky(symbol, operand) and rng.random() < rate:
                value = (value + 1) % MODULUS
            results.append(value)
        return Hint(self.worked(results), str(results[-1]))


def read_chain(text: str) -> Chain | None:
    """Return the chain that a problem's text asks for, or None where it asks for something else."""
    if not (found := _CHAIN.fullmatch(text.strip())):
        return None
    symbols = {spoken: symbol for symbol, spoken in _SPOKEN.items()}
    return Chain(int(found[1]), tuple((symbols[each[1]], int(each[2])) for each in _OPERATION.finditer(found[2])))


def apply(value: int, symbol: str, operand: int) -> int:
    """Return the result of one operation, modulo 10."""
    return {"+": value + operand, "-": value - operand, "*": value * operand}[symbol] % MODULUS


def is_shaky(symbol: str, operand: int) -> bool:
    """Returns whether an operation is one of the quarter that `Chain.slipping` gets wrong, chosen by hash."""
    return hashlib.sha256(f"shaky{symbol}{operand}".encode()).digest()[0] % 4 == 0


def generate(rng: np.random.Generator, operations: int) -> Chain:
    """Return a random chain with the given number of operations."""
    symbols = rng.choice(list(_SPOKEN), size=operations)
    digits = rng.integers(0, MODULUS, size=operations + 1)
    return Chain(int(digits[0]), tuple((str(s), int(d)) for s, d in zip(symbols, digits[1:], strict=True)))
