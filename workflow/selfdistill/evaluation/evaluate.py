"""One model on all benchmarks of its task: draws, graded, as parquet."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from selfdistill.errors import UserError
from selfdistill.evaluation.draws import Draw, write_draws
from selfdistill.sampling.chat import encode_chat, end_ids
from selfdistill.sampling.decode import DecodeLoop
from selfdistill.sampling.interface import Sampler, SamplingSettings
from selfdistill.sampling.models import load_tokenizer, load_weights, pick_device
from selfdistill.sampling.transformers_generate import TransformersGenerate
from selfdistill.sampling.vllm_generate import VllmGenerate
from selfdistill.tasks.graders import grade_response
from selfdistill.tasks.prompts import student_prompt
from selfdistill.tasks.schema import Problem, read_problems


def problems_by_benchmark(val_file: Path, benchmarks: list[str]) -> dict[str, list[Problem]]:
    """The problems of a validation file by their data_source, which names the benchmark.

    Raises UserError where a benchmark has no rows.
    """
    problems = read_problems(val_file)
    found = {name: [p for p in problems if p.data_source == name] for name in benchmarks}
    empty = [name for name, rows in found.items() if not rows]
    if empty:
        present = sorted({p.data_source for p in problems})
        raise UserError(
            f"{val_file}: no rows with data_source {', '.join(empty)}; the file has {', '.join(present)}. "
            "Benchmarks in config/tasks.yaml must be named as in the file"
        )
    return found


def evaluate_run(
    model_dir: Path,
    val_file: Path,
    task: dict[str, Any],
    seed: int,
    outputs: dict[str, Path],
    report: Callable[[str], None],
) -> None:
    """Draw, grade and write one parquet a benchmark.

    Args:
        model_dir: the weights, as transformers saves them.
        val_file: parquet of all benchmarks.
        task: settings with keys grader, first_role_counts, draws, and evaluation (temperature, top_p, top_k,
            max_response_tokens, and engine: own, transformers or vllm; own where it is missing).
        seed: of the run; draws are keyed by it, the problem and the draw's number.
        outputs: benchmark -> file to write.
        report: takes one line of progress.
    """
    evaluation = dict(task["evaluation"])
    engine = evaluation.pop("engine", "own")
    settings = SamplingSettings(**evaluation)
    tokenizer = load_tokenizer(model_dir)
    benchmarks = problems_by_benchmark(val_file, list(outputs))
    every = [problem for problems in benchmarks.values() for problem in problems]
    encoded = {p.id: encode_chat(tokenizer, student_prompt(p.problem, training=False)) for p in every}
    longest = max(map(len, encoded.values())) + settings.max_response_tokens
    sampler, engine = _sampler(engine, Path(model_dir), tokenizer, longest)
    report(f"engine {engine}")
    for benchmark, problems in benchmarks.items():
        began = time.monotonic()
        rows = [(problem, draw) for problem in problems for draw in range(task["draws"])]
        prompts = [encoded[p.id] for p, _ in rows]
        rollouts = sampler.sample(prompts, settings, [(seed, "evaluation", p.id, draw) for p, draw in rows])
        draws = []
        for (problem, number), rollout in zip(rows, rollouts, strict=True):
            response = tokenizer.decode(rollout.response_ids, skip_special_tokens=True)
            graded = grade_response(
                response, problem, task["grader"], first_role_counts=task.get("first_role_counts", False)
            )
            draws.append(
                Draw(
                    problem_id=problem.id,
                    draw=number,
                    response=response,
                    n_tokens=len(rollout.response_ids),
                    finish_reason=rollout.finish_reason,
                    answer=graded.answer,
                    correct=graded.correct,
                )
            )
        write_draws(outputs[benchmark], draws)
        seconds, tokens = time.monotonic() - began, sum(d.n_tokens for d in draws)
        share = sum(d.correct for d in draws) / len(draws)
        report(
            f"{benchmark}: {len(problems)} problems x {task['draws']} draws, {100 * share:.1f} % correct, "
            f"{tokens} tokens in {seconds:.1f} s ({tokens / seconds:.0f} tokens/s)"
        )


def _sampler(engine: str, folder: Path, tokenizer: PreTrainedTokenizerBase, longest: int) -> tuple[Sampler, str]:
    """The sampler of that name and what to say of it; `longest` bounds prompt and response together, in tokens."""
    if engine == "vllm":
        sampler = VllmGenerate(folder, tokenizer, longest)
        return sampler, sampler.description
    samplers = {"own": DecodeLoop, "transformers": TransformersGenerate}
    if engine not in samplers:
        raise UserError(f"evaluation.engine {engine!r} is not one of own, transformers, vllm")
    model = load_weights(folder, pick_device())
    ends = end_ids(model, tokenizer)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
    precision = str(model.dtype).removeprefix("torch.")
    return samplers[engine](model, pad, ends), f"{engine}, {precision} on {model.device.type}"
