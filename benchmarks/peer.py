"""Training steps of the local trainer beside TRL's, in turns: GRPO, and self-distillation (SDPO), on one thread.

python benchmarks/peer.py [--sizes toy 135M] [--methods grpo sdpo] [--steps 4]; run from the repository's root, after
`make venv-peer`. Each trainer has an environment and a process of its own; both have the same weights, prompts and
sizes, one optimizer step over all rollouts of a step, and take turns step by step. Every other rollout counts as right.
Seconds are the processes' own processor time, which other work on the machine does not count into.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from side_by_side import as_text, machine, write_csv
from smollm2_shape import random_smollm2
from transformers import PreTrainedTokenizerBase

from selfdistill.models.chat import encode_chat
from selfdistill.models.loading import load_tokenizer
from selfdistill.randomness import generator
from selfdistill.tasks.datasets import generate_problems
from selfdistill.tasks.prompts import student_prompt

OUTPUT = Path("results/benchmarks/peer.csv")
DEMO_MODEL = Path("resources/base_models/tiny_qwen3/arithmetic")
CHAINS = {"exercise": "arithmetic", "dataset": "benchmark", "seed": 0, "sizes": [3, 5, 8]}
METHODS = ("grpo", "sdpo")
#: Whose process runs which script, and with which Python.
WORKERS = {"ours": "peer_ours.py", "trl": "peer_trl.py"}
#: Wall seconds of TRL's step that ours is to take at most.
GOALS = {"toy": 0.35, "135M": 0.7}
MARK = "@@"


@dataclass(frozen=True)
class Size:
    """A step: prompts, rollouts of each, tokens of a response, rows of TRL's micro-batch and tokens of ours."""

    prompts: int
    group: int
    response: int
    rows: int
    budget: int


SIZES = {"toy": Size(16, 8, 80, 64, 8192), "135M": Size(4, 4, 32, 16, 2048)}


def main(arguments: Sequence[str]) -> None:
    """Measure all sizes and methods; what is done is written after each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--steps", type=int, default=4, help="of each trainer; the first is not counted")
    parser.add_argument("--peer-python", type=Path, default=Path(".venv-peer/bin/python"), help="with TRL")
    options = parser.parse_args(arguments)
    if not options.peer_python.exists():
        sys.exit(f"{options.peer_python} not found: make venv-peer installs TRL in an environment of its own")
    torch.set_num_threads(1)
    pythons = {"ours": Path(sys.executable), "trl": options.peer_python}
    print(machine(), flush=True)
    rows: list[dict[str, Any]] = []
    for name in options.sizes:
        for method in options.methods:
            rows += compared(name, SIZES[name], method, options.steps, pythons)
            write_csv(OUTPUT, rows)
            print(as_text([row for row in rows if (row["size"], row["method"]) == (name, method)]), flush=True)
    print(f"written: {OUTPUT}")


def compared(name: str, size: Size, method: str, steps: int, pythons: dict[str, Path]) -> list[dict[str, Any]]:
    """A row for each part of a step: medians of seconds, tokens a second and peak memory, ours and TRL's."""
    with tempfile.TemporaryDirectory(prefix="peer") as folder:
        job = make_job(name, size, method, steps, Path(folder))
        found = in_turns(job, steps, pythons, Path(folder))
    counted = {who: each[1:] for who, each in found.items()}
    middle = {
        who: {key: statistics.median(step[key] for step in each) for key in each[0]} for who, each in counted.items()
    }
    table = []
    for part in ("step", "rollout", "update and the rest", "tokens", "tokens a second", "peak MiB"):
        ours, trl = (_part(middle[who], part) for who in WORKERS)
        goal = GOALS[name] if part == "step" else None
        row = {"size": name, "method": method, "part": part, "ours": ours, "trl": trl, "ratio": ours / trl}
        table.append(row | {"goal": goal})
    return table


def _part(step: dict[str, float], part: str) -> float:
    derived = {
        "update and the rest": step["step"] - step["rollout"],
        "tokens a second": step["tokens"] / step["rollout"],
    }
    return {**step, "peak MiB": step["peak_mib"], **derived}[part]


def in_turns(job: Path, steps: int, pythons: dict[str, Path], folder: Path) -> dict[str, list[dict[str, float]]]:
    """What each worker says of its steps. Raises RuntimeError with the end of a worker's messages where one fails."""
    here, environment = Path(__file__).parent, {**os.environ, "OMP_NUM_THREADS": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
    workers, logs = {}, {who: folder / f"{who}.log" for who in WORKERS}
    for who, script in WORKERS.items():
        workers[who] = subprocess.Popen(
            [pythons[who], "-P", str(here / script), str(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=logs[who].open("wb"),
            env=environment,
            text=True,
        )
    found: dict[str, list[dict[str, float]]] = {who: [] for who in WORKERS}
    try:
        for _ in range(steps):
            for who, worker in workers.items():
                print("step", file=worker.stdin, flush=True)
                line = next((line for line in worker.stdout if line.startswith(MARK)), None)
                if line is None:
                    said = logs[who].read_text(errors="replace")[-3000:]
                    status = worker.wait()
                    raise RuntimeError(f"{WORKERS[who]} ended before its step (status {status}):\n{said}")
                found[who].append(json.loads(line.removeprefix(MARK)))
    finally:
        for worker in workers.values():
            worker.stdin.close()
            worker.kill()
            worker.wait()
    return found


def make_job(name: str, size: Size, method: str, steps: int, folder: Path) -> Path:
    """Put the model, its tokenizer and the prompts where both workers read them; returns the file that says so."""
    count = steps * size.prompts
    model = DEMO_MODEL if name == "toy" else random_smollm2(folder / "model")
    tokenizer = load_tokenizer(model)
    if name == "toy":
        problems = [each.problem for each in generate_problems({**CHAINS, "problems": count}, "train")]
    else:
        words = generator("benchmark peer").integers(100, 40_000, size=(count, 40))
        problems = [" ".join(f"w{word}" for word in row) for row in words]
    job = {
        "model": str(model.resolve()),
        "method": method,
        "steps": steps,
        "problems": problems,
        "prompts": [prompt_text(tokenizer, problem) for problem in problems],
        **{key: value for key, value in asdict(size).items() if key != "prompts"},
    }
    path = folder / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    return path


def prompt_text(tokenizer: PreTrainedTokenizerBase, problem: str) -> str:
    """The student's prompt as text that gives its ids again."""
    ids = encode_chat(tokenizer, student_prompt(problem, training=True))
    text = tokenizer.decode(ids, skip_special_tokens=False)
    if tokenizer(text).input_ids != ids:
        raise RuntimeError("the prompt's text gives other ids than the chat template")
    return text


if __name__ == "__main__":
    main(sys.argv[1:])
