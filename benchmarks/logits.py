"""Log-probs from hidden states: all logits at once against selfdistill.scoring.head, which holds a few rows of them.

python benchmarks/logits.py [--hidden 1024 2048 4096] [--rows 2048]; run from the repository's root. Two jobs:
log-probs, entropies and the 100 most likely ids without gradient, as a scorer asks; log-probs of labels and at 100
given ids with gradients by states and weights, as an update does. In float32 on a CPU, in bfloat16 on a GPU.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from side_by_side import as_text, in_own_process, machine, medians, peak_growth, write_csv
from torch import Tensor

from selfdistill.scoring.head import Read, read
from selfdistill.scoring.query import Query

OUTPUT = Path("results/benchmarks/logits.csv")
TOP = 100
VOCABULARY = 151_936  # of Qwen3
#: Of the chunked form's share of the other's: peak memory, and seconds of each job.
MEMORY_GOAL, TIME_GOALS = 0.1, {"forward": 1.1, "forward + backward": 1.4}


class Size(NamedTuple):
    """Rows, hidden width and vocabulary."""

    rows: int
    hidden: int
    vocabulary: int


class Case(NamedTuple):
    """States (N, H), weights (V, H), labels (N,), ids (N, TOP) and a slope for each output, (N,) and (N, TOP)."""

    hidden: Tensor
    weight: Tensor
    labels: Tensor
    ids: Tensor
    slopes: tuple[Tensor, Tensor]


def made(size: Size) -> Case:
    """Logits of a few nats, as in a model that has learned."""
    device, dtype = ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
    seeded = torch.Generator(device).manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=seeded, device=device)

    def below(*shape: int) -> Tensor:
        return torch.randint(size.vocabulary, shape, generator=seeded, device=device)

    hidden = normal(size.rows, size.hidden).to(dtype).requires_grad_()
    weight = normal(size.vocabulary, size.hidden).mul_(3 * size.hidden**-0.5).to(dtype).requires_grad_()
    slopes = normal(size.rows), normal(size.rows, TOP)
    return Case(hidden, weight, below(size.rows), below(size.rows, TOP), slopes)


def materialised(hidden: Tensor, weight: Tensor, labels: Tensor, ids: Tensor | None = None) -> Read:
    """Read in plain torch: at `ids`, or entropies and the most likely ones."""
    logprobs = torch.log_softmax((hidden @ weight.t()).float(), dim=-1)
    taken = logprobs.gather(-1, labels[:, None])[:, 0]
    if ids is not None:
        return Read(taken, ids, logprobs.gather(-1, ids))
    support, ids = logprobs.topk(TOP, dim=-1)
    return Read(taken, ids, support, -(logprobs.exp() * logprobs).sum(dim=-1))


def chunked(hidden: Tensor, weight: Tensor, labels: Tensor, ids: Tensor | None = None) -> Read:
    """The same by the library."""
    return read(hidden, weight, labels, Query(TOP, ids, entropy=ids is None))


@torch.no_grad()
def forward(reading: Callable[..., Read], case: Case) -> list[Tensor]:
    """Log-probs, log-probs of the most likely, entropies."""
    found = reading(case.hidden, case.weight, case.labels)
    return [found.logprobs, found.support, found.entropy]


def forward_backward(reading: Callable[..., Read], case: Case) -> list[Tensor]:
    """Gradients by states and weights of a sum with random slopes."""
    found = reading(case.hidden, case.weight, case.labels, case.ids)
    loss = sum((x * slopes).sum() for x, slopes in zip((found.logprobs, found.support), case.slopes, strict=True))
    return list(torch.autograd.grad(loss, (case.hidden, case.weight)))


JOBS = {"forward": forward, "forward + backward": forward_backward}
VARIANTS = {"materialised": materialised, "chunked": chunked}


def peak_memory(job: str, variant: str, size: Size) -> float:
    """MiB that a job takes beyond its inputs and what it returns; to be asked in a process of its own."""
    run = partial(JOBS[job], VARIANTS[variant])
    run(made(Size(4, 8, 2 * TOP)))
    case, returned = made(size), []
    grown = peak_growth(lambda: returned.extend(run(case)))
    return (grown - sum(x.nbytes for x in returned)) / 2**20


def difference(job: str, case: Case) -> float:
    """Largest difference between the variants, of gradients as a share of the largest one."""
    pairs = zip(*(JOBS[job](reading, case) for reading in VARIANTS.values()), strict=True)
    if job == "forward":
        return max(float((a - b).abs().max()) for a, b in pairs)
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)


def compared(size: Size, repetitions: int) -> list[dict[str, Any]]:
    """A row for each job."""
    memory = {job: {name: in_own_process(peak_memory, job, name, size) for name in VARIANTS} for job in JOBS}
    case, rows = made(size), []
    for job, run in JOBS.items():
        apart = difference(job, case)  # and warms up
        seconds = medians({name: partial(run, x, case) for name, x in VARIANTS.items()}, repetitions, warmups=0)
        row: dict[str, Any] = {"job": job, "rows": size.rows, "hidden": size.hidden, "vocabulary": size.vocabulary}
        for unit, found in (("s", seconds), ("MiB", memory[job])):
            row |= {f"{name}_{unit}": value for name, value in found.items()}
            row[f"ratio_{unit}"] = found["chunked"] / max(found["materialised"], 1e-9)
        rows.append(row | {"difference": apart})
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints one table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hidden", type=int, nargs="+", default=[1024, 2048, 4096], help="widths of the states")
    parser.add_argument("--rows", type=int, nargs="+", default=[2048], help="numbers of rows")
    parser.add_argument("--vocabulary", type=int, default=VOCABULARY)
    parser.add_argument("--repetitions", type=int, default=3, help="of which the median is taken, after a warm-up")
    options = parser.parse_args(arguments)
    found = []
    for hidden in options.hidden:
        for rows in options.rows:
            found += compared(Size(rows, hidden, options.vocabulary), options.repetitions)
            OUTPUT.parent.mkdir(parents=True, exist_ok=True)
            write_csv(OUTPUT, found)  # the largest sizes take minutes: keep what there is
    goals = ", ".join(f"{job} {goal:g}" for job, goal in TIME_GOALS.items())
    print(f"{machine()}\n{as_text(found)}\nGoals: ratio_MiB {MEMORY_GOAL:g}; ratio_s: {goals}.\nWritten: {OUTPUT}")


if __name__ == "__main__":
    main(sys.argv[1:])
