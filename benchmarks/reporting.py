"""How long tables, figures and pages of the whole paper matrix take, and those of one run that changed.

python benchmarks/reporting.py [--seeds 3] [--cores 2]; run from the repository's root. Draws and metrics are made
up, in a temporary folder: only their number and size matter here.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from snakemake.utils import update_config

from selfdistill.config import BASE, Run, Study, load_study
from selfdistill.evaluation.draws import Draw, write_draws
from selfdistill.files import write_text
from selfdistill.randomness import generator

OUTPUT = Path("results/benchmarks/reporting.csv")
CONFIG = "config/paper.yaml"
#: What a workflow needs of the repository.
FOLDERS = ("config", "profiles", "envs", "resources", "workflow", "docs")
#: Problems of a benchmark: resources/published/benchmark_problems.csv has them for the paper's.
PROBLEMS = Path("resources/published/benchmark_problems.csv")
PATIENCE = 3600


def study(seeds: int) -> Study:
    """The paper's matrix with so many seeds."""
    config: dict[str, Any] = {}
    files = [f"config/{name}.yaml" for name in ("defaults", "models", "methods", "tasks")]
    for file in (*files, CONFIG):
        update_config(config, yaml.safe_load(Path(file).read_text(encoding="utf-8")))
    config["matrix"]["seeds"] = list(range(seeds))
    return load_study(config)


def make_up(folder: Path, run: Run, settings: Mapping[str, Any], problems: Mapping[str, int], steps: int) -> None:
    """Draws of a run, and metrics of its training unless it is the untrained model."""
    place = folder / run.task / run.model / run.variant / f"seed{run.seed}"
    place.mkdir(parents=True, exist_ok=True)
    for benchmark in settings["benchmarks"]:
        rng = generator("benchmark", *place.parts[-4:], benchmark)
        right = rng.random((problems[benchmark], settings["draws"])) < 0.7
        draws = (
            Draw(f"{benchmark}/{problem}", draw, "", 8000, "stop", None, bool(correct))
            for problem, row in enumerate(right)
            for draw, correct in enumerate(row)
        )
        write_draws(place / f"{benchmark}.parquet", draws)
    if run.variant != BASE:
        lines = (json.dumps(metrics(step, settings)) for step in range(steps + 1))
        write_text(place / "metrics.jsonl", "\n".join(lines) + "\n")


def metrics(step: int, settings: Mapping[str, Any]) -> dict[str, float]:
    """One step, of all that a figure or a claim reads."""
    wave = 1 + 0.1 * np.sin(step / 20)
    found = {"step": step, "reward/mean": 0.6 * wave, "response/length_mean": 8000 * wave, "actor/entropy": 0.3 * wave}
    found |= {"response/truncated": 0.02, "hints/hinted_share": 0.8, "teacher/gap_abs_mean": 0.05}
    found |= {"signal/evidence_abs_mean": 0.02 * wave, "tokens/generated": 4e6, "tokens/teacher_forwarded": 8e6}
    if step % 50 == 0:
        found |= {f"val/{name}/mean@12": 0.6 * wave for name in settings["benchmarks"]}
    return found


def report_time(folder: Path, seeds: int, cores: int) -> tuple[float, dict[str, int]]:
    """Seconds until Snakemake has nothing more to do, and its jobs by rule."""
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--nocolor", "--configfile", CONFIG]
    command += ["--config", f"matrix={{seeds: {list(range(seeds))}}}", "draws={source: draws}"]
    began = time.monotonic()
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True, timeout=PATIENCE)
    seconds = time.monotonic() - began
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr[-4000:]}")
    table = done.stderr.partition("Job stats:")[2].partition("\n\n")[0]
    return seconds, {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


def measure(folder: Path, seeds: int, cores: int) -> list[tuple[str, float, dict[str, int]]]:
    """Everything anew, nothing to do, one run changed: name, seconds, jobs."""
    for name in FOLDERS:
        shutil.copytree(name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".snakemake"))
    matrix = study(seeds)
    lines = Path(PROBLEMS).read_text(encoding="utf-8").split()[1:]
    problems = {name: int(count) for name, count in (line.split(",") for line in lines)}
    tasks = matrix.config["tasks"]
    for run in matrix.runs():
        make_up(folder / "draws", run, tasks[run.task], problems, steps=480 if run.task == "math" else 250)
    found = [("all", *report_time(folder, seeds, cores)), ("nothing", *report_time(folder, seeds, cores))]
    changed = next(run for run in matrix.runs() if run.variant == "rlcsd")
    make_up(folder / "draws", changed, tasks[changed.task], problems, steps=470)
    return [*found, ("one run", *report_time(folder, seeds, cores))]


def main(arguments: Sequence[str]) -> None:
    """Print the times and write OUTPUT."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="reporting") as folder:
        rows = measure(Path(folder), options.seeds, options.cores)
    lines = ["made,seeds,cores,jobs,seconds"]
    for name, seconds, jobs in rows:
        total = jobs.pop("total", 0)
        lines.append(f"{name},{options.seeds},{options.cores},{total},{seconds:.1f}")
        rules = ", ".join(f"{count} {rule}" for rule, count in jobs.items())
        print(f"{name:8} {seconds:8.1f} s {total:5d} jobs  {rules}")
    write_text(OUTPUT, "\n".join(lines) + "\n")
    print(f"written: {OUTPUT}")


if __name__ == "__main__":
    main(sys.argv[1:])
