"""Trains one model in this process: rollouts, training steps and validation."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from selfdistill.errors import UserError
from selfdistill.models.chat import ChatSettings, encode_messages, end_ids, pad_id
from selfdistill.models.first_day import check_lengths, check_model
from selfdistill.models.pictures import PictureReader, problem_pictures
from selfdistill.models.saving import check_savable, save_model
from selfdistill.objectives.methods import build_method
from selfdistill.sampling.decode import DecodeLoop
from selfdistill.sampling.interface import Rollout, Sampler, SamplingSettings
from selfdistill.sampling.transformers_generate import TransformersGenerate
from selfdistill.sampling.trial import check_sampler
from selfdistill.study.teacher_settings import INITIAL
from selfdistill.study.training_settings import TrainingSettings
from selfdistill.tasks.graders import Graded
from selfdistill.tasks.prompts import student_messages
from selfdistill.tasks.schema import Problem
from selfdistill.training.grading import Grade, GradeAll
from selfdistill.training.local.critic import MakeCritic
from selfdistill.training.local.engine import LocalEngine
from selfdistill.training.rollouts import StepRollouts, graded_rollouts
from selfdistill.training.step import TrainingStep


class LocalTrainer:
    """Trains one model on one process. All state that a resume needs is in state_dict()."""

    def __init__(
        self,
        settings: TrainingSettings,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        train_problems: Sequence[Problem],
        validation_problems: dict[str, Sequence[Problem]],
        grade: Grade,
        external: Mapping[str, PreTrainedModel] | None = None,
        grade_all: GradeAll | None = None,
        pictures: PictureReader | None = None,
        critic: MakeCritic | None = None,
    ):
        """Make a trainer of a model that holds the initial weights, in float32.

        Args:
            settings: of the run.
            model, tokenizer: what is trained.
            train_problems: in the order in which they are asked.
            validation_problems: benchmark -> problems.
            grade: the verifier.
            external: other models beside it, as of `LocalEngine`.
            grade_all: the verifier of many responses at once, which is told which of them were cut at the limit of
                tokens (graders.grade_responses); None: `grade`, one after the other.
            pictures: the model's reader of pictures; None of a model of text alone.
            critic: makes the run's critic, which may be the student itself; None without one.

        Raises:
            UserError: where a prompt is over the limit, contexts could outgrow a model's positions, or the model fails
                what it is tried on (models.first_day, models.saving, sampling.trial).
        """
        self.settings, self.tokenizer, self._pictures = settings, tokenizer, pictures
        self._grade_all = grade_all or (lambda texts, problems, cut: list(map(grade, texts, problems)))
        self.model = model
        check_model(model)
        check_savable(model, tokenizer)
        self._engine = LocalEngine(
            model,
            build_method(settings.implementation, settings.objective),
            settings.teacher,
            settings.optimizer,
            micro_batch_tokens=settings.update.micro_batch_tokens,
            temperature=settings.rollout.temperature,
            keep_initial=settings.update.kl_coef > 0 or settings.teacher.reference == INITIAL,
            external=external,
        )
        self._sampler = _sampler(settings.rollout.engine, model, tokenizer, settings.chat)
        made = None if critic is None else critic(self._sampler, model, tokenizer)
        self.training_step = TrainingStep(settings, tokenizer, self._engine, pictures, made)
        self._train = [(p, self._encode(p, training=True)) for p in train_problems]
        self._validation = {
            name: [(p, self._encode(p, training=False)) for p in problems[: settings.validation.problems]]
            for name, problems in validation_problems.items()
        }
        self._check_positions(external or {})
        check_sampler(self._sampler, model, settings.rollout.engine)

    def step(self, number: int) -> dict[str, float]:
        """Training step `number`, counted from 1; returns its metrics."""
        began = time.monotonic()
        rollouts = self.roll_out(number)
        drawn = time.monotonic()
        metrics = self.learn(number, rollouts)
        return metrics | {"timing_s/rollout": drawn - began, "timing_s/step": time.monotonic() - began}

    def learn(self, number: int, rollouts: StepRollouts) -> dict[str, float]:
        """Update the weights by the rollouts of a training step; returns its metrics."""
        return self.training_step.run(number, rollouts, self.training_step.critiques(number, rollouts))

    @property
    def recorded(self) -> list[dict[str, Any]] | None:
        """Returns rows of the last step for records.parquet, one a rollout; None at a step that keeps none."""
        return self.training_step.recorded

    def roll_out(self, number: int) -> StepRollouts:
        """Draw and grade the rollouts of a training step."""
        rollout = self.settings.rollout
        first = (number - 1) * rollout.prompts_per_step  # in file order, round and round
        chosen = [self._train[(first + i) % len(self._train)] for i in range(rollout.prompts_per_step)]
        problems = [problem for problem, _ in chosen for _ in range(rollout.group_size)]
        prompts = [ids for _, ids in chosen for _ in range(rollout.group_size)]
        keys = [
            (self.settings.seed, "rollout", number, prompt, member)
            for prompt in range(rollout.prompts_per_step)
            for member in range(rollout.group_size)
        ]
        how = replace(SamplingSettings.of(rollout), support=self.training_step.sampled_support)
        rollouts = self._sampler.sample(prompts, how, keys)
        texts, graded = self._graded(rollouts, problems)
        return graded_rollouts(problems, prompts, rollouts, texts, graded)

    def validate(self) -> dict[str, float]:
        """Accuracy of the current weights on each benchmark, as val/<benchmark>/mean@<draws>.

        The same random streams at every step: curves differ by the weights, not by the draws.
        """
        began, validation, metrics = time.monotonic(), self.settings.validation, {}
        for benchmark, problems in self._validation.items():
            rows = [(p, ids, draw) for p, ids in problems for draw in range(validation.draws)]
            keys = [(self.settings.seed, "validation", p.id, draw) for p, _, draw in rows]
            rollouts = self._sampler.sample([ids for _, ids, _ in rows], SamplingSettings.of(validation), keys)
            _, graded = self._graded(rollouts, [p for p, _, _ in rows])
            metrics[f"val/{benchmark}/mean@{validation.draws}"] = float(np.mean([each.correct for each in graded]))
        return metrics | {"timing_s/validation": time.monotonic() - began}

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Weights, optimizer and teacher, as named tensors. There is no generator state: randomness is keyed."""
        return self._engine.state_dict()

    def load_state_dict(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Restore what state_dict() gave, to the last bit."""
        self._engine.load_state_dict(state)

    def save(self, folder: Path) -> None:
        """Write weights and tokenizer as transformers loads them, and read them back; see models.saving.save_model."""
        save_model(self.model, self.tokenizer, folder, self._pictures)

    def _encode(self, problem: Problem, *, training: bool) -> Sequence[int]:
        chat = self.settings.chat
        messages = student_messages(problem, training=training, template=chat.template)
        ids = encode_messages(self.tokenizer, messages, chat, problem_pictures(problem, self._pictures))
        limit = self.settings.rollout.max_prompt_tokens
        if len(ids) > limit:
            raise UserError(
                f"problem {problem.id}: its prompt has {len(ids)} tokens, over rollout.max_prompt_tokens = {limit}; "
                "raise the limit or take the problem out of the data"
            )
        return ids

    def _check_positions(self, external: Mapping[str, PreTrainedModel]) -> None:
        rollout, validation = self.settings.rollout, self.settings.validation
        longest = rollout.max_prompt_tokens + max(rollout.max_response_tokens, validation.max_response_tokens)
        longest = max(longest, self.training_step.longest_hinted_row() or 0)
        check_lengths(self.model.config, longest, "hints.max_tokens, rollout.max_response_tokens or max_prompt_tokens")
        for role, other in external.items():
            remedy = "rollout.max_response_tokens or max_prompt_tokens, or take another one"
            check_lengths(
                other.config, self.training_step.longest_scored_row(), remedy, f"the {role} ({other.name_or_path})"
            )

    def _graded(self, rollouts: Sequence[Rollout], problems: Sequence[Problem]) -> tuple[list[str], Sequence[Graded]]:
        texts = [self.tokenizer.decode(each.response_ids, skip_special_tokens=True) for each in rollouts]
        return texts, self._grade_all(texts, problems, [each.finish_reason == "length" for each in rollouts])


def _sampler(engine: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, chat: ChatSettings) -> Sampler:
    kinds = {"own": DecodeLoop, "transformers": TransformersGenerate}
    if (kind := kinds.get(engine)) is None:
        raise UserError(f"run config: rollout.engine: expected one of {', '.join(kinds)}, found {engine!r}; change it")
    ends = end_ids(model, tokenizer, chat)
    return kind(model, pad_id(tokenizer, ends), ends)
