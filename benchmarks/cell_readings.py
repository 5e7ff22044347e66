"""Where walks over coloured cells go wrong in the draws of config/cells_demo.yaml: way, row, or box against row.

python benchmarks/cell_readings.py [--draws results/draws/cells/tiny_qwen3_vl]; run from the repository's root, after
`make demo CONFIG=config/cells_demo.yaml`. A teacher of this toy reads its row and repeats the hint in the box, whatever
the row says. A student that has learnt the box from it, and not the reading, contradicts itself where it is shown no
hint: it boxes another colour than it has read where its own way ends, or one that it has read nowhere.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from side_by_side import as_text, write_csv

from selfdistill.evaluation.draws import read_draws
from selfdistill.evaluation.estimators import interval, paired_difference
from selfdistill.tasks.cells import CELL_PIXELS, COLOURS, SIDE
from selfdistill.tasks.pictures import Picture
from selfdistill.tasks.schema import read_problems

OUTPUT = Path("results/benchmarks/cell_readings.csv")
DRAWS = Path("results/draws/cells/tiny_qwen3_vl")
PROBLEMS = Path("results/data/walk-1+walk-2+walk-3+walk-5+where+count/val.parquet")
WALKS = ("walk-1", "walk-2", "walk-3", "walk-5")
BASE = "base"
#: Share of responses that ...
SHARES = {
    "right": "answer rightly",
    "way": "end at the right cell",
    "row": "read a row as it is in the picture, whichever it is",
    "against": "box another colour than they have read there themselves, or have read none",
    "unread": "box a colour that stands nowhere in the row that they have read",
}
_ENDS = re.compile(r"\((\d), (\d)\)\n")
_ROW = re.compile(r"row (\d) has 1 (\w+) 2 (\w+) 3 (\w+)")
_BOX = re.compile(r"\\boxed\{(\w+)\}")


class Reading(NamedTuple):
    """What a response says: (row, column) where its way ends, the row that it reads and its colours, its box."""

    end: tuple[int, int] | None
    row: int | None
    colours: tuple[str, ...]
    box: str | None

    @property
    def against(self) -> bool:
        """Whether the box is not what was read at the end of the way."""
        if self.end is None or self.row != self.end[0] or self.end[1] > len(self.colours):
            return True
        return self.box != self.colours[self.end[1] - 1]

    @property
    def unread(self) -> bool:
        """Whether the box is nothing that was read."""
        return self.box not in self.colours


def reading(text: str) -> Reading:
    """Take a response apart; of rows and boxes the last one, of ways the first."""
    ends, rows, boxes = _ENDS.search(text), _ROW.findall(text), _BOX.findall(text)
    end = (int(ends[1]), int(ends[2])) if ends else None
    row, *colours = rows[-1] if rows else (None,)
    return Reading(end, int(row) if row else None, tuple(colours), boxes[-1] if boxes else None)


def shares(response: str, grid: Sequence[Sequence[str]], end: tuple[int, int], correct: bool) -> list[bool]:
    """SHARES of one response to a walk that ends at `end` on `grid`, rows and columns counted from 1."""
    said = reading(response)
    seen = said.row is not None and 1 <= said.row <= len(grid) and said.colours == tuple(grid[said.row - 1])
    return [correct, said.end == end, seen, said.against, said.unread]


def measured(folder: Path, truths: dict[str, tuple[Any, tuple[int, int]]]) -> dict[str, list[np.ndarray]]:
    """For each of SHARES, for each walk, the means of a variant's S seeds on P problems, [S, P]."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in SHARES}
    seeds = sorted(folder.glob("seed*"))
    for walk in WALKS:
        by_seed = []
        for seed in seeds:
            draws = read_draws(seed / f"{walk}.parquet").sort_values(["problem_id", "draw"])
            rows = [
                shares(each.response, *truths[each.problem_id], each.correct) for each in draws.itertuples(index=False)
            ]
            count = draws["problem_id"].nunique()
            by_seed.append(np.array(rows, dtype=float).reshape(count, -1, len(SHARES)).mean(axis=1))
        for place, name in enumerate(SHARES):
            found[name].append(np.stack([each[:, place] for each in by_seed]))
    return found


def grid_of(picture: Picture) -> list[list[str]]:
    """The colours of a picture's cells, row by row."""
    names = {pixel: name for name, pixel in COLOURS.items()}
    image, middle = picture.image().convert("RGB"), CELL_PIXELS // 2
    centres = [i * CELL_PIXELS + middle for i in range(SIDE)]
    return [[names[image.getpixel((x, y))] for x in centres] for y in centres]


def main(arguments: Sequence[str]) -> None:
    """Write a line for each variant and share: percent, and how far it is from the base model's."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=Path, default=DRAWS)
    parser.add_argument("--problems", type=Path, default=PROBLEMS)
    options = parser.parse_args(arguments)
    problems = [each for each in read_problems(options.problems) if each.data_source in WALKS]
    truths = {each.id: (grid_of(each.images[0]), reading(each.solution).end) for each in problems}
    variants = sorted(each.name for each in options.draws.iterdir())
    every = {name: measured(options.draws / name, truths) for name in variants}
    rows = []
    for variant, found in every.items():
        for name, scores in found.items():
            own = interval(scores)
            row = {"variant": variant, "share": name, "seeds": len(scores[0])}
            row |= {"percent": own.value, "low": own.low, "high": own.high}
            if variant != BASE and BASE in every:
                gap = paired_difference(scores, every[BASE][name], trained=(True, False))
                row |= {"minus_base": gap.value, "gap_low": gap.low, "gap_high": gap.high}
            rows.append({key: 100 * value if isinstance(value, float) else value for key, value in row.items()})
    keys = list(max(rows, key=len))
    rows = [{key: row.get(key) for key in keys} for row in rows]
    write_csv(OUTPUT, rows)
    print(as_text(rows))
    print("\n".join(f"{name}: {what}" for name, what in SHARES.items()))


if __name__ == "__main__":
    main(sys.argv[1:])
