"""How long tables, figures and pages of the whole paper matrix take, and those of one run that changed.

python benchmarks/reporting.py [--seeds 3] [--cores 2]; run from the repository's root. Draws, metrics and records are
made up (made_up_runs.py), in a temporary folder.
"""

import argparse
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from made_up_runs import MadeUp
from side_by_side import as_text, machine, write_csv
from snakemake.utils import update_config

from selfdistill.study.study import Study, load_study

OUTPUT = Path("results/benchmarks/reporting.csv")
CONFIG = "config/paper.yaml"
#: What a workflow needs of the repository.
FOLDERS = ("config", "profiles", "envs", "resources", "workflow", "docs")
#: Problems of a benchmark: resources/published/benchmark_problems.csv has them for the paper's.
PROBLEMS = Path("resources/published/benchmark_problems.csv")
PATIENCE = 3600
#: Rules that are named, those that took longest.
SLOWEST = 5


@dataclass(frozen=True)
class Took:
    """Of one call of Snakemake: seconds; those of all processors, which other work on the machine does not lengthen;
    seconds before any job; jobs; rule -> seconds of all its jobs, whole ones.
    """

    seconds: float
    processors: float
    planning: float
    jobs: int
    rules: dict[str, int]


def study(seeds: int) -> Study:
    """The paper's matrix with so many seeds."""
    config: dict[str, Any] = {}
    files = [f"config/{name}.yaml" for name in ("defaults", "models", "methods", "tasks")]
    for file in (*files, CONFIG):
        update_config(config, yaml.safe_load(Path(file).read_text(encoding="utf-8")))
    config["matrix"]["seeds"] = list(range(seeds))
    return load_study(config)


def snakemake(folder: Path, draws: Path, seeds: int, cores: int) -> Took:
    """All that Snakemake has to do."""
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--nocolor", "--configfile", CONFIG]
    command += ["--config", f"matrix={{seeds: {list(range(seeds))}}}", f"draws={{source: {draws}}}"]
    began, now, used = time.monotonic(), time.time(), _processors()
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True, timeout=PATIENCE)
    seconds = time.monotonic() - began
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr[-4000:]}")
    return _took(done.stderr, now, seconds, _processors() - used)


def _processors() -> float:
    """Seconds of processors that ended children have had."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _took(log: str, began: float, seconds: float, processors: float) -> Took:
    """From Snakemake's own log, whose times are whole seconds."""
    started: dict[str, tuple[str, float]] = {}
    rules: dict[str, int] = {}
    for block in re.split(r"\n(?=\[\w{3} \w{3} )", log)[1:]:
        at = datetime.strptime(block[1 : block.index("]")], "%a %b %d %H:%M:%S %Y").timestamp()
        if begun := re.search(r"^(?:local)?rule (\w+):.*?^    jobid: (\d+)", block, re.MULTILINE | re.DOTALL):
            started[begun[2]] = begun[1], at
        elif ended := re.search(r"Finished jobid: (\d+)", block):
            rule, since = started[ended[1]]
            rules[rule] = rules.get(rule, 0) + int(at - since)
    first = min((at for _, at in started.values()), default=began + seconds)
    return Took(seconds, processors, max(first - began, 0.0), len(started), rules)


def measure(folder: Path, seeds: int, cores: int) -> list[tuple[str, Took]]:
    """Everything anew, nothing to do, one run changed."""
    for name in FOLDERS:
        shutil.copytree(name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".snakemake"))
    matrix = study(seeds)
    lines = PROBLEMS.read_text(encoding="utf-8").split()[1:]
    made_up = MadeUp(folder / "made_up", matrix, {name: int(count) for name, count in (x.split(",") for x in lines)})
    for run in matrix.runs():
        made_up.make(run)
    asked = (folder, made_up.folder, seeds, cores)
    found = [("all", snakemake(*asked)), ("nothing", snakemake(*asked))]
    made_up.make(next(run for run in matrix.runs() if run.variant == "rlcsd"), anew=True)
    return [*found, ("one run", snakemake(*asked))]


def main(arguments: Sequence[str]) -> None:
    """Print the times and write OUTPUT."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="reporting") as folder:
        rows = measure(Path(folder), options.seeds, options.cores)
    table = []
    for name, took in rows:
        longest = sorted(took.rules, key=took.rules.get, reverse=True)[:SLOWEST]
        table.append(
            {
                "made": name,
                "seeds": options.seeds,
                "cores": options.cores,
                "jobs": took.jobs,
                "seconds": took.seconds,
                "processor_seconds": took.processors,
                "planning_seconds": took.planning,
                "longest": ", ".join(f"{rule} {took.rules[rule]} s" for rule in longest),
            }
        )
    print(f"{machine(by_the_clock=True)}\n{as_text(table)}")
    write_csv(OUTPUT, table)
    print(f"written: {OUTPUT}")


if __name__ == "__main__":
    main(sys.argv[1:])
