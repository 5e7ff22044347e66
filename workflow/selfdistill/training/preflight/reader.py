"""Reads a base model for a pre-flight: draws, grades, and log-probs."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from selfdistill.evaluation.evaluate import sampler_of
from selfdistill.models.chat import encode_messages
from selfdistill.models.loading import load_config, load_generation_config, load_tokenizer, load_weights, pick_device
from selfdistill.models.pictures import PictureReader, picture_reader, problem_pictures
from selfdistill.models.template_check import check_prompts
from selfdistill.randomness import Key
from selfdistill.sampling.interface import Rollout, Sampler, SamplingSettings
from selfdistill.scoring.scorer import ModelScorer
from selfdistill.signals.hints import Assignment
from selfdistill.signals.teacher_contexts import ContextBuilder
from selfdistill.study.run_settings import ChatSettings, RolloutSettings
from selfdistill.study.teacher_settings import HintSettings
from selfdistill.tasks.contexts import Hint
from selfdistill.tasks.graders import Graded, grade_responses
from selfdistill.tasks.prompts import student_messages
from selfdistill.tasks.schema import Problem

Report = Callable[[str], None]
#: Tokens in one forward.
_TOKENS = 16384


@dataclass(frozen=True)
class Attempt:
    """A response of the model.

    Attributes:
        problem: what was asked.
        prompt: token ids of the student's prompt.
        rollout: what was drawn.
        text: the response as text.
        graded: the verdict on it.
        place: number of the first wrong token; None for a right response, and where the grader cannot tell.
        wanted: the id that should be there.
    """

    problem: Problem
    prompt: list[int]
    rollout: Rollout
    text: str
    graded: Graded
    place: int | None = None
    wanted: int | None = None

    @property
    def response(self) -> list[int]:
        """Token ids of the response."""
        return self.rollout.response_ids


@dataclass(frozen=True)
class How:
    """Says how a pre-flight draws, grades and shows contexts: as the training that follows it.

    Attributes:
        rollout, hints, chat: of the runs.
        evaluation: temperature, top_p, top_k, max_response_tokens and engine, as the task is evaluated.
        grader, grading: of the task, with the runs' level of feedback.
        first_role_counts: as of `grade_response`.
    """

    rollout: RolloutSettings
    hints: HintSettings
    chat: ChatSettings
    evaluation: Mapping[str, Any]
    grader: str
    grading: Mapping[str, Any]
    first_role_counts: bool = False

    @property
    def as_trained(self) -> SamplingSettings:
        """Returns how rollouts are drawn."""
        return SamplingSettings.of(self.rollout)

    @property
    def as_evaluated(self) -> SamplingSettings:
        """Returns how evaluations are drawn."""
        return SamplingSettings(**{name: value for name, value in self.evaluation.items() if name != "engine"})


@dataclass(frozen=True, eq=False)  # known by identity, so that what is loaded for it can be kept
class Reader:
    """The base model, with what every row of a pre-flight is made by.

    Attributes:
        folder: of the initial weights.
        tokenizer: of that folder.
        how: see `How`.
        report: takes one line of progress.
    """

    folder: Path
    tokenizer: PreTrainedTokenizerBase
    how: How
    report: Report

    @classmethod
    def of(cls, folder: Path, how: How, report: Report) -> "Reader":
        """Load what is needed at once. Raises UserError as loading does, and for a chat template that does not fit."""
        tokenizer = load_tokenizer(folder)
        check_prompts(tokenizer, how.chat, load_generation_config(folder), report)
        return cls(Path(folder), tokenizer, how, report)

    @functools.cached_property
    def builder(self) -> ContextBuilder:
        """Returns the builder of teachers' prompts; its contexts may hold any part, whatever runs are shown."""
        hints, rollout = self.how.hints, self.how.rollout
        longest = rollout.max_prompt_tokens + rollout.max_response_tokens + hints.max_tokens
        return ContextBuilder(self.tokenizer, hints, longest, self.how.chat, self.pictures)

    @functools.cached_property
    def pictures(self) -> PictureReader | None:
        """Returns what reads problems' pictures; None of a model of text alone."""
        return picture_reader(self.folder, load_config(self.folder), self.how.chat)

    @functools.cached_property
    def scorer(self) -> ModelScorer:
        """Returns what reads log-probs; a model of its own, loaded where a measure asks for it."""
        model = load_weights(self.folder, pick_device()).eval()
        return ModelScorer(model, _TOKENS, self.how.rollout.temperature)

    def encoded(self, problem: Problem) -> Sequence[int]:
        """Return the student's prompt."""
        asked = student_messages(problem, training=True, template=self.how.chat.template)
        return encode_messages(self.tokenizer, asked, self.how.chat, problem_pictures(problem, self.pictures))

    def contexts(self, attempts: Sequence[Attempt], hints: Sequence[Hint]) -> list[list[int]]:
        """Return the teacher's prompts, as training makes them, of hints that have something to show."""
        problems, lengths = [a.problem for a in attempts], [len(a.response) for a in attempts]
        built = self.builder.build(problems, [Assignment(hint) for hint in hints], lengths)
        return [context for context in built.correct if context is not None]

    def sample(self, prompts: Sequence[Sequence[int]], how: SamplingSettings, keys: Sequence[tuple[Key, ...]]):
        """One response to each prompt, by a sampler that was made for the longest of all."""
        return self.sampler.sample(prompts, how, [("preflight", *key) for key in keys])

    def grade(
        self, rollouts: Sequence[Rollout], problems: Sequence[Problem], level: str | None = None
    ) -> tuple[list[str], list[Graded]]:
        """Responses as texts, and graded as in training; `level`: of feedback, where it is another one."""
        texts = [self.tokenizer.decode(each.response_ids, skip_special_tokens=True) for each in rollouts]
        how = self.how
        grading = {**how.grading, **({} if level is None else {"feedback": level})}
        cut, more = [each.finish_reason == "length" for each in rollouts], {"grading": grading}
        more["first_role_counts"] = how.first_role_counts
        return texts, grade_responses(texts, problems, cut, how.grader, **more)

    def answers(
        self, attempts: Sequence[Attempt], prompts: Sequence[Sequence[int]], how: SamplingSettings, rows: Sequence[int]
    ) -> np.ndarray:
        """Says whether a model that reads these prompts answers the attempts' problems rightly (float, one an attempt).

        A row's number names its random stream, so that student and teacher answer with the same one.
        """
        if not prompts:
            return np.zeros(0)
        drawn = self.sample(prompts, how, [("answers", row) for row in rows])
        _, graded = self.grade(drawn, [a.problem for a in attempts])
        return np.array([each.correct for each in graded], dtype=float)

    @functools.cached_property
    def sampler(self) -> Sampler:
        """Returns what draws responses."""
        how = self.how
        most = max(how.rollout.max_response_tokens, how.as_evaluated.max_response_tokens)
        template = len(self.builder.template_ids()) + how.rollout.max_prompt_tokens + how.hints.max_tokens
        engine = how.evaluation.get("engine", "own")
        sampler, told = sampler_of(engine, self.folder, self.tokenizer, template + most, how.chat)
        self.report(f"engine {told}")
        return sampler
