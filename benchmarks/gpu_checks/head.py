"""The head at a vocabulary of 151,936: memory and seconds of chunks beside all logits at once."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from logits import JOBS, VARIANTS, VOCABULARY, Size, made

from gpu_checks.lines import Line
from gpu_checks.models import peak_of, seconds_of

#: A micro-batch of the published runs, and the width of Qwen3-4B.
ROWS, HIDDEN, REPETITIONS = 40_960, 2560, 2
MEMORY_GOAL, TIME_GOAL = 0.1, 1.1


def lines(device: torch.device, tiny: bool) -> Iterator[Line]:
    """Both jobs of `logits`; where all logits do not fit, at half as many rows."""
    rows, hidden, size = (8, 16, 300) if tiny else (ROWS, HIDDEN, VOCABULARY)
    for job in JOBS:
        left = rows
        while True:
            case = made(Size(left, hidden, size))
            try:
                found = {name: measured(partial(JOBS[job], variant, case)) for name, variant in VARIANTS.items()}
            except torch.OutOfMemoryError:
                found = None
            if found is not None or left < 2:
                break
            torch.cuda.empty_cache()
            left //= 2
        if found is None:
            yield Line(f"head, {job}", None, note="out of memory at one row")
            continue
        note = "" if left == rows else f"at {left} rows: all logits of {rows} do not fit"
        (peak, seconds), (all_peak, all_seconds) = found["chunked"], found["materialised"]
        said = f"{peak:.2f} of {all_peak:.2f} GiB; {note}".rstrip("; ") if peak == peak else "a GPU's alone"
        name = f"head, {job}, {left} rows x {size}"
        ratio = peak / all_peak if all_peak == all_peak and all_peak > 0 else None
        yield Line(f"{name}: peak memory, of all logits at once", ratio, "", MEMORY_GOAL, said)
        said = f"{seconds:.3f} of {all_seconds:.3f} s"
        yield Line(f"{name}: seconds, of all logits at once", seconds / all_seconds, "", TIME_GOAL, said)


def measured(call: Callable[[], Any]) -> tuple[float, float]:
    """Return the peak in GiB, without what is returned, and the median of some seconds, after a warm-up."""
    peak, returned = peak_of(call)
    held = sum(x.numel() * x.element_size() for x in returned) / 2**30
    del returned
    spent = sorted(seconds_of(call)[0] for _ in range(REPETITIONS))
    return peak - held, spent[len(spent) // 2]
