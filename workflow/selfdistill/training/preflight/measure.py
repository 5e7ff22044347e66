"""Measures what a base model makes of each kind of context: can its teacher teach at all?

Responses of the model are read again under a context, by the model itself: what a grader says of them, a solution, a
sibling's success. Two things are asked. How many of the problems are answered rightly by a model that reads the context
and by one that does not; both draw anew, with the same random streams, since a context is chosen by how the response
came out, and a second try would look like a gain. Of SDPO it is reported that what training gains follows this gap
(arXiv 2605.30070). And, where the task can say which token of a response is the first wrong one, what the teacher would
rather have there, and how much it changes elsewhere.
"""

import contextlib
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit

from selfdistill.critics.step_critiques import CritiquedSteps
from selfdistill.errors import UserError
from selfdistill.objectives.methods import build_method
from selfdistill.study.critic_settings import CRITIQUE
from selfdistill.study.own_prompts import own_prompts
from selfdistill.study.preflight import MEASURES, STUDENT
from selfdistill.study.run_settings import ChatSettings, RolloutSettings
from selfdistill.study.teacher_settings import EXTERNAL, HintSettings
from selfdistill.study.training_settings import TrainingSettings
from selfdistill.tasks.contexts import Hint
from selfdistill.tasks.graders import check_sandbox
from selfdistill.tasks.schema import Problem, read_problems
from selfdistill.training.external_models import noted_models
from selfdistill.training.local.critic import critic_of_run
from selfdistill.training.preflight.contexts import Named, first_step_hints, named_hints
from selfdistill.training.preflight.contrast import contrast_row
from selfdistill.training.preflight.placebo import placebo_measures
from selfdistill.training.preflight.reader import Attempt, How, Reader, Report
from selfdistill.training.preflight.tokens import at_place, first_wrong_token, token_measures

#: A row: "context", "rollouts", "rollouts_with_place" and measures; what could not be measured is missing.
Row = dict[str, Any]


def run_preflight(
    settings: Mapping[str, Any],
    train_file: Path,
    base_model: Path,
    report: Report,
    external: Mapping[str, Path] | None = None,
) -> list[Row]:
    """Measure a base model under the contexts that a task names, or under those of a variant's first step.

    Args:
        settings: `Preflights.of`.
        train_file: parquet of the training problems, of which the first so many are asked.
        base_model: folder of the initial weights.
        report: takes one line of progress.
        external: "critic" -> folder of another model, where a variant's critic is one.

    Returns:
        Of a task's contexts a row for the student and one for each of them, over the wrong ones of one response to each
        problem; of a variant its own, over groups of its size. Measures: study.preflight.MEASURES.

    Raises:
        UserError: as loading, grading and contexts do; for a variant whose teacher reads no contexts, or is another
            model; of a task's contexts also where no response is wrong, or one has nothing to show of any.
    """
    check_sandbox([settings["grader"]], settings["grading"])
    run = settings.get("run")
    if run is not None:
        _check_self_teacher(run)
    reader = Reader.of(Path(base_model), _how(settings), report)
    wanted = {"need_solution": False, "own_prompts": own_prompts(settings)}
    if run is not None:
        wanted["need_solution"] = TrainingSettings.from_config(run).needs_solutions
    problems = read_problems(train_file, **wanted)[: settings["problems"]]
    if run is not None:
        attempts = draw_attempts(reader, problems, reader.how.rollout.group_size)
        measuring = Measuring(reader, attempts, [a for a in attempts if a.graded.correct])
        with _critic(run, reader, dict(external or {})) as critic:
            hints = first_step_hints(run, attempts, critic)
        rows = [measuring.row(run["variant"], hints)]
    else:
        rows = _rows_of_task(reader, problems, settings)
    for row in rows:
        report(f"{row['context']}: " + ", ".join(f"{key} {row[key]:.3g}" for key in MEASURES if key in row))
    return rows


def draw_attempts(reader: Reader, problems: Sequence[Problem], size: int = 1) -> list[Attempt]:
    """Draw `size` responses to each problem as in training, those of a problem together, and grade them."""
    rows = [problem for problem in problems for _ in range(size)]
    prompts = [reader.encoded(problem) for problem in rows]
    drawn = reader.sample(prompts, reader.how.as_trained, [("attempts", row) for row in range(len(rows))])
    texts, graded = reader.grade(drawn, rows)
    attempts = []
    for problem, prompt, rollout, text, verdict in zip(rows, prompts, drawn, texts, graded, strict=True):
        place, wanted = (None, None)
        if not verdict.correct:
            place, wanted = first_wrong_token(reader, problem, text, rollout.response_ids)
        attempts.append(Attempt(problem, prompt, rollout, text, verdict, place, wanted))
    return attempts


class Measuring:
    """Measures responses under one context after another; what the student does without any is drawn once."""

    def __init__(self, reader: Reader, attempts: Sequence[Attempt], right: Sequence[Attempt] = ()):
        """Take responses that contexts are shown of, those of a problem together, and right ones for placebos."""
        self._reader, self._attempts = reader, attempts
        self._right: dict[str, list[Attempt]] = {}
        for each in right:
            self._right.setdefault(each.problem.id, []).append(each)
        prompts, rows = [a.prompt for a in attempts], range(len(attempts))
        self._student = reader.answers(attempts, prompts, reader.how.as_evaluated, rows)
        self._as_trained = reader.answers(attempts, prompts, reader.how.as_trained, rows)

    def student_row(self) -> Row:
        """Return what the model does without any context."""
        placed = [a for a in self._attempts if a.place is not None]
        return {
            "context": STUDENT,
            "rollouts": len(self._attempts),
            "rollouts_with_place": len(placed),
            **at_place(self._reader, placed, [a.prompt for a in placed]),
            "accuracy_as_trained": float(self._as_trained.mean()),
            "accuracy": float(self._student.mean()),
        }

    def row(self, name: str, hints: Sequence[Hint]) -> Row:
        """Return what the model does under one kind of context.

        Args:
            name: of the context.
            hints: what it shows of each response; one without parts leaves the teacher with the student's prompt.
        """
        reader, shown = self._reader, [row for row, hint in enumerate(hints) if hint.parts]
        kept = [self._attempts[row] for row in shown]
        contexts = reader.contexts(kept, [hints[row] for row in shown])
        placed = [number for number, a in enumerate(kept) if a.place is not None]
        wrong = [number for number, a in enumerate(kept) if not a.graded.correct]
        teacher = self._student.copy()
        teacher[shown] = reader.answers(kept, contexts, reader.how.as_evaluated, shown)
        as_trained = reader.answers(kept, contexts, reader.how.as_trained, shown)
        answers = {
            "accuracy_as_trained": as_trained,
            "accuracy": teacher[shown],
            "student_accuracy": self._student[shown],
            "accuracy_gain": (teacher - self._student)[shown],
        }
        return {
            "context": name,
            "rollouts": len(hints),
            "rollouts_with_place": len(placed),
            "hinted_share": len(shown) / len(hints),
            **token_measures(reader, [kept[n] for n in placed], [contexts[n] for n in placed]),
            **placebo_measures(reader, [kept[n] for n in wrong], [contexts[n] for n in wrong], self._right),
            **{measure: float(each.mean()) for measure, each in answers.items() if shown},
            **_gap(teacher - self._student, [a.problem.id for a in self._attempts]),
        }


def _rows_of_task(reader: Reader, problems: Sequence[Problem], settings: Mapping[str, Any]) -> list[Row]:
    size = settings.get("responses", 1)
    drawn = draw_attempts(reader, problems, size)
    attempts = [attempt for attempt in drawn if not attempt.graded.correct]
    reader.report(f"{len(attempts)} of {len(drawn)} responses are wrong")
    if not attempts:
        raise UserError(
            f"pre-flight: all {len(drawn)} responses of the base model are right, so there is nothing to teach; ask "
            "harder problems, or more of them (preflight.problems)"
        )
    measuring = Measuring(reader, attempts, [attempt for attempt in drawn if attempt.graded.correct])
    rows = [measuring.student_row()]
    if settings.get("contrast"):
        rows.append(contrast_row(reader, problems, [drawn[at : at + size] for at in range(0, len(drawn), size)]))
    for name, about in settings["contexts"].items():
        hints = named_hints(reader, Named(**about), attempts)
        if not any(hint.parts for hint in hints):
            raise UserError(
                f"pre-flight: the context {name!r} has nothing to show of any of {len(attempts)} wrong responses: the "
                f"grader {reader.how.grader!r} says nothing at that level, or the data have no solutions"
            )
        rows.append(measuring.row(name, hints))
    return rows


def _gap(differences: np.ndarray, problems: Sequence[str]) -> dict[str, float]:
    """Mean of teacher minus student, with a t interval over problems; without bounds where all are alike."""
    names = list(dict.fromkeys(problems))
    numbers = np.array([names.index(name) for name in problems])
    means = np.array([differences[numbers == number].mean() for number in range(len(names))])
    gap = float(differences.mean())
    spread = float(means.std(ddof=1)) / math.sqrt(len(means)) if len(means) > 1 else 0.0
    if not spread:  # problems that are all alike say nothing of how others would differ
        return {"gap": gap}
    half = float(stdtrit(len(means) - 1, 0.975)) * spread
    return {"gap": gap, "gap_low": max(gap - half, -1.0), "gap_high": min(gap + half, 1.0)}


@contextlib.contextmanager
def _critic(run: Mapping[str, Any], reader: Reader, external: Mapping[str, Path]) -> Iterator[CritiquedSteps | None]:
    """The critic of a run, with a server that it may need, and a cache that nobody reads again."""
    settings = TrainingSettings.from_config(run)
    with tempfile.TemporaryDirectory() as folder:
        noted = noted_models(Path(folder), external)
        with critic_of_run(settings, run["grader"], external, noted, Path(folder), reader.report) as make:
            yield None if make is None else make(reader.sampler, reader.scorer.model, reader.tokenizer)


def _check_self_teacher(run: Mapping[str, Any]) -> None:
    settings = TrainingSettings.from_config(run)
    method = build_method(settings.implementation, settings.objective)
    if not method.needs.correct_hint or settings.teacher.kind == EXTERNAL:
        raise UserError(
            f"{run['task']}/{run['model']}/{run['variant']}: there is no self-teacher, so it has no gap; ask for a "
            "variant whose teacher reads contexts"
        )


def _how(settings: Mapping[str, Any]) -> How:
    shared = {"evaluation": settings["evaluation"], "grader": settings["grader"]}
    if (run := settings.get("run")) is not None:
        of = TrainingSettings.from_config(run)
        grading = of.reward.grading(run.get("grading"))
        return How(
            of.rollout, of.hints, of.chat, grading=grading, first_role_counts=of.reward.first_role_counts, **shared
        )
    # Contexts show what they name, and not what the runs' hints are.
    shown = {part for about in settings["contexts"].values() for part in Named(**about).parts}
    source = "self_rollout" if "solution" in shown or "critique" not in shown else CRITIQUE
    said = {"source": source, "feedback": "always" if "feedback" in shown else "never"}
    hints = HintSettings(**{**settings["hints"], **said})
    rollout, chat = RolloutSettings(**settings["rollout"]), ChatSettings(**settings["chat"])
    return How(rollout, hints, chat, grading=settings["grading"], **shared)
