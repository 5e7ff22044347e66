"""Generates sums and differences of numbers in words, which a small pretrained model can do in part."""

from dataclasses import dataclass

import numpy as np

from selfdistill.tasks.prompts import Hint

_ONES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_ONES += [f"{stem}teen" for stem in ("thir", "four", "fif", "six", "seven", "eigh", "nine")]
_TENS = [f"{stem}ty" for stem in ("twen", "thir", "for", "fif", "six", "seven", "eigh", "nine")]
_SPOKEN = {"+": "plus", "-": "minus"}


@dataclass(frozen=True)
class Sum:
    """first + second or first - second, of numbers below 100; a difference is never negative."""

    first: int
    symbol: str
    second: int

    @property
    def value(self) -> int:
        return self.first + self.second if self.symbol == "+" else self.first - self.second

    @property
    def answer(self) -> str:
        return str(self.value)

    @property
    def canonical(self) -> str:
        """Gives what makes two problems the same one, for splitting by hash; the order of a sum's numbers does not."""
        numbers = (self.first, self.second)
        first, second = sorted(numbers) if self.symbol == "+" else numbers
        return f"{first}{self.symbol}{second}"

    def text(self) -> str:
        return f"What is {in_words(self.first)} {_SPOKEN[self.symbol]} {in_words(self.second)}?"

    def worked(self, value: int | None = None) -> str:
        """Return the calculation, without the final answer; `value` overrides the true one (for wrong solutions)."""
        return f"{self.first} {self.symbol} {self.second} = {self.value if value is None else value}. "

    def reference(self, rng: np.random.Generator) -> Hint:
        """Return the worked solution; there is one only, so `rng` is not drawn from."""
        return Hint(self.worked(), self.answer)

    def mistake(self, rng: np.random.Generator) -> Hint:
        """Return a slip as people make them: off by one or by ten."""
        slips = [slip for slip in (-10, -1, 1, 10) if self.value + slip >= 0]
        wrong = self.value + slips[int(rng.integers(len(slips)))]
        return Hint(self.worked(wrong), str(wrong))


def in_words(number: int) -> str:
    """Return a number from 0 to 99: "seven", "forty", "forty-seven"."""
    if number < len(_ONES):
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens - 2] + (f"-{_ONES[ones]}" if ones else "")


def generate(rng: np.random.Generator, digits: int) -> Sum:
    """Return a random sum or difference of numbers of so many digits each, one or two."""
    low, high = (0, 9) if digits == 1 else (10, 99)
    first, second = (int(number) for number in rng.integers(low, high + 1, size=2))
    symbol = "+-"[int(rng.integers(2))]
    if symbol == "-" and second > first:
        first, second = second, first
    return Sum(first, symbol, second)
