"""Modules of benchmarks/, which are no part of the library."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

FOLDER = str(Path(__file__).parents[2] / "benchmarks")


def load(name: str) -> ModuleType:
    """A module by its name. The folder stays behind all others: some benchmarks have names that libraries have too."""
    if FOLDER not in sys.path:
        sys.path.append(FOLDER)
    return importlib.import_module(name)
