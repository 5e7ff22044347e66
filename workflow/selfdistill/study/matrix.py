"""Expands a configuration's matrix: which runs there are, in which order, and where their files are."""

import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selfdistill.study.paths import DRAWS_FOLDER, RUN_FOLDER

#: The untrained model: a variant that is evaluated only.
BASE = "base"
AXES = ("tasks", "models", "variants", "seeds")


@dataclass(frozen=True)
class Run:
    """One cell of the matrix; `method` is that of its variant (BASE for the untrained model)."""

    task: str
    model: str
    variant: str
    seed: int
    method: str

    @property
    def folder(self) -> str:
        """Returns what training left: config, metrics, provenance, model."""
        return RUN_FOLDER.format(**vars(self))

    @property
    def draws_folder(self) -> str:
        """Returns what evaluation left: <benchmark>.parquet."""
        return DRAWS_FOLDER.format(**vars(self))


class Matrix:
    """The runs that a configuration names."""

    def __init__(self, config: Mapping[str, Any]):
        """config: a whole configuration; its sections `matrix`, `methods` and `variants` are read."""
        self._config = config

    @functools.cached_property
    def variants(self) -> dict[str, str]:
        """Returns variant -> method: the base, each method as it is, and the named variants."""
        methods = {name: name for name in self._config["methods"]}
        return {BASE: BASE} | methods | {name: v["method"] for name, v in self._config["variants"].items()}

    @functools.cached_property
    def blocks(self) -> dict[str, dict[str, list]]:
        """Key of each block of the matrix -> axis -> values: the matrix itself, or its `blocks`, which take from it the
        axes that they do not name.
        """
        matrix = self._config["matrix"]
        common = {axis: values for axis, values in matrix.items() if axis in AXES}
        if "blocks" not in matrix:
            return {"matrix": common}
        return {f"matrix.blocks.{name}": common | block for name, block in matrix["blocks"].items()}

    def axis(self, axis: str) -> list:
        """Return all values of an axis, in the order in which the blocks name them."""
        return list(dict.fromkeys(value for block in self.blocks.values() for value in block[axis]))

    def runs(self) -> list[Run]:
        """Return the runs, task by task, each once whatever the number of blocks that hold it."""
        found = {cell for block in self.blocks.values() for cell in itertools.product(*(block[axis] for axis in AXES))}
        cells = itertools.product(*(self.axis(axis) for axis in AXES))
        wanted = (cell for cell in cells if cell in found)
        return [Run(task, model, name, seed, self.variants[name]) for task, model, name, seed in wanted]
