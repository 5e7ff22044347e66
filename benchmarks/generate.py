"""How fast responses are drawn: the own decode loop, transformers' generate and vLLM, at four model sizes.

python benchmarks/generate.py [--sizes tiny 5M 50M 135M] [--groups N] [--threads 1] [--vllm-python FILE]; run from the
repository's root. Equal prompts, eight responses each (at 135M twelve, as in an evaluation), all of the same length.
vLLM has an environment and a process of its own, where there is one.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from side_by_side import as_text, machine, medians, one_thread, write_csv
from smollm2_shape import random_smollm2
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from selfdistill.models.chat import encode_chat
from selfdistill.models.loading import load_model, pick_device
from selfdistill.models.tiny_model import TinyModel, build_model, build_tokenizer
from selfdistill.sampling.decode import DecodeLoop
from selfdistill.sampling.interface import Rollout, SamplingSettings
from selfdistill.sampling.transformers_generate import TransformersGenerate
from selfdistill.tasks.datasets import generate_problems
from selfdistill.tasks.prompts import student_prompt

OUTPUT = Path("results/benchmarks/generate.csv")
DEMO_MODEL = Path("resources/base_models/tiny_qwen3/arithmetic")
CHAINS = {"exercise": "arithmetic", "dataset": "benchmark", "seed": 0, "sizes": [3, 5, 8]}
VLLM_SCRIPT = Path(__file__).with_name("generate_vllm.py")
GROUP = 8
#: What rollouts are drawn with (config/defaults.yaml).
TEMPERATURE, TOP_P, TOP_K = 1.0, 0.95, 20
#: Ends no response: no token has this id.
NO_END = -1
#: Responses whose log-probs are held against a plain forward.
CHECKED = 16
#: The longest that vLLM may take at one size, in seconds.
PATIENCE = 900


@dataclass(frozen=True)
class Size:
    """A model and how much it draws.

    Attributes:
        name: of the rows; "135M" has SmolLM2-135M's shape.
        model: sizes of a random one; None: the demo's, or that shape.
        groups: problems.
        tokens: of a response.
        repetitions: of which the median is taken.
        draws: of each problem.
    """

    name: str
    model: TinyModel | None
    groups: int
    tokens: int
    repetitions: int
    draws: int = GROUP


SIZES = (
    Size("tiny", None, groups=16, tokens=80, repetitions=5),
    Size("5M", TinyModel(hidden_size=256, layers=6, heads=8, mlp_size=768, kv_heads=4), 8, 80, repetitions=3),
    Size("50M", TinyModel(hidden_size=768, layers=7, heads=12, kv_heads=6, head_dim=64, mlp_size=2304), 4, 40, 3),
    Size("135M", None, groups=130, tokens=32, repetitions=1, draws=12),  # an evaluation's draws
)


def load(size: Size) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The size's model, random unless it is the demo's, with the toy's tokenizer."""
    if size.name == "135M":
        with tempfile.TemporaryDirectory(prefix="generate") as folder:
            return load_model(random_smollm2(Path(folder)), pick_device())
    if size.model is None:
        return load_model(DEMO_MODEL, pick_device())
    tokenizer = build_tokenizer()
    sizes = dataclasses.replace(size.model, initializer_range=0.02)
    return build_model(sizes, tokenizer, seed=0).to(pick_device()).eval(), tokenizer


def make_prompts(size: Size, tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Prompts of the demo's chains, each for as many responses as the size has draws."""
    problems = generate_problems({**CHAINS, "problems": size.groups}, "train")
    texts = (student_prompt(problem.problem, training=True) for problem in problems)
    return [prompt for text in texts for prompt in [encode_chat(tokenizer, text)] * size.draws]


@torch.no_grad()
def generate_ids(model: PreTrainedModel, prompts: Sequence[Sequence[int]], settings: SamplingSettings) -> Tensor:
    """transformers' generate by itself, with no log-probs asked for: (N, prompt and response) token ids."""
    width = max(map(len, prompts))
    padded = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts])
    real = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return model.generate(
        input_ids=padded.to(model.device),
        attention_mask=real.to(model.device),
        do_sample=True,
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        max_new_tokens=settings.max_response_tokens,
        eos_token_id=NO_END,
        pad_token_id=0,
    )


@torch.no_grad()
def plain_logprobs(model: PreTrainedModel, prompt: Sequence[int], response: Sequence[int]) -> Tensor:
    """(T,) nats of a response's tokens by one forward of this sequence alone, at temperature 1."""
    ids = torch.tensor([[*prompt, *response]], device=model.device)
    logprobs = model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(dim=-1)
    return logprobs[len(prompt) - 1 : -1].gather(1, ids[0, len(prompt) :, None])[:, 0].cpu()


def largest_gap(model: PreTrainedModel, prompts: Sequence[Sequence[int]], drawn: Sequence[tuple], end: int) -> float:
    """Largest difference, in nats, of log-probs of some of the (ids, log-probs) drawn to those of a plain forward.

    Up to each response's first end token: behind it the trained model is where it never was, and so are its rounding
    errors (2e-5 of the plain forward's log-probs themselves, against float64).
    """
    largest = 0.0
    for prompt, (ids, logprobs) in list(zip(prompts, drawn, strict=True))[:: max(len(prompts) // CHECKED, 1)]:
        length = ids.index(end) + 1 if end in ids else len(ids)
        gaps = plain_logprobs(model, prompt, ids[:length]) - torch.as_tensor(logprobs[:length])
        largest = max(largest, float(gaps.abs().max()))
    return largest


def measure(size: Size, vllm_python: Path) -> list[dict[str, Any]]:
    """A row for each engine: seconds, tokens a second, largest difference to a plain forward."""
    model, tokenizer = load(size)
    prompts = make_prompts(size, tokenizer)
    settings = SamplingSettings(size.tokens, TEMPERATURE, TOP_P, TOP_K)
    keys = [("benchmark generate", number) for number in range(len(prompts))]
    drawn: dict[str, list[tuple]] = {}

    def sample(name: str, sampler: DecodeLoop | TransformersGenerate) -> None:
        drawn[name] = [_ids_and_logprobs(rollout) for rollout in sampler.sample(prompts, settings, keys)]

    variants: dict[str, Callable[[], object]] = {
        "own": partial(sample, "own", DecodeLoop(model, 0, [NO_END])),
        "transformers": partial(sample, "transformers", TransformersGenerate(model, 0, [NO_END], len(prompts))),
        "transformers, ids only": partial(generate_ids, model, prompts, settings),
    }
    seconds: dict[str, float | None] = dict(medians(variants, size.repetitions))
    if vllm_python.exists():
        found = run_vllm(vllm_python, model, tokenizer, prompts, settings, size.repetitions)
        seconds["vllm"], drawn["vllm"] = statistics.median(found["seconds"]), found["drawn"]
        print(f"vllm: {found['engine']}", flush=True)
    else:
        print(f"vllm: not installed ({vllm_python})", flush=True)
    end, weights = tokenizer.eos_token_id, sum(parameter.numel() for parameter in model.parameters())
    return [
        {
            "size": size.name,
            "weights": weights,
            "engine": name,
            "responses": len(prompts),
            "response_tokens": size.tokens,
            "seconds": spent,
            "tokens_per_second": len(prompts) * size.tokens / spent,
            "times_transformers": seconds["transformers"] / spent,
            "largest_difference": largest_gap(model, prompts, drawn[name], end) if name in drawn else None,
        }
        for name, spent in seconds.items()
    ]


def run_vllm(
    python: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    settings: SamplingSettings,
    repetitions: int,
) -> Mapping[str, Any]:
    """What generate_vllm.py found. Raises RuntimeError with the end of its messages where it fails."""
    with tempfile.TemporaryDirectory(prefix="generate") as place:
        folder = Path(place)
        model.save_pretrained(folder / "model")
        tokenizer.save_pretrained(folder / "model")
        asked = {"folder": str(folder / "model"), "prompts": prompts, "settings": dataclasses.asdict(settings)}
        asked |= {"repetitions": repetitions, "processor_time": one_thread()}
        (folder / "work.json").write_text(json.dumps(asked))
        command = [python, "-P", VLLM_SCRIPT, folder / "work.json", folder / "result.json"]
        environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
        done = subprocess.run(command, env=environment, text=True, capture_output=True, timeout=PATIENCE)
        if done.returncode:
            raise RuntimeError(f"{VLLM_SCRIPT} ended with status {done.returncode}:\n{done.stderr[-4000:]}")
        return json.loads((folder / "result.json").read_text())


def _ids_and_logprobs(rollout: Rollout) -> tuple:
    return rollout.response_ids, rollout.logprobs


def main(arguments: Sequence[str]) -> None:
    """Measure all sizes, smallest first; what is done is written after each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    names = [size.name for size in SIZES]
    parser.add_argument("--sizes", nargs="+", choices=names, default=names)
    parser.add_argument("--threads", type=int, default=1, help="as many as a job of the demo has")
    parser.add_argument("--vllm-python", type=Path, default=Path(".venv-verl/bin/python"), help="with vLLM")
    parser.add_argument("--groups", type=int, help="problems, in place of the sizes' own")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    logging.set_verbosity_error()  # generate warns of an id that nothing has
    rows: list[dict[str, Any]] = []
    print(machine(), flush=True)
    for size in (size for size in SIZES if size.name in options.sizes):
        changed = size if options.groups is None else dataclasses.replace(size, groups=options.groups)
        found = measure(changed, options.vllm_python)
        rows += found
        write_csv(OUTPUT, rows)
        print(as_text(found), flush=True)
    print(f"written: {OUTPUT}")


if __name__ == "__main__":
    main(sys.argv[1:])
