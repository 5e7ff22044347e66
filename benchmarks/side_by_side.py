"""What benchmarks share: variants timed in turn, the memory that one takes, tables, and the machine they ran on."""

import csv
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from selfdistill.files import atomic_path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def medians(variants: Mapping[str, Callable[[], object]], repetitions: int, warmups: int = 1) -> dict[str, float]:
    """Median seconds of each variant over `repetitions` rounds, after so many rounds that are not counted.

    A round runs every variant once, so that whatever slows the machine down for a while slows all of them. Seconds of a
    single CPU thread are the processor's, which do not count what else the machine is doing; others are the clock's.
    """
    clock = time.process_time if one_thread() else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for repetition in range(warmups + repetitions):
        for name, variant in variants.items():
            _synchronise()
            began = clock()
            variant()
            _synchronise()
            if repetition >= warmups:
                seconds[name].append(clock() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def peak_growth(function: Callable[[], object]) -> int:
    """Bytes by which a call raises the peak memory above what was held before it: the GPU's where there is one.

    On a CPU it is the resident memory of this process (Linux), where freed pages may still be counted as held: measure
    each variant in a process of its own (`in_own_process`), after a call at a tiny size has loaded what it needs.
    """
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        function()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - held
    # Not getrusage: its maximum is that of the process's whole life, and of its parent's before exec.
    _RESET.write_text("5")
    held = _resident("VmRSS")
    function()
    return max(_resident("VmHWM") - held, 0)


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a module's function in a fresh process of as many threads; what it raises is raised here."""
    with multiprocessing.get_context("spawn").Pool(1, torch.set_num_threads, (torch.get_num_threads(),)) as pool:
        return pool.apply(function, arguments)


def one_thread() -> bool:
    """Whether this process computes on a single thread of a CPU, and seconds are the processor's."""
    return torch.get_num_threads() == 1 and not torch.cuda.is_available()


def machine(*, by_the_clock: bool = False) -> str:
    """Processor, cores, threads and versions, in one line; `by_the_clock`: seconds are not the processor's."""
    alone = "1 thread" if by_the_clock else "1 thread, its processor time"
    threads = alone if one_thread() else f"{torch.get_num_threads()} threads"
    parts = [f"{_processor()}, {os.cpu_count()} cores", threads]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join([*parts, f"Python {platform.python_version()}", f"torch {torch.__version__}"])


def as_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """An aligned table of rows with the same keys, which are its heading; fractions with three significant digits."""
    table = [list(rows[0]), *([_shown(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in table)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with the same keys as a whole file, with full precision; None is an empty cell."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _resident(which: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{which}:"))
    return 1024 * int(line.split()[1])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
