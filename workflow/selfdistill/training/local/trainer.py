"""One training step after another: rollouts, rewards, hints, teacher scores, updates, validation."""

import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from selfdistill.errors import UserError
from selfdistill.objectives.advantages import group_advantages
from selfdistill.objectives.aggregation import token_weights
from selfdistill.objectives.batch import Batch, Student, Targets, mean_over
from selfdistill.objectives.methods import build_method, micro_batch_loss
from selfdistill.objectives.policy_gradient import importance_weights
from selfdistill.randomness import generator
from selfdistill.sampling.chat import encode_chat, end_ids
from selfdistill.sampling.decode import DecodeLoop
from selfdistill.sampling.interface import Rollout, Sampler
from selfdistill.sampling.scoring import Scores, Sequences, micro_batches, read_responses, score
from selfdistill.sampling.transformers_generate import TransformersGenerate
from selfdistill.signals.guards import over_uniform, teacher_guards
from selfdistill.signals.hints import Assignment, Candidate, assign_hints, hint_metrics
from selfdistill.signals.scoring import ContextBuilder, TeacherContexts, score_contexts
from selfdistill.signals.teachers import Teacher, frozen_copy
from selfdistill.tasks.graders import Graded
from selfdistill.tasks.prompts import Hint, student_prompt
from selfdistill.tasks.schema import Problem
from selfdistill.training.local.settings import LocalSettings

Grade = Callable[[str, Problem], Graded]


@dataclass(frozen=True)
class _Step:
    """A step's B = prompts x group rollouts, row by row."""

    problems: list[Problem]
    prompts: list[list[int]]
    rollouts: list[Rollout]
    texts: list[str]
    graded: list[Graded]
    rewards: Tensor

    @property
    def sequences(self) -> Sequences:
        return Sequences(self.prompts, [rollout.response_ids for rollout in self.rollouts])

    @property
    def lengths(self) -> list[int]:
        """Tokens of each response."""
        return [len(rollout.response_ids) for rollout in self.rollouts]


class LocalTrainer:
    """Trains one model on one process. All state that a resume needs is in state_dict()."""

    def __init__(
        self,
        settings: LocalSettings,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        train_problems: Sequence[Problem],
        validation_problems: dict[str, Sequence[Problem]],
        grade: Grade,
    ):
        """`model` holds the initial weights, in float32; `validation_problems` maps benchmarks to problems.

        Raises UserError where a prompt is over the limit, or hinted contexts could outgrow the model's positions.
        """
        self.settings, self._grade, self._tokenizer = settings, grade, tokenizer
        self._method = build_method(settings.implementation, settings.objective)
        self.model = model
        self._teacher = Teacher(settings.teacher, model, model.dtype)
        self._reference = frozen_copy(model, model.dtype) if settings.update.kl_coef else None
        limits = settings.rollout.max_prompt_tokens + settings.rollout.max_response_tokens
        self._contexts = ContextBuilder(tokenizer, settings.hints, limits + settings.hints.max_tokens)
        self._sampler = _sampler(settings.rollout.engine, model, tokenizer)
        self._train = [(p, self._encode(p, training=True)) for p in train_problems]
        self._validation = {
            name: [(p, self._encode(p, training=False)) for p in problems[: settings.validation.problems]]
            for name, problems in validation_problems.items()
        }
        self._check_positions()
        self._check_method()
        self._optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=settings.optimizer.learning_rate,
            weight_decay=settings.optimizer.weight_decay,
            betas=(0.9, 0.999),
        )
        self._timings: dict[str, float] = {}

    # ---------------------------------------------------------------------------------------------- one training step

    def step(self, number: int) -> dict[str, float]:
        """Training step `number`, counted from 1; returns its metrics."""
        self._timings, began = {}, time.monotonic()
        with self._timed("rollout"):
            step = self._roll_out(number)
        advantages = group_advantages(step.rewards, self._groups(len(step.rollouts)))
        with self._timed("old_logprobs"):
            batch = self._base_batch(step, advantages, number)
        if self._reference is not None:
            with self._timed("reference"):
                batch = self._with_reference(step, batch)
        contexts, metrics = None, _rollout_metrics(step)
        if self._method.needs.correct_hint:
            assignments = self._hints(step, number)
            contexts = self._contexts.build([p.problem for p in step.problems], assignments, step.lengths)
            metrics |= hint_metrics(assignments) | {"hints/truncated_share": contexts.truncated_share}
            kept = torch.tensor([assignment.kept for assignment in assignments], device=self.model.device)
            batch = batch.extended(kept=kept)
        metrics |= self._update(step, batch, contexts, number)
        self._teacher.tick("training_steps")
        self._timings["step"] = time.monotonic() - began
        return metrics | {f"timing_s/{name}": seconds for name, seconds in self._timings.items()}

    def _roll_out(self, number: int) -> _Step:
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
        rollouts = self._sampler.sample(prompts, rollout.sampling, keys)
        texts = [self._text(r) for r in rollouts]
        graded = [self._grade(text, problem) for text, problem in zip(texts, problems, strict=True)]
        rewards = torch.tensor([float(g.correct) for g in graded], device=self.model.device)
        if self.settings.reward.shuffle:
            order = generator(self.settings.seed, "shuffled rewards", number).permutation(len(rewards))
            rewards = rewards[torch.from_numpy(order)]
        return _Step(problems, prompts, rollouts, texts, graded, rewards)

    def _base_batch(self, step: _Step, advantages: Tensor, number: int) -> Batch:
        sampled, mask = _padded([_sampled_logprobs(rollout) for rollout in step.rollouts], self.model.device)
        batch = Batch(response_mask=mask, advantages=advantages, old_logprobs=sampled, step=number)
        batch = batch.extended(correct=step.rewards > 0)
        if self.settings.rollout.old_logprobs == "sampler":
            return batch
        old = self._score(self.model, step.sequences, mask.shape[1]).logprobs
        threshold = self.settings.rollout.importance_threshold
        weights = None if threshold is None else importance_weights(old, sampled, threshold)
        return batch.extended(old_logprobs=old, importance=weights)

    def _hints(self, step: _Step, number: int) -> list[Assignment]:
        size, assignments = self.settings.rollout.group_size, []
        for prompt in range(self.settings.rollout.prompts_per_step):
            rows = range(prompt * size, (prompt + 1) * size)
            group = [Candidate(float(step.rewards[i]), step.texts[i], step.graded[i].answer) for i in rows]
            problem = step.problems[rows[0]]
            reference = Hint(problem.solution, problem.answer)
            key = (self.settings.seed, number, prompt)
            assignments += assign_hints(group, reference, self.settings.hints, self._method.needs, key)
        return assignments

    def _with_reference(self, step: _Step, batch: Batch) -> Batch:
        scores = self._score(self._reference, step.sequences, batch.response_mask.shape[1])
        return batch.extended(reference_logprobs=scores.logprobs)

    def _update(self, step: _Step, batch: Batch, contexts: TeacherContexts | None, number: int) -> dict[str, float]:
        """Optimizer steps over consecutive shares of the prompts; each share is a global batch of its own."""
        settings = self.settings
        rate = settings.optimizer.learning_rate * min(1.0, number / max(settings.optimizer.warmup_steps, 1))
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        share = settings.update.prompts_per_update * settings.rollout.group_size
        records, skipped = [], 0
        for begin in range(0, len(step.rollouts), share):
            rows = list(range(begin, begin + share))
            part = batch.rows(torch.tensor(rows, device=batch.advantages.device))
            part_contexts = None if contexts is None else contexts.rows(rows)
            record, updated = self._optimizer_step(_sequences_of(step.sequences, rows), part, part_contexts)
            records.append(record)
            skipped += not updated
        return _combined(records) | {"actor/learning_rate": rate, "actor/skipped_updates": skipped}

    def _optimizer_step(
        self, sequences: Sequences, batch: Batch, contexts: TeacherContexts | None
    ) -> tuple[dict[str, float], bool]:
        """Metrics of one update from one global batch, and whether it was made.

        It is skipped, the optimizer's state untouched, where no token carries a loss of the method's own (a
        KL term alone is no reason to move), and where the gradient is not finite.
        """
        settings, kept, metrics = self.settings, batch.token_mask, {}
        if not kept.any():
            return {}, False
        if contexts is not None:
            batch, metrics = self._with_signal(sequences, batch, contexts)
        targets = self._method.targets(batch, settings.update.aggregation)
        if not targets.weights.any():
            return metrics, False
        kl_weights = settings.update.kl_coef * token_weights(kept, settings.update.aggregation, batch.rollouts)
        with self._timed("update"):
            updated = self._descend(sequences, batch, targets, kl_weights)
        if updated is None:
            return metrics | targets.metrics | {"actor/nonfinite_updates": 1}, False
        return metrics | targets.metrics | updated, True

    def _with_signal(
        self, sequences: Sequences, batch: Batch, contexts: TeacherContexts
    ) -> tuple[Batch, dict[str, float]]:
        """The batch with all that the method wants to know before the student's forward.

        Teacher and student are read once an optimizer step, with the weights that they have then.
        """
        needs, width, teacher = self._method.needs, batch.response_mask.shape[1], self._teacher.model
        student_ids = None
        chosen_by_student = needs.support is not None and needs.support.chooser == "student" and needs.support.top_k > 0
        if needs.current_logprobs or chosen_by_student:
            # Of no other rows will anything be read.
            rows = [i for i, hinted in enumerate(contexts.hinted) if hinted]
            top_k = needs.support.top_k if chosen_by_student else None
            with self._timed("survey"):
                survey = self._score(self.model, _sequences_of(sequences, rows), width, top_k=top_k)
            current = torch.zeros_like(batch.old_logprobs)
            current[rows] = survey.logprobs
            batch = batch.extended(current_logprobs=current)
            if survey.ids is not None:
                student_ids = survey.ids.new_zeros(*batch.response_mask.shape, top_k)
                student_ids[rows] = survey.ids
        with self._timed("teacher"):
            scores = score_contexts(
                teacher,
                contexts,
                sequences.responses,
                width,
                self.settings.update.micro_batch_tokens,
                self._temperature,
                support=needs.support,
                student_ids=student_ids,
                entropy=needs.teacher_entropy,
            )
        batch = batch.extended(
            correct_logprobs=scores.correct_logprobs,
            wrong_logprobs=scores.wrong_logprobs,
            wrong_mask=scores.wrong_mask,
            support_ids=scores.support_ids,
            correct_support=scores.correct_support,
            wrong_support=scores.wrong_support,
            teacher_entropy=scores.entropy,
            hinted=scores.hinted,
        )
        metrics: dict[str, float] = {"tokens/teacher_forwarded": scores.tokens_forwarded}
        hinted = batch.hinted_mask
        if hinted.any():
            mean = mean_over(scores.correct_logprobs, hinted)
            metrics |= {
                "teacher/logprob_mean": mean,
                "teacher/gap_abs_mean": mean_over((scores.correct_logprobs - batch.old_logprobs).abs(), hinted),
                "guard/teacher_over_uniform": over_uniform(mean, self.model.config.vocab_size),
            }
        rollouts = self.settings.guards.null_contrast_rollouts
        with self._timed("guards"):
            guards = teacher_guards(teacher, contexts, sequences.responses, scores, rollouts, self._temperature)
        return batch, metrics | guards

    def _descend(
        self, sequences: Sequences, batch: Batch, targets: Targets, kl_weights: Tensor
    ) -> dict[str, float] | None:
        """Forward, backward and one step of the optimizer; None, and no step, if the gradient is not finite."""
        settings, needs = self.settings, self._method.needs
        top_k = 0 if needs.support is not None and batch.support_ids is None else None
        # Rows without any weight are not forwarded: they left the batch, or the method wants nothing of them.
        live = ((targets.weights != 0) | (kl_weights != 0)).any(dim=1).nonzero()[:, 0].tolist()
        total, tokens, drift_sum, outside = 0.0, 0, 0.0, 0
        watched: dict[str, tuple[float, int]] = {}
        self._optimizer.zero_grad(set_to_none=True)
        for chunk in micro_batches(_sequences_of(sequences, live), settings.update.micro_batch_tokens):
            rows = [live[i] for i in chunk]
            index = torch.tensor(rows, device=batch.advantages.device)
            part, part_targets = batch.rows(index), targets.rows(index)
            read = read_responses(self.model, sequences, rows, self._temperature, top_k=top_k, ids=part.support_ids)
            width = read.logprobs.shape[1]
            part, part_targets = part.narrowed(width), part_targets.narrowed(width)
            student = Student(read.logprobs, read.support)
            loss, sums = micro_batch_loss(self._method, student, part, part_targets, kl_weights[index, :width])
            loss.backward()
            total += float(loss.detach())
            for name, (value, count) in sums.items():
                before = watched.get(name, (0.0, 0))
                watched[name] = (before[0] + value, before[1] + count)
            drift = (read.logprobs.detach() - part.old_logprobs)[part.token_mask]
            tokens += len(drift)
            drift_sum += float(drift.sum())
            outside += int((drift.exp() - 1).abs().gt(0.2).sum())
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), settings.optimizer.max_grad_norm))
        if not np.isfinite(norm):
            return None
        self._optimizer.step()
        self._teacher.tick("optimizer_steps")
        weights = batch.importance
        return {name: value / count for name, (value, count) in watched.items() if count} | {
            "actor/loss": total,
            "actor/grad_norm": norm,
            "actor/approx_kl": -drift_sum / tokens,
            "actor/ratio_outside_0.2": outside / tokens,
            "tokens/updated": tokens,
            **({} if weights is None else {"actor/importance_mean": mean_over(weights, batch.token_mask)}),
        }

    # ----------------------------------------------------------------------------------------------------- validation

    def validate(self) -> dict[str, float]:
        """Accuracy of the current weights on each benchmark, as val/<benchmark>/mean@<draws>.

        The same random streams at every step: curves differ by the weights, not by the draws.
        """
        began, validation, metrics = time.monotonic(), self.settings.validation, {}
        for benchmark, problems in self._validation.items():
            rows = [(p, ids, draw) for p, ids in problems for draw in range(validation.draws)]
            keys = [(self.settings.seed, "validation", p.id, draw) for p, _, draw in rows]
            rollouts = self._sampler.sample([ids for _, ids, _ in rows], validation.sampling, keys)
            right = [self._grade(self._text(r), p).correct for r, (p, _, _) in zip(rollouts, rows, strict=True)]
            metrics[f"val/{benchmark}/mean@{validation.draws}"] = float(np.mean(right))
        return metrics | {"timing_s/validation": time.monotonic() - began}

    # ---------------------------------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Weights, optimizer and teacher, as named tensors. There is no generator state: randomness is keyed."""
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        optimizer = {
            f"{names[parameter]}.{key}": torch.as_tensor(value)
            for parameter, state in self._optimizer.state.items()
            for key, value in state.items()
        }
        weights = {name: parameter.detach() for name, parameter in self.model.named_parameters()}
        return {"weights": weights, "optimizer": optimizer, "teacher": self._teacher.state_dict()}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, dict[str, Tensor]]) -> None:
        """The inverse of state_dict()."""
        for name, parameter in self.model.named_parameters():
            parameter.copy_(state["weights"][name])
            prefix = f"{name}."
            entries = {key.removeprefix(prefix): v for key, v in state["optimizer"].items() if key.startswith(prefix)}
            if entries:
                self._optimizer.state[parameter] = {
                    key: value.clone() if key == "step" else value.to(parameter.device).clone()
                    for key, value in entries.items()
                }
        self._teacher.load_state_dict(state["teacher"])

    def save(self, folder: Path) -> None:
        """Write weights and tokenizer as transformers loads them."""
        self.model.save_pretrained(folder, safe_serialization=True)
        self._tokenizer.save_pretrained(folder)

    # -------------------------------------------------------------------------------------------------------- helpers

    def _encode(self, problem: Problem, *, training: bool) -> list[int]:
        ids = encode_chat(self._tokenizer, student_prompt(problem.problem, training=training))
        limit = self.settings.rollout.max_prompt_tokens
        if len(ids) > limit:
            raise UserError(
                f"problem {problem.id}: its prompt has {len(ids)} tokens, over rollout.max_prompt_tokens = {limit}; "
                "raise the limit or take the problem out of the data"
            )
        return ids

    def _check_positions(self) -> None:
        rollout, hints = self.settings.rollout, self.settings.hints
        longest = rollout.max_prompt_tokens + max(
            rollout.max_response_tokens, self.settings.validation.max_response_tokens
        )
        if self._method.needs.correct_hint:
            empty = student_prompt("", training=True)
            template = len(self._contexts.template_ids()) - len(encode_chat(self._tokenizer, empty))
            hinted = rollout.max_prompt_tokens + max(template, 0) + hints.max_tokens + rollout.max_response_tokens
            longest = max(longest, hinted)
        positions = getattr(self.model.config, "max_position_embeddings", None)
        if positions is not None and longest > positions:
            raise UserError(
                f"run config: prompts, hints and responses can reach {longest} tokens, but the model has "
                f"{positions} positions; lower hints.max_tokens, rollout.max_response_tokens or max_prompt_tokens"
            )

    def _check_method(self) -> None:
        needs, settings = self._method.needs, self.settings
        if needs.correct_hint and (settings.hints.source == "none" or settings.teacher.kind == "none"):
            raise UserError(
                f"method {settings.implementation} needs a hinted teacher: set hints.source and teacher.kind "
                f"(they are {settings.hints.source!r} and {settings.teacher.kind!r})"
            )
        vocabulary = self.model.config.vocab_size
        if needs.support is not None and needs.support.top_k > vocabulary:
            raise UserError(
                f"run config: objective.top_k is {needs.support.top_k}, but the model's vocabulary has {vocabulary} "
                "tokens; lower it, or set it to 0 for the full vocabulary"
            )

    def _groups(self, rows: int) -> Tensor:
        return torch.arange(rows, device=self.model.device) // self.settings.rollout.group_size

    def _text(self, rollout: Rollout) -> str:
        return self._tokenizer.decode(rollout.response_ids, skip_special_tokens=True)

    @property
    def _temperature(self) -> float:
        return self.settings.rollout.temperature or 1.0

    def _score(self, model: PreTrainedModel, sequences: Sequences, width: int, top_k: int | None = None) -> Scores:
        budget = self.settings.update.micro_batch_tokens
        return score(model, sequences, width, budget, self._temperature, top_k=top_k)

    @contextmanager
    def _timed(self, name: str):
        began = time.monotonic()
        yield
        self._timings[name] = self._timings.get(name, 0.0) + time.monotonic() - began


def _sampler(engine: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Sampler:
    kind = {"own": DecodeLoop, "transformers": TransformersGenerate}[engine]
    ends = end_ids(model, tokenizer)
    return kind(model, tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0], ends)


def _sampled_logprobs(rollout: Rollout) -> np.ndarray:
    """Raises UserError where a sampler gave none: without them importance correction would silently be off."""
    if len(rollout.logprobs) != len(rollout.response_ids) or not np.isfinite(rollout.logprobs).all():
        raise UserError(
            "rollout.engine: the sampler gave no log-probs for some tokens it drew; old log-probs and "
            "rollout.importance_threshold need them: use another engine, or fix this one"
        )
    return rollout.logprobs


def _combined(records: Sequence[dict[str, float]]) -> dict[str, float]:
    """Metrics of a step's optimizer steps as one: tokens add up, maxima stay maxima, others are averaged.

    A guard or signal may be missing where an optimizer step had nothing to measure it on.
    """
    combined = {}
    for name in dict.fromkeys(name for record in records for name in record):
        values = [record[name] for record in records if name in record]
        if name.startswith("tokens/") or name == "actor/nonfinite_updates":
            combined[name] = sum(values)
        else:
            combined[name] = max(values) if name.endswith("_max") else sum(values) / len(values)
    return combined


def _sequences_of(sequences: Sequences, rows: list[int]) -> Sequences:
    return Sequences([sequences.prompts[i] for i in rows], [sequences.responses[i] for i in rows])


def _padded(values: Sequence[np.ndarray], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ragged rows as (B, T) with zeros behind, and the mask of real entries."""
    width = max(map(len, values))
    padded = torch.zeros(len(values), width)
    mask = torch.zeros(len(values), width, dtype=torch.bool)
    for i, row in enumerate(values):
        padded[i, : len(row)] = torch.from_numpy(row)
        mask[i, : len(row)] = True
    return padded.to(device), mask.to(device)


def _rollout_metrics(step: _Step) -> dict[str, float]:
    entropies = np.concatenate([rollout.entropies for rollout in step.rollouts])
    return {
        "reward/mean": float(step.rewards.mean()),
        "reward/boxed_share": float(np.mean([g.answer is not None for g in step.graded])),
        "response/length_mean": float(np.mean(step.lengths)),
        "response/truncated": float(np.mean([rollout.finish_reason == "length" for rollout in step.rollouts])),
        "actor/entropy": float(entropies.mean()),
        "tokens/generated": sum(step.lengths),
    }
