"""Draws and grades the responses of one model on all benchmarks of its task, and of other tasks named in `also`."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from selfdistill.errors import UserError
from selfdistill.evaluation.draws import Draw, write_draws
from selfdistill.evaluation.model_judge import JUDGE, ModelJudge
from selfdistill.models.chat import ChatSettings, encode_messages, end_ids, pad_id
from selfdistill.models.first_day import check_lengths, check_model
from selfdistill.models.loading import load_config, load_generation_config, load_tokenizer, load_weights, pick_device
from selfdistill.models.pictures import picture_reader, problem_pictures
from selfdistill.models.template_check import check_prompts
from selfdistill.sampling.decode import DecodeLoop
from selfdistill.sampling.interface import Rollout, Sampler, SamplingSettings
from selfdistill.sampling.transformers_generate import TransformersGenerate
from selfdistill.sampling.trial import check_sampler
from selfdistill.sampling.vllm_generate import VllmGenerate
from selfdistill.study.own_prompts import own_prompts
from selfdistill.tasks.datasets import by_benchmark
from selfdistill.tasks.graders import SCORED, Graded, check_sandbox, gives_feedback, grade_responses
from selfdistill.tasks.prompts import student_messages
from selfdistill.tasks.schema import Problem, read_problems


@dataclass(frozen=True)
class _Benchmark:
    """Holds what is asked, and how its answers are graded."""

    problems: list[Problem]
    grader: str
    first_role_counts: bool
    grading: Mapping[str, Any] | None = None
    second_grader: str | None = None
    judge: ModelJudge | None = None


def problems_by_benchmark(
    val_file: Path, benchmarks: list[str], *, own_prompts: bool = False
) -> dict[str, list[Problem]]:
    """Return the problems of a validation file by their data_source, which names the benchmark.

    Raises UserError where a benchmark has no rows, and as `read_problems`, which `own_prompts` is for.
    """
    return by_benchmark(val_file, read_problems(val_file, own_prompts=own_prompts), benchmarks)


def planned_draws(
    benchmarks: list[str], val_file: Path, task: Mapping[str, Any], also: Mapping[str, Path]
) -> dict[str, int]:
    """Returns how many draws `evaluate_run` makes of each benchmark; arguments, and errors, as it has them."""
    found = _benchmarks(benchmarks, val_file, task, also)
    return {name: len(benchmark.problems) * task["draws"] for name, benchmark in found.items()}


def evaluate_run(
    model_dir: Path,
    val_file: Path,
    task: dict[str, Any],
    seed: int,
    outputs: dict[str, Path],
    report: Callable[[str], None],
    also: Mapping[str, Path] | None = None,
) -> None:
    """Draw, grade and write one parquet a benchmark.

    Args:
        model_dir: the weights, as transformers saves them.
        val_file: parquet of all benchmarks of the task itself.
        task: settings with keys grader, first_role_counts, draws, and evaluation (temperature, top_p, top_k,
            max_response_tokens, and engine: own, transformers or vllm; own where it is missing). Under `chat`, if it
            is there, how prompts are rendered. Under `also`, if it is there, other tasks -> benchmarks, problems (of
            each the first so many; all where it is missing), and their own grader, first_role_counts, grading and
            prompt; all else is as for the task's own benchmarks. grading: of a grader that has settings; prompt:
            "own" or "boxed", else as the grader reads (config/README.md). Under `second_grader`, if it is there, the
            grader whose verdict is noted beside, as of the other task's problems under `also`; where it is "judge",
            its settings under `judge`.
        seed: of the run; draws are keyed by it, the problem and the draw's number.
        outputs: benchmark -> file to write.
        report: takes one line of progress.
        also: other task -> parquet of all its benchmarks.

    Raises:
        UserError: as `read_problems` does, and for a benchmark without rows or an unknown engine.
    """
    evaluation = dict(task["evaluation"])
    engine = evaluation.pop("engine", "own")
    settings = SamplingSettings(**evaluation)
    tokenizer, chat = load_tokenizer(model_dir), ChatSettings(**task.get("chat", {}))
    check_prompts(tokenizer, chat, load_generation_config(model_dir), report)
    benchmarks = _benchmarks(list(outputs), val_file, task, also or {})
    for benchmark in benchmarks.values():
        check_sandbox([benchmark.grader, benchmark.second_grader], benchmark.grading)
        if benchmark.judge is not None:
            benchmark.judge.try_out(benchmark.problems[0])
    every = [problem for benchmark in benchmarks.values() for problem in benchmark.problems]
    asked = {p.id: student_messages(p, training=False, template=chat.template) for p in every}
    reader = picture_reader(model_dir, load_config(model_dir), chat)
    shown = {p.id: problem_pictures(p, reader) for p in every}
    encoded = {name: encode_messages(tokenizer, messages, chat, shown[name]) for name, messages in asked.items()}
    longest = max(map(len, encoded.values())) + settings.max_response_tokens
    sampler, engine = sampler_of(engine, Path(model_dir), tokenizer, longest, chat)
    report(f"engine {engine}")
    for name, benchmark in benchmarks.items():
        began = time.monotonic()
        rows = [(problem, draw) for problem in benchmark.problems for draw in range(task["draws"])]
        keys = [(seed, "evaluation", p.id, draw) for p, draw in rows]
        rollouts = sampler.sample([encoded[p.id] for p, _ in rows], settings, keys)
        responses = [str(tokenizer.decode(each.response_ids, skip_special_tokens=True)) for each in rollouts]
        draws = _draws(benchmark, rows, rollouts, responses, report)
        write_draws(outputs[name], draws)
        report(_finished_line(name, benchmark, draws, task["draws"], time.monotonic() - began))


def _draws(
    benchmark: _Benchmark,
    rows: list[tuple[Problem, int]],
    rollouts: list[Rollout],
    responses: list[str],
    report: Callable[[str], None],
) -> list[Draw]:
    """Grade the responses of a benchmark.

    Args:
        benchmark: whose they are.
        rows: problem and number of each draw.
        rollouts, responses: of the same rows, as ids and as text.
        report: takes a line of progress.
    """
    given = (responses, [p for p, _ in rows], [r.finish_reason == "length" for r in rollouts])
    second: list[bool | None] = [None] * len(rows)
    if benchmark.judge is not None:
        second = list(benchmark.judge.verdicts(responses, given[1], report))
    elif benchmark.second_grader:
        second = [graded.correct for graded in _graded(benchmark, benchmark.second_grader, *given)]
    each = zip(rows, rollouts, responses, _graded(benchmark, benchmark.grader, *given), second, strict=True)
    return [
        Draw(
            problem_id=problem.id,
            draw=number,
            response=response,
            n_tokens=len(rollout.response_ids),
            finish_reason=rollout.finish_reason,
            answer=graded.answer,
            correct=graded.correct,
            score=graded.score if benchmark.grader in SCORED else None,
            feedback=graded.feedback if gives_feedback(benchmark.grader) else None,
            second_correct=beside,
            cluster=problem.cluster or None,
        )
        for (problem, number), rollout, response, graded, beside in each
    ]


def _finished_line(name: str, benchmark: _Benchmark, draws: list[Draw], a_problem: int, seconds: float) -> str:
    """A line on a benchmark that is done; a_problem: draws of each problem."""
    tokens = sum(d.n_tokens for d in draws)
    judged = [d.second_correct for d in draws if d.second_correct is not None]
    beside = f" ({100 * sum(judged) / len(judged):.1f} % by {benchmark.second_grader})" if judged else ""
    return (
        f"{name}: {len(benchmark.problems)} problems x {a_problem} draws, "
        f"{100 * sum(d.correct for d in draws) / len(draws):.1f} % correct{beside}, "
        f"{tokens} tokens in {seconds:.1f} s ({tokens / seconds:.0f} tokens/s)"
    )


def _graded(
    benchmark: _Benchmark, name: str, responses: list[str], problems: list[Problem], truncated: list[bool]
) -> list[Graded]:
    # A level of feedback is one of the first grader's.
    grading = {k: v for k, v in (benchmark.grading or {}).items() if name == benchmark.grader or k != "feedback"}
    how = {"first_role_counts": benchmark.first_role_counts, "grading": grading}
    return grade_responses(responses, problems, truncated, name, **how)


def _benchmarks(
    names: list[str], val_file: Path, task: Mapping[str, Any], also: Mapping[str, Path]
) -> dict[str, _Benchmark]:
    """Those of these names, in their order, each with the grader of the task that it belongs to.

    Only files are read that hold one of them: of a resumed evaluation some benchmarks are drawn already.
    """
    others = task.get("also", {})
    owner = {name: other for other, about in others.items() for name in about["benchmarks"]}
    found = {}
    for other in dict.fromkeys(owner.get(name) for name in names):
        file, about = (also[other], others[other]) if other else (val_file, task)
        of_task = [name for name in names if owner.get(name) == other]
        asked = problems_by_benchmark(file, of_task, own_prompts=own_prompts(about))
        for name, problems in asked.items():
            first = problems[: about.get("problems")]
            lenient = about.get("first_role_counts", False)
            second = about.get("second_grader")
            judge = ModelJudge(about["judge"]) if second == JUDGE else None
            found[name] = _Benchmark(first, about["grader"], lenient, about.get("grading"), second, judge)
    return {name: found[name] for name in names}


def sampler_of(
    engine: str, folder: Path, tokenizer: PreTrainedTokenizerBase, longest: int, chat: ChatSettings
) -> tuple[Sampler, str]:
    """The sampler of that name and what to say of it; `longest` bounds prompt and response together, in tokens."""
    if engine == "vllm":
        sampler = VllmGenerate(folder, tokenizer, longest, chat=chat)
        return sampler, sampler.description
    samplers = {"own": DecodeLoop, "transformers": TransformersGenerate}
    if engine not in samplers:
        raise UserError(f"evaluation.engine {engine!r} is not one of own, transformers, vllm")
    model = load_weights(folder, pick_device())
    ends = end_ids(model, tokenizer, chat)
    precision = str(model.dtype).removeprefix("torch.")
    check_model(model)
    check_lengths(model.config, longest, "evaluation.max_response_tokens")
    sampler = samplers[engine](model, pad_id(tokenizer, ends), ends)
    check_sampler(sampler, model, engine)
    return sampler, f"{engine}, {precision} on {model.device.type}"
