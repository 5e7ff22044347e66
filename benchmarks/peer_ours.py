"""The local trainer's part of benchmarks/peer.py: a step for each line of the standard input, told as JSON.

python -P benchmarks/peer_ours.py JOB
"""

import itertools
import json
import sys
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from selfdistill.methods.catalogue import shipped_entries
from selfdistill.study.config_files import merged
from selfdistill.study.training_settings import TrainingSettings, published_run
from selfdistill.tasks.graded import Graded
from selfdistill.tasks.schema import Problem
from selfdistill.training.local.trainer import LocalTrainer

#: As TRL's trainer calls it -> our method of the same loss.
METHODS = {"grpo": "grpo", "sdpo": "sdpo_official"}


def settings_of(job: dict) -> TrainingSettings:
    """The method's published run, at the job's sizes."""
    name = METHODS[job["method"]]
    entry = shipped_entries()[name]
    changes = {
        "rollout": {
            "prompts_per_step": job["prompts_per_step"],
            "group_size": job["group"],
            "max_response_tokens": job["response"],
            "max_prompt_tokens": 512,
            "temperature": 1.0,
            "top_p": 0.95,
            "top_k": 20,
            "old_logprobs": "sampler",
            "engine": "own",
        },
        "optimizer": {"learning_rate": 1e-6, "warmup_steps": 0},
        "update": {
            "prompts_per_update": job["prompts_per_step"],
            "micro_batch_tokens": job["budget"],
            "kl_coef": 0.0,
        },
        "hints": {"max_tokens": job["response"] + 8},
        "validation": {"max_response_tokens": job["response"]},
    }
    objective = entry["objective"] | ({"top_k": 20} if "top_k" in entry["objective"] else {})
    return published_run(entry["implementation"], **merged({"objective": objective}, changes))


def peak_mib() -> float:
    """Peak resident memory of this process; not by getrusage, which begins with what its parent had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def main(job: dict) -> None:
    """Wait for a line, make a step, say what it took."""
    torch.set_num_threads(1)
    job["prompts_per_step"] = len(job["problems"]) // job["steps"]
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32, use_safetensors=True).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(job["model"])
    problems = [Problem(f"p/{i}", "p", text, "1", "", "math", i, "train") for i, text in enumerate(job["problems"])]
    right = itertools.cycle([True, False])

    def grade(response: str, problem: Problem) -> Graded:
        return Graded("1", next(right))

    trainer = LocalTrainer(settings_of(job), model, tokenizer, problems, {}, grade)
    time.monotonic = time.process_time  # what the trainer's parts are timed with: this process has one thread
    for number, _ in enumerate(sys.stdin, start=1):
        metrics = trainer.step(number)
        parts = {name.removeprefix("timing_s/"): value for name, value in metrics.items() if "timing_s/" in name}
        peak = peak_mib()
        told = {"step": parts["step"], "rollout": parts["rollout"], "tokens": metrics["tokens/generated"]}
        print(f"@@{json.dumps(told | {'peak_mib': peak})}", flush=True)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
