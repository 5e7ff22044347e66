"""How planning time grows with the matrix: dry runs of config/paper.yaml with more and more seeds.

python benchmarks/matrix.py [--seeds 1 3 10 ...] [--profile FOLDER]; run from the repository's root.
"""

import argparse
import csv
import io
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from selfdistill.files import atomic_path, write_text

OUTPUT = Path("results/benchmarks/planning")
#: Up to some 10,000 jobs: 176 a seed, and 44 beside them.
SEEDS = (1, 3, 10, 28, 57)
#: The longest that one dry run may take, in seconds.
PATIENCE = 1200


@dataclass(frozen=True)
class Timing:
    """One dry run: its jobs, and the seconds from start to end of the process."""

    seeds: int
    jobs: int
    seconds: float

    @property
    def per_thousand(self) -> float:
        """Seconds for 1000 jobs."""
        return 1000 * self.seconds / self.jobs


def time_plan(seeds: int, words: Sequence[str] = ()) -> Timing:
    """Plan the paper's matrix once. Raises RuntimeError with Snakemake's output where that fails."""
    matrix = f"matrix={{seeds: {list(range(seeds))}}}"
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--nocolor", "--configfile", "config/paper.yaml"]
    command += ["--dry-run", "--forceall", "--quiet", "rules", *words, "--config", matrix]
    began = time.monotonic()
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE)
    seconds = time.monotonic() - began
    total = re.search(r"^total +(\d+)$", done.stdout, re.MULTILINE)
    if done.returncode or not total:
        raise RuntimeError(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stdout[-2000:]}")
    return Timing(seeds, int(total.group(1)), seconds)


def as_text(timings: Sequence[Timing]) -> str:
    """An aligned table; the last two columns compare each matrix with the smallest."""
    lines = ["seeds    jobs  seconds  seconds per 1000 jobs  times the smallest: jobs, seconds"]
    first = timings[0]
    for each in timings:
        more = f"{each.jobs / first.jobs:9.1f} {each.seconds / first.seconds:9.1f}"
        lines.append(f"{each.seeds:5d} {each.jobs:7d} {each.seconds:8.1f} {each.per_thousand:22.1f} {more}")
    return "\n".join(lines)


def as_csv(timings: Sequence[Timing]) -> str:
    """seeds, jobs, seconds, seconds_per_1000_jobs, times_the_smallest."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("seeds", "jobs", "seconds", "seconds_per_1000_jobs", "times_the_smallest"))
    for each in timings:
        ratio = each.seconds / timings[0].seconds
        writer.writerow((each.seeds, each.jobs, f"{each.seconds:.2f}", f"{each.per_thousand:.2f}", f"{ratio:.2f}"))
    return file.getvalue()


def draw(timings: Sequence[Timing], path: Path) -> None:
    """Seconds over jobs, as PNG and SVG beside each other."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    axes.plot([each.jobs for each in timings], [each.seconds for each in timings], marker="o", color="#0072b2")
    for each in timings:
        axes.annotate(
            f"{each.seconds:.1f} s", (each.jobs, each.seconds), (-4, 7), textcoords="offset points", ha="right"
        )
    jobs, seconds = [each.jobs for each in timings], [each.seconds for each in timings]
    axes.set(xlabel="jobs", ylabel="seconds", title="Planning the paper's matrix: a dry run, by number of jobs")
    axes.set(
        xscale="log", yscale="log", xlim=(min(jobs) / 1.6, max(jobs) * 1.6), ylim=(min(seconds) / 1.6, max(seconds) * 2)
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,.0f}")
        axis.set_minor_formatter("")
    axes.spines[["top", "right"]].set_visible(False)
    for suffix in (".png", ".svg"):
        with atomic_path(path.with_suffix(suffix)) as temporary:
            figure.savefig(temporary, dpi=150)
    plt.close(figure)


def main() -> None:
    """Time all sizes, smallest first; what is done is written after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS, help="numbers of seeds, a dry run each")
    parser.add_argument("--profile", help="for Snakemake")
    args = parser.parse_args()
    timings: list[Timing] = []
    for seeds in sorted(args.seeds):
        timings.append(time_plan(seeds, ["--profile", args.profile] if args.profile else []))
        write_text(OUTPUT.with_suffix(".csv"), as_csv(timings))
        print(as_text(timings).splitlines()[-1] if len(timings) > 1 else as_text(timings), flush=True)
    draw(timings, OUTPUT)
    print(f"written: {OUTPUT}.csv, .png, .svg")


if __name__ == "__main__":
    main()
