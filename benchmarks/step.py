"""What a training step of rlcsd takes beside one of grpo: the demo's runs, both tasks, and where the seconds go.

python benchmarks/step.py [--config FILE ...] [--tasks ...] [--model ...]; run from the repository's root. Both methods
start anew from the same base model in every repetition, on one thread, as the demo's jobs have it.
"""

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from side_by_side import as_text, machine, write_csv
from snakemake.utils import update_config

from selfdistill.models.loading import load_model, pick_device
from selfdistill.study.study import Study, load_study
from selfdistill.study.training_settings import TrainingSettings
from selfdistill.tasks.datasets import generate_problems
from selfdistill.tasks.graders import Graded, grade_response
from selfdistill.tasks.schema import Problem
from selfdistill.training.local.trainer import LocalTrainer

OUTPUT = Path("results/benchmarks/step.csv")
REGISTRIES = [Path(f"config/{name}.yaml") for name in ("defaults", "models", "methods", "tasks")]
METHODS = ("grpo", "rlcsd")
#: What a step of rlcsd is to take of one of grpo at most, on the demo's sizes.
GOAL = 1.5
_STEP = "timing_s/step"


def load(files: Sequence[Path]) -> Study:
    """The study of these config files, merged over the registries as the workflow merges them."""
    config: dict[str, Any] = {}
    for file in (*REGISTRIES, *files):
        update_config(config, yaml.safe_load(file.read_text(encoding="utf-8")))
    return load_study(config)


def run_steps(study: Study, task: str, model: str, variant: str, steps: int) -> dict[str, float]:
    """Mean seconds of each part of the first steps of a new run but for the very first, by their names in metrics.

    The task's data must be generated ones.
    """
    run = study.resolve(task, model, variant, seed=0)
    settings = TrainingSettings.from_config(run)
    wanted = steps * settings.rollout.prompts_per_step
    recipe = study.split(task, "train")
    problems = generate_problems({**recipe, "problems": min(wanted, recipe["problems"])}, "train")
    weights, tokenizer = load_model(base_model(study, task, model), pick_device())
    grade = partial(_grade, grader=run["grader"], lenient=settings.reward.first_role_counts)
    trainer = LocalTrainer(settings, weights, tokenizer, problems, {}, grade)
    metrics = [trainer.step(number) for number in range(1, steps + 1)][1:]
    parts = dict.fromkeys(name for line in metrics for name in line if name.startswith("timing_s/"))
    return {name: statistics.fmean(line.get(name, 0.0) for line in metrics) for name in parts}


def base_model(study: Study, task: str, model: str) -> Path:
    """Where the weights are: shipped with the repository, or put there by the workflow, which must have run."""
    entry = study.config["models"][model]
    shipped = not study.is_pretrained(model) and not entry["rebuild"]
    return Path(entry["folder"]) / task if shipped else Path(study.base_model_folder(model, task))


def measure(study: Study, task: str, model: str, steps: int, repetitions: int) -> list[dict[str, Any]]:
    """A row for each part of a step: its mean seconds in each method's run of median speed, and their ratio."""
    found: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
    for _ in range(repetitions):
        for method in METHODS:
            found[method].append(run_steps(study, task, model, method, steps))
    typical = {method: sorted(runs, key=lambda run: run[_STEP])[len(runs) // 2] for method, runs in found.items()}
    parts = list(dict.fromkeys(name for run in typical.values() for name in run))
    table = {part: {method: typical[method].get(part, 0.0) for method in METHODS} for part in parts}
    table["timing_s/(the rest)"] = {m: 2 * run[_STEP] - sum(run.values()) for m, run in typical.items()}
    first, second = METHODS
    whole = table[_STEP][first]
    return [
        {
            "task": task,
            "part": part.removeprefix("timing_s/"),
            **{f"{method}_s": seconds[method] for method in METHODS},
            "ratio": seconds[second] / seconds[first] if seconds[first] else None,
            f"of_a_{first}_step": (seconds[second] - seconds[first]) / whole,
        }
        for part, seconds in sorted(table.items(), key=lambda item: -item[1][second])
    ]


def _grade(response: str, problem: Problem, *, grader: str, lenient: bool) -> Graded:
    return grade_response(response, problem, grader, first_role_counts=lenient)


def main(arguments: Sequence[str]) -> None:
    """Measure all tasks; what is done is written after each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", nargs="+", type=Path, default=[Path("config/demo.yaml")], help="config files")
    parser.add_argument("--tasks", nargs="+", help="of the matrix; all of them without")
    parser.add_argument("--model", help="of the matrix; its first without")
    parser.add_argument("--steps", type=int, default=6, help="of a run; the first is not counted")
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(not torch.cuda.is_available())  # as in a run
    torch.utils.deterministic.fill_uninitialized_memory = False
    study = load(options.config)
    model = options.model or study.axis("models")[0]
    print(machine(by_the_clock=True), flush=True)
    rows: list[Mapping[str, Any]] = []
    for task in options.tasks or study.axis("tasks"):
        found = measure(study, task, model, options.steps, options.repetitions)
        rows += found
        write_csv(OUTPUT, rows)
        print(as_text(found))
        ratio = next(row["ratio"] for row in found if row["part"] == "step")
        print(
            f"{task}: {ratio:.2f} of a {METHODS[0]} step (goal {GOAL}: {'met' if ratio <= GOAL else 'missed'})",
            flush=True,
        )
    print(f"written: {OUTPUT}")


if __name__ == "__main__":
    main(sys.argv[1:])
