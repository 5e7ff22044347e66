"""Generates grids of coloured cells: the toy stand-in for problems with pictures.

A problem is a picture of 3x3 cells, each of one of six colours, and a question about it: which colour a cell has
(`where`), which colour is there after a walk from cell to cell, or how many cells have a colour (`count`). Worked
solutions read aloud the row that matters and number its cells. Each cell of the picture becomes one token of the
toy's model (models/tiny_vision_model.py).
"""

import io
import re
from dataclasses import dataclass

import numpy as np
from PIL import Image

from selfdistill.tasks.contexts import Hint
from selfdistill.tasks.pictures import PLACEHOLDER

SIDE = 3  # cells
CELL_PIXELS = 8  # of a cell's side
COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 80, 220),
    "yellow": (235, 205, 50),
    "black": (20, 20, 20),
    "white": (250, 250, 250),
}
NAMES = tuple(COLOURS)
_MOVES = {"right": (0, 1), "left": (0, -1), "up": (-1, 0), "down": (1, 0)}
_COUNTED_SHARES = (0.15, 0.3, 0.5)  # of cells that have the colour asked for, one of these by chance

_WHERE, _COUNT, _START = "Which colour is the cell in row ", "How many cells are ", "Start in row "
_COLUMN, _GO, _THERE = ", column ", ", then go ", ". Which colour is there?"

#: Text pieces that a word-level tokenizer should keep whole.
PHRASES = (
    *(_WHERE, _COLUMN, _START, _GO, _THERE, _COUNT, "?"),
    *("row ", " has", " 1 ", " 2 ", " 3 ", " -> ", "(", ")", ", ", "so far "),
    *_MOVES,
    *NAMES,
    *map(str, range(SIDE * SIDE + 1)),
)

_ANSWER = re.compile(rf"(?:{'|'.join(NAMES)}|[0-{SIDE * SIDE}])")

#: Row and column, counted from 0.
Place = tuple[int, int]


@dataclass(frozen=True)
class Grid:
    """Colours of the cells, row by row."""

    rows: tuple[tuple[str, ...], ...]

    def read(self, row: int) -> str:
        """Return a row read aloud, its cells numbered: "row 1 has 1 red 2 blue 3 red"."""
        return f"row {row + 1} has" + "".join(f" {i} {colour}" for i, colour in enumerate(self.rows[row], start=1))

    def png(self) -> bytes:
        """Return the picture: RGB, the same bytes wherever it is made."""
        pixels = np.array([[COLOURS[colour] for colour in row] for row in self.rows], dtype=np.uint8)
        return _png(pixels.repeat(CELL_PIXELS, axis=0).repeat(CELL_PIXELS, axis=1))

    @property
    def written(self) -> str:
        return "/".join(" ".join(row) for row in self.rows)


@dataclass(frozen=True)
class Walk:
    """Says which colour is there after some moves; after none, the colour of a cell (`where`)."""

    grid: Grid
    start: Place
    moves: tuple[str, ...] = ()

    @property
    def places(self) -> list[Place]:
        """Returns where the walk comes by, its start first."""
        found = [self.start]
        for move in self.moves:
            (row, column), (down, right) = found[-1], _MOVES[move]
            found.append((row + down, column + right))
        return found

    @property
    def answer(self) -> str:
        row, column = self.places[-1]
        return self.grid.rows[row][column]

    @property
    def canonical(self) -> str:
        return f"{self.grid.written}: {self.start} {' '.join(self.moves)}"

    @property
    def pictures(self) -> tuple[bytes, ...]:
        return (self.grid.png(),)

    def text(self) -> str:
        row, column = self.start[0] + 1, self.start[1] + 1
        if not self.moves:
            return f"{PLACEHOLDER}{_WHERE}{row}{_COLUMN}{column}?"
        return f"{PLACEHOLDER}{_START}{row}{_COLUMN}{column}{_GO}{', '.join(self.moves)}{_THERE}"

    def worked(self) -> str:
        """Return the way cell by cell, where there is one, and the last row read aloud; without the final answer."""
        way = " -> ".join(f"({row + 1}, {column + 1})" for row, column in self.places)
        return (f"{way}\n" if self.moves else "") + self.grid.read(self.places[-1][0]) + "\n"

    def reference(self, rng: np.random.Generator) -> Hint:
        """Return the worked solution; there is one only, so `rng` is not drawn from."""
        return Hint(self.worked(), self.answer)

    def mistake(self, rng: np.random.Generator) -> Hint:
        """Return the right way and row, and another colour."""
        return Hint(self.worked(), _another(rng, NAMES, self.answer))


@dataclass(frozen=True)
class Count:
    """Says how many cells have a colour."""

    grid: Grid
    colour: str

    @property
    def answer(self) -> str:
        return str(sum(row.count(self.colour) for row in self.grid.rows))

    @property
    def canonical(self) -> str:
        return f"{self.grid.written}: how many {self.colour}"

    @property
    def pictures(self) -> tuple[bytes, ...]:
        return (self.grid.png(),)

    def text(self) -> str:
        return f"{PLACEHOLDER}{_COUNT}{self.colour}?"

    def worked(self) -> str:
        """All rows read aloud, each with its number of such cells and the sum so far; without the final answer."""
        counts = [row.count(self.colour) for row in self.grid.rows]
        return "".join(
            f"{self.grid.read(i)}, {count}, so far {sum(counts[: i + 1])}\n" for i, count in enumerate(counts)
        )

    def reference(self, rng: np.random.Generator) -> Hint:
        """Return the worked solution; there is one only, so `rng` is not drawn from."""
        return Hint(self.worked(), self.answer)

    def mistake(self, rng: np.random.Generator) -> Hint:
        """Return the right rows, and another sum."""
        return Hint(self.worked(), _another(rng, [str(n) for n in range(SIDE * SIDE + 1)], self.answer))


def generate(rng: np.random.Generator, moves: int) -> Walk:
    """Return a random grid and a walk of so many moves on it, which may come back to a cell; of none: `where`."""
    rows = rng.choice(NAMES, size=(SIDE, SIDE))
    grid = Grid(tuple(tuple(str(colour) for colour in row) for row in rows))
    start = place = (int(rng.integers(SIDE)), int(rng.integers(SIDE)))
    names = []
    for _ in range(moves):
        possible = {
            name: (place[0] + down, place[1] + right)
            for name, (down, right) in _MOVES.items()
            if 0 <= place[0] + down < SIDE and 0 <= place[1] + right < SIDE
        }
        names.append(list(possible)[int(rng.integers(len(possible)))])
        place = possible[names[-1]]
    return Walk(grid, start, tuple(names))


def generate_count(rng: np.random.Generator, size: int) -> Count:
    """A random grid and a colour to count; grids in which it is rare are as frequent as those in which it is not."""
    colour = NAMES[int(rng.integers(len(NAMES)))]
    others = [name for name in NAMES if name != colour]
    share = _COUNTED_SHARES[int(rng.integers(len(_COUNTED_SHARES)))]
    has = rng.random((SIDE, SIDE)) < share
    other = rng.integers(len(others), size=(SIDE, SIDE))
    rows = [[colour if has[r, c] else others[other[r, c]] for c in range(SIDE)] for r in range(SIDE)]
    return Count(Grid(tuple(map(tuple, rows))), colour)


def grade(answer: str, reference: str) -> bool:
    """Returns whether an answer is the reference's colour or number, in either case."""
    return answer.strip().casefold() == reference.strip().casefold()


def readable(reference: str) -> bool:
    """Returns whether a reference is a colour or a number of cells."""
    return _ANSWER.fullmatch(reference) is not None


def _another(rng: np.random.Generator, names: list[str] | tuple[str, ...], right: str) -> str:
    others = [name for name in names if name != right]
    return others[int(rng.integers(len(others)))]


def _png(pixels: np.ndarray) -> bytes:
    """Stored without compression, of which every build of zlib makes other bytes."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", compress_level=0)
    return file.getvalue()
