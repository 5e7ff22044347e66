"""The gap between student and self-teacher before any training: what a method that distils its own contexts can gain.

The student draws groups as in training, and each rollout gets its context as in the first step. Then the same weights
draw anew for each rollout, once from the plain prompt and once under its context: a context is chosen by how the first
draw came out, so that draw would make a second try look like a gain. Of SDPO it is reported that the gain of training
follows this gap (arXiv 2605.30070).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from selfdistill.errors import UserError
from selfdistill.evaluation.evaluate import sampler_of
from selfdistill.files import write_json
from selfdistill.models.chat import encode_messages
from selfdistill.models.loading import load_tokenizer
from selfdistill.models.template_check import check_prompts
from selfdistill.objectives.methods import build_method
from selfdistill.randomness import Key
from selfdistill.sampling.interface import Rollout, Sampler, SamplingSettings
from selfdistill.signals.hints import Assignment, Candidate, assign_hints
from selfdistill.signals.teacher_scores import ContextBuilder
from selfdistill.study.own_prompts import own_prompts
from selfdistill.study.training_settings import TrainingSettings
from selfdistill.tasks.contexts import Hint
from selfdistill.tasks.graders import Graded, check_sandbox, grade_response, graded_each
from selfdistill.tasks.prompts import student_messages
from selfdistill.tasks.schema import Problem, read_problems
from selfdistill.tasks.thinking import without_thinking

Report = Callable[[str], None]


@dataclass(frozen=True)
class _Drawn:
    """Responses to rows of problems: decoded texts and verdicts, row by row; tokens of each."""

    texts: list[str]
    graded: list[Graded]
    lengths: list[int]


def measure_gap(
    run: Mapping[str, Any],
    *,
    train_file: Path,
    base_model: Path,
    engine: str,
    prompts: int,
    output: Path,
    report: Report,
) -> None:
    """Measure the accuracy of a run's untrained student and of its self-teacher, and write it as JSON.

    Keys: prompts, rollouts; student and teacher (percent, of an answer drawn anew for each rollout; without a context
    the teacher's is the student's), gap with low and high (points, 95 % over prompts); hinted_share, and of rollouts
    with a context alone student_hinted and teacher_hinted.

    Args:
        run: a resolved run whose teacher has the student's weights at the beginning.
        train_file: parquet of its training problems, of which the first ones are asked.
        base_model: folder of the initial weights.
        engine: what draws: own, transformers or vllm.
        prompts: how many problems.
        output: JSON file.
        report: takes one line of progress.

    Raises:
        UserError: for a run without contexts or with another model as its teacher, and as an evaluation does.
    """
    settings = TrainingSettings.from_config(run)
    method = build_method(settings.implementation, settings.objective)
    if not method.needs.correct_hint or settings.teacher.kind == "external":
        raise UserError(
            f"{run['task']}/{run['model']}/{run['variant']}: there is no self-teacher, so it has no gap; ask for a "
            "variant whose teacher reads contexts"
        )
    check_sandbox([run["grader"]], run.get("grading"))
    tokenizer, chat = load_tokenizer(base_model), settings.chat
    check_prompts(tokenizer, chat, report=report)
    wanted = {"need_solution": settings.needs_solutions, "own_prompts": own_prompts(run)}
    problems = read_problems(train_file, **wanted)[:prompts]
    size, rollout = settings.rollout.group_size, settings.rollout
    rows = [problem for problem in problems for _ in range(size)]
    builder = ContextBuilder(tokenizer, settings.hints, settings.max_sequence_tokens, chat)
    asked = {p.id: student_messages(p, training=True, template=chat.template) for p in problems}
    encoded = {name: encode_messages(tokenizer, messages, chat) for name, messages in asked.items()}
    template = len(builder.template_ids()) + rollout.max_prompt_tokens + settings.hints.max_tokens
    longest = max([template, *map(len, encoded.values())]) + rollout.max_response_tokens
    sampler, told = sampler_of(engine, Path(base_model), tokenizer, longest, chat)
    report(f"engine {told}")
    draw = _Drawing(sampler, tokenizer, SamplingSettings.of(rollout), run, settings)
    keys = [(settings.seed, "gap", p.id, member) for p in problems for member in range(size)]
    plain = draw([encoded[p.id] for p in rows], rows, keys)
    assignments: list[Assignment] = []
    for number, problem in enumerate(problems):
        group = [_candidate(plain, row, settings) for row in range(number * size, (number + 1) * size)]
        reference = Hint(problem.solution, problem.answer)
        assignments += assign_hints(group, reference, settings.hints, method.needs, (settings.seed, "gap", number))
    contexts = builder.build(rows, assignments, plain.lengths).correct
    hinted = [row for row, context in enumerate(contexts) if context is not None]
    anew = draw([encoded[p.id] for p in rows], rows, [(settings.seed, "gap, drawn anew", *key[2:]) for key in keys])
    under_keys = [(settings.seed, "gap under a context", *keys[row][2:]) for row in hinted]
    under = draw([contexts[row] for row in hinted], [rows[row] for row in hinted], under_keys)
    student = np.array([each.correct for each in anew.graded], dtype=float)
    teacher = student.copy()
    teacher[hinted] = [each.correct for each in under.graded]
    found = _summary(student, teacher, hinted, size)
    write_json(output, {"run": {key: run[key] for key in ("task", "model", "variant")}, **found})
    report(f"student {found['student']:.1f} %, self-teacher {found['teacher']:.1f} % of {len(rows)} rollouts")


class _Drawing:
    """Draws responses and grades them as training does."""

    def __init__(
        self, sampler: Sampler, tokenizer: Any, sampling: SamplingSettings, run: Mapping[str, Any], of: TrainingSettings
    ):
        """run: the resolved run; of: its settings."""
        self._sampler, self._tokenizer, self._sampling = sampler, tokenizer, sampling
        self._grader, self._lenient = run["grader"], of.reward.first_role_counts
        self._grading = of.reward.grading(run.get("grading"))

    def __call__(
        self, prompts: Sequence[Sequence[int]], problems: Sequence[Problem], keys: Sequence[tuple[Key, ...]]
    ) -> _Drawn:
        """One response to each prompt."""
        if not prompts:
            return _Drawn([], [], [])
        rollouts = self._sampler.sample(prompts, self._sampling, list(keys))
        texts = [self._tokenizer.decode(each.response_ids, skip_special_tokens=True) for each in rollouts]
        graded = graded_each(self._grader, self._graded, texts, problems, rollouts)
        return _Drawn(texts, graded, [len(each.response_ids) for each in rollouts])

    def _graded(self, text: str, problem: Problem, rollout: Rollout) -> Graded:
        how = {"first_role_counts": self._lenient, "truncated": rollout.finish_reason == "length"}
        return grade_response(text, problem, self._grader, grading=self._grading, **how)


def _candidate(drawn: _Drawn, row: int, settings: TrainingSettings) -> Candidate:
    graded = drawn.graded[row]
    text = without_thinking(drawn.texts[row], settings.hints.thinking)
    return Candidate(float(graded.correct), text, graded.answer, graded.score, graded.feedback)


def _summary(student: np.ndarray, teacher: np.ndarray, hinted: Sequence[int], size: int) -> dict[str, Any]:
    """Percentages; rows of a prompt stand together, `size` of them."""
    differences = 100 * (teacher - student).reshape(-1, size).mean(axis=1)
    gap = float(differences.mean())
    spread = float(differences.std(ddof=1)) / math.sqrt(len(differences)) if len(differences) > 1 else 0.0
    # Prompts that are all alike say nothing of how others would differ.
    half = float(stats.t.ppf(0.975, len(differences) - 1)) * spread if spread else math.nan
    bounds = {"low": gap - half, "high": gap + half} if math.isfinite(half) else {"low": None, "high": None}
    shares = {
        "student": 100 * float(student.mean()),
        "teacher": 100 * float(teacher.mean()),
        "gap": gap,
        **bounds,
        "hinted_share": 100 * len(hinted) / len(student),
        "student_hinted": 100 * float(student[hinted].mean()) if hinted else None,
        "teacher_hinted": 100 * float(teacher[hinted].mean()) if hinted else None,
    }
    return {"prompts": len(differences), "rollouts": len(student), **shares}
