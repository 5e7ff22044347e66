"""The local trainer: rollouts, training steps and validation of one model in this process."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from selfdistill.errors import UserError
from selfdistill.models.chat import ChatSettings, encode_messages, end_ids
from selfdistill.models.first_day import check_lengths, check_model
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
from selfdistill.training.local.engine import LocalEngine
from selfdistill.training.rollouts import StepRollouts
from selfdistill.training.step import TrainingStep

Grade = Callable[[str, Problem], Graded]


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
        grade_cut: Grade | None = None,
    ):
        """Make a trainer of a model that holds the initial weights, in float32.

        Args:
            settings: of the run.
            model, tokenizer: what is trained.
            train_problems: in the order in which they are asked.
            validation_problems: benchmark -> problems.
            grade: the verifier.
            external: other models beside it, as of `LocalEngine`.
            grade_cut: the verifier of responses that were cut at the limit of tokens (None: `grade`), of which some
                feedback speaks.

        Raises:
            UserError: where a prompt is over the limit, contexts could outgrow a model's positions, or the model fails
                what it is tried on (models.first_day, models.saving, sampling.trial).
        """
        self.settings, self._tokenizer = settings, tokenizer
        self._grade, self._grade_cut = grade, grade_cut or grade
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
        self._step = TrainingStep(settings, tokenizer, self._engine)
        self._sampler = _sampler(settings.rollout.engine, model, tokenizer, settings.chat)
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
        metrics = self._step.run(number, rollouts)
        return metrics | {"timing_s/rollout": drawn - began, "timing_s/step": time.monotonic() - began}

    @property
    def recorded(self) -> list[dict[str, Any]] | None:
        """See TrainingStep."""
        return self._step.recorded

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
        rollouts = self._sampler.sample(prompts, SamplingSettings.of(rollout), keys)
        texts = [self._text(r) for r in rollouts]
        graded = list(map(self._graded, rollouts, problems))
        return StepRollouts(
            problems=problems,
            prompts=prompts,
            responses=[r.response_ids for r in rollouts],
            texts=texts,
            answers=[g.answer for g in graded],
            correct=[g.correct for g in graded],
            scores=[g.score for g in graded] if any(g.score != g.correct for g in graded) else None,
            feedback=[g.feedback for g in graded] if any(g.feedback for g in graded) else None,
            topics=[g.topic for g in graded],
            logprobs=[r.logprobs for r in rollouts],
            truncated=[r.finish_reason == "length" for r in rollouts],
            entropy=float(np.concatenate([r.entropies for r in rollouts]).mean()),
        )

    def validate(self) -> dict[str, float]:
        """Accuracy of the current weights on each benchmark, as val/<benchmark>/mean@<draws>.

        The same random streams at every step: curves differ by the weights, not by the draws.
        """
        began, validation, metrics = time.monotonic(), self.settings.validation, {}
        for benchmark, problems in self._validation.items():
            rows = [(p, ids, draw) for p, ids in problems for draw in range(validation.draws)]
            keys = [(self.settings.seed, "validation", p.id, draw) for p, _, draw in rows]
            rollouts = self._sampler.sample([ids for _, ids, _ in rows], SamplingSettings.of(validation), keys)
            right = [self._graded(r, p).correct for r, (p, _, _) in zip(rollouts, rows, strict=True)]
            metrics[f"val/{benchmark}/mean@{validation.draws}"] = float(np.mean(right))
        return metrics | {"timing_s/validation": time.monotonic() - began}

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Weights, optimizer and teacher, as named tensors. There is no generator state: randomness is keyed."""
        return self._engine.state_dict()

    def load_state_dict(self, state: dict[str, dict[str, Tensor]]) -> None:
        """The inverse of state_dict()."""
        self._engine.load_state_dict(state)

    def save(self, folder: Path) -> None:
        """Write weights and tokenizer as transformers loads them, and read them back; see models.saving.save_model."""
        save_model(self.model, self._tokenizer, folder)

    def _encode(self, problem: Problem, *, training: bool) -> list[int]:
        chat = self.settings.chat
        messages = student_messages(problem, training=training, template=chat.template)
        ids = encode_messages(self._tokenizer, messages, chat)
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
        longest = max(longest, self._step.longest_hinted_row() or 0)
        check_lengths(self.model.config, longest, "hints.max_tokens, rollout.max_response_tokens or max_prompt_tokens")
        for role, other in external.items():
            remedy = "rollout.max_response_tokens or max_prompt_tokens, or take another one"
            check_lengths(other.config, self._step.longest_scored_row(), remedy, f"the {role} ({other.name_or_path})")

    def _graded(self, rollout: Rollout, problem: Problem) -> Graded:
        return (self._grade_cut if rollout.finish_reason == "length" else self._grade)(self._text(rollout), problem)

    def _text(self, rollout: Rollout) -> str:
        return self._tokenizer.decode(rollout.response_ids, skip_special_tokens=True)


def _sampler(engine: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, chat: ChatSettings) -> Sampler:
    kinds = {"own": DecodeLoop, "transformers": TransformersGenerate}
    if (kind := kinds.get(engine)) is None:
        raise UserError(f"run config: rollout.engine: expected one of {', '.join(kinds)}, found {engine!r}; change it")
    ends = end_ids(model, tokenizer, chat)
    return kind(model, tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0], ends)
