"""What a base model makes of each kind of context, before anything is trained: can its teacher teach at all?

Wrong responses of the model are read again under contexts: what their grader says of them, at one level or another, a
solution, both, or feedback that belongs to another problem. Two things are asked. Where the task can say which token of
a response is the first wrong one, what the teacher would rather have there, and how much it changes elsewhere; and how
many of these problems are answered rightly by a model that reads the context.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from selfdistill.errors import UserError
from selfdistill.models.chat import encode_messages, end_ids
from selfdistill.models.loading import load_model, pick_device
from selfdistill.models.template_check import check_prompts
from selfdistill.models.tokenizer_check import token_ids
from selfdistill.objectives.divergences import distributions, divergence
from selfdistill.randomness import Key
from selfdistill.sampling.decode import DecodeLoop
from selfdistill.sampling.interface import Rollout, SamplingSettings
from selfdistill.scoring.query import Query
from selfdistill.scoring.scorer import ModelScorer
from selfdistill.scoring.scores import Sequences
from selfdistill.signals.hints import Assignment
from selfdistill.signals.shuffled_feedback import shuffled_feedback
from selfdistill.signals.teacher_scores import ContextBuilder
from selfdistill.study.preflight import MEASURES, STUDENT
from selfdistill.study.run_settings import ChatSettings, RolloutSettings
from selfdistill.study.teacher_settings import HintSettings
from selfdistill.tasks.contexts import Hint
from selfdistill.tasks.demonstrations import response_of
from selfdistill.tasks.graders import BOXED, Graded, grade_response, repaired
from selfdistill.tasks.prompts import student_messages
from selfdistill.tasks.schema import Problem, read_problems

#: Tokens in one forward.
_TOKENS = 16384
_SUPPORT = 16  # the student's most likely ids, at which divergences are read, with one bucket for all others


@dataclass(frozen=True)
class Context:
    """What a kind of context shows of a wrong response.

    Attributes:
        feedback: level of the grader's feedback; None shows none.
        solution: whether the dataset's solution is shown, as a sibling's response would be.
        shuffled: whether feedback is that of another problem's response, and of another topic.
    """

    feedback: str | None = None
    solution: bool = False
    shuffled: bool = False


@dataclass(frozen=True)
class Attempt:
    """A wrong response of the model.

    Attributes:
        problem: what was asked.
        prompt, response: token ids.
        text: the response as text.
        place: number of the first wrong token; None where the task cannot tell.
        right: the id that should be there.
    """

    problem: Problem
    prompt: list[int]
    response: list[int]
    text: str
    place: int | None = None
    right: int | None = None


@dataclass(frozen=True)
class _Reader:
    """The base model, with what every row is made by.

    Attributes:
        model, tokenizer: as loaded.
        settings: of the pre-flight (`Study.preflight`).
        chat: how prompts are rendered.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    settings: Mapping[str, Any]
    chat: ChatSettings

    @property
    def as_trained(self) -> SamplingSettings:
        """How rollouts are drawn."""
        return SamplingSettings.of(RolloutSettings(**self.settings["rollout"]))

    @property
    def as_evaluated(self) -> SamplingSettings:
        """How evaluations are drawn."""
        return SamplingSettings(**{k: v for k, v in self.settings["evaluation"].items() if k != "engine"})

    def sample(self, prompts: Sequence[Sequence[int]], how: SamplingSettings, *key: Key) -> list[Rollout]:
        """One response to each prompt."""
        ends = end_ids(self.model, self.tokenizer, self.chat)
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else ends[0]
        keys = [("preflight", *key, row) for row in range(len(prompts))]
        return DecodeLoop(self.model, pad, ends).sample(prompts, how, keys)

    def text(self, rollout: Rollout) -> str:
        """A response as text."""
        return self.tokenizer.decode(rollout.response_ids, skip_special_tokens=True)

    def grade(self, text: str, problem: Problem, level: str | None = None, *, truncated: bool = False) -> Graded:
        """A response graded as in training, with feedback of a level."""
        grading = {**self.settings["grading"], **({} if level is None else {"feedback": level})}
        return grade_response(text, problem, self.settings["grader"], truncated=truncated, grading=grading)

    def accuracy(self, attempts: Sequence[Attempt], prompts: Sequence[list[int]], how: SamplingSettings) -> float:
        """Share of the attempts' problems that are answered rightly by a model that reads these prompts."""
        drawn = self.sample(prompts, how, "answers")
        right = [self.grade(self.text(r), a.problem).correct for r, a in zip(drawn, attempts, strict=True)]
        return float(np.mean(right))


def run_preflight(
    settings: Mapping[str, Any], train_file: Path, base_model: Path, report: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Measure a base model under all contexts of a pre-flight.

    Args:
        settings: `Study.preflight`.
        train_file: parquet of the training problems, of which the first so many are asked.
        base_model: folder of the initial weights.
        report: takes one line of progress.

    Returns:
        A row for the student and for each context: context, its number of rollouts, and the measures of
        study.preflight.MEASURES, None where one could not be taken.

    Raises:
        UserError: as loading, grading and contexts do; where no response is wrong; and for a context that has nothing
            to show of any wrong one.
    """
    model, tokenizer = load_model(Path(base_model), pick_device())
    chat = ChatSettings(**settings["chat"])
    check_prompts(tokenizer, chat, model.generation_config, report)
    reader = _Reader(model.eval(), tokenizer, settings, chat)
    attempts = wrong_attempts(reader, read_problems(train_file)[: settings["problems"]], report)
    rows = [_student_row(reader, attempts)]
    for name, about in settings["contexts"].items():
        rows.append(_context_row(reader, name, Context(**about), attempts, rows[0]))
        report(f"{name}: " + ", ".join(f"{key} {rows[-1][key]:.3g}" for key in MEASURES if key in rows[-1]))
    return rows


def wrong_attempts(
    reader: _Reader, problems: Sequence[Problem], report: Callable[[str], None] = print
) -> list[Attempt]:
    """The wrong ones of one response to each problem, drawn as in training. Raises UserError where there are none."""
    asked = [student_messages(p, training=True, template=reader.chat.template) for p in problems]
    prompts = [encode_messages(reader.tokenizer, messages, reader.chat) for messages in asked]
    drawn, attempts = reader.sample(prompts, reader.as_trained, "attempts"), []
    for problem, prompt, rollout in zip(problems, prompts, drawn, strict=True):
        text = reader.text(rollout)
        if not reader.grade(text, problem, truncated=rollout.finish_reason == "length").correct:
            place, right = _first_wrong_token(reader, problem, text, rollout.response_ids)
            attempts.append(Attempt(problem, prompt, rollout.response_ids, text, place, right))
    report(f"{len(attempts)} of {len(problems)} responses are wrong")
    if not attempts:
        raise UserError(
            f"pre-flight: all {len(problems)} responses of the base model are right, so there is nothing to teach; ask "
            "harder problems, or more of them (preflight.problems)"
        )
    return attempts


def _first_wrong_token(
    reader: _Reader, problem: Problem, text: str, response: Sequence[int]
) -> tuple[int | None, int | None]:
    """Number of the first token that is not as it should be, and the id that should be there."""
    mended = repaired(reader.settings["grader"], text, problem)
    if mended is None:
        return None, None
    for place, (drawn, wanted) in enumerate(zip(response, token_ids(reader.tokenizer, mended), strict=False)):
        if drawn != wanted:
            return place, wanted
    return None, None


def _student_row(reader: _Reader, attempts: Sequence[Attempt]) -> dict[str, Any]:
    """What the model does without any context."""
    placed, prompts = [a for a in attempts if a.place is not None], [a.prompt for a in attempts]
    return {
        "context": STUDENT,
        "rollouts": len(attempts),
        "rollouts_with_place": len(placed),
        **(_at_place(reader, placed, [a.prompt for a in placed]) if placed else {}),
        "accuracy_as_trained": reader.accuracy(attempts, prompts, reader.as_trained),
        "accuracy": reader.accuracy(attempts, prompts, reader.as_evaluated),
    }


def _context_row(
    reader: _Reader, name: str, about: Context, attempts: Sequence[Attempt], student: Mapping[str, Any]
) -> dict[str, Any]:
    """What the model does under one kind of context; attempts of which it has nothing to show are left out."""
    shown = [(a, hint) for a, hint in zip(attempts, _hints(reader, about, attempts), strict=True) if hint.parts]
    if not shown:
        raise UserError(
            f"pre-flight: the context {name!r} has nothing to show of any of {len(attempts)} wrong responses: the "
            f"grader {reader.settings['grader']!r} says nothing at that level, or the data have no solutions"
        )
    prompts = dict(zip((id(a) for a, _ in shown), _prompts(reader, shown), strict=True))
    kept = [a for a, _ in shown]
    placed = [a for a in kept if a.place is not None]
    contexts = [prompts[id(a)] for a in kept]
    accuracy = reader.accuracy(kept, contexts, reader.as_evaluated)
    return {
        "context": name,
        "rollouts": len(kept),
        "rollouts_with_place": len(placed),
        **(_token_measures(reader, placed, [prompts[id(a)] for a in placed]) if placed else {}),
        "accuracy_as_trained": reader.accuracy(kept, contexts, reader.as_trained),
        "accuracy": accuracy,
        "accuracy_gain": accuracy - student["accuracy"],
    }


def _hints(reader: _Reader, about: Context, attempts: Sequence[Attempt]) -> list[Hint]:
    """What the context shows of each attempt; nothing of it where there is nothing to be shown."""
    said: list[str] = [""] * len(attempts)
    if about.feedback is not None:
        graded = [reader.grade(a.text, a.problem, about.feedback) for a in attempts]
        said = [each.feedback for each in graded]
        if about.shuffled:
            topics, groups = [each.topic for each in graded], [a.problem.id for a in attempts]
            said = shuffled_feedback(said, ("preflight",), groups=groups, topics=topics)
    solutions = [_solution(reader, a.problem) if about.solution else "" for a in attempts]
    hints = []
    for each, solution in zip(said, solutions, strict=True):
        parts = {"feedback": each} if about.feedback is not None else {}
        parts |= {"solution": solution} if about.solution else {}
        hints.append(Hint(**parts) if all(text.strip() for text in parts.values()) else Hint())
    return hints


def _solution(reader: _Reader, problem: Problem) -> str:
    """The dataset's solution as a response: with its answer in a box where graders read one."""
    if problem.solution and reader.settings["grader"] in BOXED and "\\boxed" not in problem.solution:
        return response_of(Hint(problem.solution, problem.answer))
    return problem.solution


def _prompts(reader: _Reader, shown: Sequence[tuple[Attempt, Hint]]) -> list[list[int]]:
    """The teacher's prompts, as training makes them."""
    hints = HintSettings(**{**reader.settings["hints"], "source": "self_rollout", "feedback": "always"})
    longest = max(len(a.prompt) + len(a.response) for a, _ in shown) + hints.max_tokens
    builder = ContextBuilder(reader.tokenizer, hints, longest, reader.chat)
    assignments = [Assignment(hint) for _, hint in shown]
    built = builder.build([a.problem for a, _ in shown], assignments, [len(a.response) for a, _ in shown])
    return [context for context in built.correct if context is not None]


def _at_place(reader: _Reader, attempts: Sequence[Attempt], prompts: Sequence[list[int]]) -> dict[str, float]:
    """What a model that reads these prompts would have at the first wrong token."""
    mended = [[*a.response[: a.place], a.right] for a in attempts]
    scores = _scorer(reader)(Sequences(prompts, mended), max(map(len, mended)), Query(top_k=1))
    rows, places = torch.arange(len(attempts)), torch.tensor([a.place for a in attempts])
    first = scores.ids.cpu()[rows, places, 0] == torch.tensor([a.right for a in attempts])
    return {
        "argmax_right": float(first.double().mean()),
        "right_probability": float(scores.logprobs.cpu()[rows, places].exp().double().mean()),
    }


def _token_measures(reader: _Reader, attempts: Sequence[Attempt], prompts: Sequence[list[int]]) -> dict[str, float]:
    """What a context changes at the first wrong token, and everywhere else."""
    responses = [a.response for a in attempts]
    width, scorer = max(map(len, responses)), _scorer(reader)
    top_k = min(_SUPPORT, scorer.vocabulary)
    student = scorer(Sequences([a.prompt for a in attempts], responses), width, Query(top_k=top_k))
    teacher = scorer(Sequences(prompts, responses), width, Query().at(student.ids))
    real = torch.tensor([[i < len(r) for i in range(width)] for r in responses])
    there = torch.zeros_like(real)
    there[torch.arange(len(attempts)), torch.tensor([a.place for a in attempts])] = True
    ratio = (teacher.logprobs - student.logprobs).cpu().double()
    apart = torch.zeros_like(ratio)
    own, other = (distributions(s.support.cpu()[real], top_k, tail=True) for s in (student, teacher))
    apart[real] = divergence(own, other, 0.5).double()
    elsewhere = ratio.abs()[real & ~there].mean()
    return {
        **_at_place(reader, attempts, prompts),
        "log_ratio": float(ratio[there].mean()),
        "elsewhere": float(elsewhere),
        "elsewhere_share": float(elsewhere / max(ratio[there].mean().abs(), 1e-12)),
        "divergence": float(apart[there].mean()),
        "divergence_elsewhere": float(apart[real & ~there].mean()),
    }


def _scorer(reader: _Reader) -> ModelScorer:
    return ModelScorer(reader.model, _TOKENS, reader.settings["rollout"]["temperature"])
