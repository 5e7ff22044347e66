"""The paper's data where somebody has them, and readers of generated texts that share nothing with their writers."""

import os
import re
import time
from pathlib import Path

import pytest

from selfdistill.tasks import arithmetic, knights

#: Names a folder with files of the paper's hub dataset: <folder>/<dataset>/<split>.parquet.
VARIABLE = "PAPER_DATA"
FILES = {
    "maths": "amc23+aime24+aime25/val.parquet",
    "knights": "kk_3_test+kk_4_test+kk_5_test+kk_6_test+kk_7_test/val.parquet",
    "knights-train": "kk_4to7/train.parquet",
}


@pytest.fixture
def real():
    """name -> path of a real parquet; skips where nobody says where they are."""

    def path(name: str) -> Path:
        if VARIABLE not in os.environ:
            pytest.skip(f"{VARIABLE} names no folder with {FILES[name]}")
        return Path(os.environ[VARIABLE]) / FILES[name]

    return path


@pytest.fixture(scope="session")
def read_chain():
    """A chain from its text."""
    symbols = {"add": "+", "subtract": "-", "multiply by": "*"}

    def read(text: str) -> arithmetic.Chain:
        start = re.search(r"Start with (\d)", text)[1]
        steps = re.findall(r"then (add|subtract|multiply by) (\d)", text)
        return arithmetic.Chain(int(start), tuple((symbols[word], int(digit)) for word, digit in steps))

    return read


@pytest.fixture(scope="session")
def read_puzzle():
    """A puzzle from its text."""

    def read(text: str) -> knights.Puzzle:
        count, listed = re.search(r"You meet (\d+) inhabitants: ([^.]+)\.", text).groups()
        names = tuple(listed.split(", "))
        assert len(names) == int(count)
        told, _, _ = text.partition("So who is a knight")  # a hint may follow, and restates what is said
        said = re.findall(r"(\w+) says: ([^.]+)\.", told)
        assert tuple(name for name, _ in said) == names
        statements = []
        for _, claim in said:
            atoms = tuple(
                (names.index(n), role == "knight") for n, role in re.findall(r"(\w+) is a (knight|knave)", claim)
            )
            form = next(
                (f for f, w in (("iff", " if and only if "), ("and", " and "), ("or", " or ")) if w in claim), "is"
            )
            statements.append(knights.Statement(form, atoms))
        return knights.Puzzle(names, tuple(statements))

    return read


@pytest.fixture(scope="session")
def growth():
    """How many times more processor time a function takes for four times as long a text: 4 if linear, 16 if quadratic.

    What is done with twenty thousand repetitions within a twentieth of a second is not quadratic, and is not compared.
    """

    def measure(read, piece: str) -> float:
        once, fourfold = (min(_seconds(read, piece * n) for _ in range(2)) for n in (5_000, 20_000))
        return fourfold / once if fourfold > 0.05 else 1.0

    return measure


def _seconds(read, text: str) -> float:
    began = time.process_time()
    read(text)
    return time.process_time() - began
