"""TRL's part of benchmarks/peer.py, run with the Python of an environment that has TRL and not this library.

python -P benchmarks/peer_trl.py JOB; a step for each line of the standard input, told as JSON.
"""

import itertools
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from trl.experimental.sdpo import SDPOConfig, SDPOTrainer


class Turns(TrainerCallback):
    """Waits for a line before a step, and says behind it what it took."""

    def __init__(self) -> None:
        self.rollout, self.tokens, self.began = 0.0, 0, 0.0

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        """The batch's prompts are there already; nothing is drawn yet."""
        if not sys.stdin.readline():
            sys.exit(0)
        self.rollout, self.tokens, self.began = 0.0, 0, time.process_time()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Behind the optimizer's step."""
        peak = peak_mib()
        told = {"step": time.process_time() - self.began, "rollout": self.rollout, "tokens": self.tokens}
        print(f"@@{json.dumps(told | {'peak_mib': peak})}", flush=True)

    def watch(self, model: torch.nn.Module, pad: int) -> None:
        """Time the model's generate, and count what it draws up to each row's padding."""
        draw = model.generate

        def generate(*args: Any, **kwargs: Any) -> torch.Tensor:
            began = time.process_time()
            found = draw(*args, **kwargs)
            self.rollout += time.process_time() - began
            given = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
            sequences = found if isinstance(found, torch.Tensor) else found.sequences
            self.tokens += int((sequences[:, given.shape[1] :] != pad).sum())
            return found

        model.generate = generate


def peak_mib() -> float:
    """Peak resident memory of this process; not by getrusage, which begins with what its parent had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def main(job: dict) -> None:
    """Train for the job's steps, one at a time."""
    torch.set_num_threads(1)
    prompts = len(job["prompts"]) // job["steps"]
    rollouts = prompts * job["group"]
    shared = {
        "output_dir": tempfile.mkdtemp(prefix="trl"),
        "per_device_train_batch_size": job["rows"],
        "gradient_accumulation_steps": rollouts // job["rows"],
        "num_generations": job["group"],
        "max_completion_length": job["response"],
        "temperature": 1.0,
        "top_p": 0.95,
        "top_k": 20,
        "learning_rate": 1e-6,
        "beta": 0.0,
        "max_steps": job["steps"],
        "shuffle_dataset": False,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "disable_tqdm": True,
        "logging_steps": 10_000,
    }
    if job["method"] == "grpo":
        trainer_class, config = GRPOTrainer, GRPOConfig(**shared)
    else:
        distilled = {"distillation_mode": "topk_logits", "distillation_topk": 20, "distillation_alpha": 0.5}
        trainer_class, config = SDPOTrainer, SDPOConfig(**shared, **distilled, max_prompt_length=512)
    right = itertools.cycle([1.0, 0.0])

    def reward(completions: list, **kwargs: Any) -> list[float]:
        return [next(right) for _ in completions]

    tokenizer = PreTrainedTokenizerFast.from_pretrained(job["model"], padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32, use_safetensors=True)
    turns = Turns()
    turns.watch(model, tokenizer.pad_token_id)
    trainer_class(
        model=model,
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": job["prompts"]}),
        processing_class=tokenizer,
        callbacks=[turns],
    ).train()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
