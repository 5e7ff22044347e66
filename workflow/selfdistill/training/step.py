"""Makes one training step from its rollouts: advantages, hints, teacher scores, updates. Shared by all trainers."""

import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from selfdistill.critics.step_critiques import CritiquedSteps, StepCritiques
from selfdistill.models.chat import encode_chat
from selfdistill.models.pictures import PictureReader
from selfdistill.objectives.advantages import group_advantages
from selfdistill.objectives.aggregation import token_weights
from selfdistill.objectives.batch import Batch, Targets, mean_over
from selfdistill.objectives.methods import build_method, rows_read
from selfdistill.objectives.policy_gradient import importance_weights
from selfdistill.randomness import generator
from selfdistill.runs.metrics import NONFINITE, SKIPPED
from selfdistill.scoring.query import Query
from selfdistill.scoring.scores import Sequences
from selfdistill.signals.evidence_controls import controlled_scores
from selfdistill.signals.guards import over_uniform, teacher_guards
from selfdistill.signals.hints import (
    Assignment,
    group_metrics,
    hint_metrics,
    without_unread,
)
from selfdistill.signals.placebo import delta_metrics
from selfdistill.signals.teacher_contexts import ContextBuilder, TeacherContexts, plain_contexts
from selfdistill.signals.teacher_scores import TeacherScores, score_contexts
from selfdistill.study.critic_settings import CRITIQUE
from selfdistill.study.training_settings import TrainingSettings
from selfdistill.tasks.contexts import Hint
from selfdistill.tasks.prompts import asked
from selfdistill.training.engine import Engine
from selfdistill.training.method_checks import check_method
from selfdistill.training.recorder import chosen_rows, rollout_facts, token_facts
from selfdistill.training.rollouts import StepRollouts, check_logprobs, padded, rollout_metrics
from selfdistill.training.step_critic import step_critiques
from selfdistill.training.step_hints import step_assignments, step_candidates
from selfdistill.training.update import update_metrics


class TrainingStep:
    """Turns the rollouts of a step into updates of an engine's model. No step depends on what it keeps of the last."""

    def __init__(
        self,
        settings: TrainingSettings,
        tokenizer: PreTrainedTokenizerBase,
        engine: Engine,
        pictures: PictureReader | None = None,
        critic: CritiquedSteps | None = None,
    ):
        """Take a run's parts. Raises UserError where the method cannot be had with the other settings.

        Args:
            settings: of the run.
            tokenizer: of the student.
            engine: of the trainer.
            pictures: as of ContextBuilder.
            critic: of a run that has one.
        """
        self.settings, self._engine, self._tokenizer, self._critic = settings, engine, tokenizer, critic
        self.method = build_method(settings.implementation, settings.objective)
        self.contexts = ContextBuilder(tokenizer, settings.hints, settings.max_sequence_tokens, settings.chat, pictures)
        self._timings: dict[str, float] = {}
        #: Of the last step that was run: rows for records.parquet by row of the batch; None where none were due.
        self._recorded: dict[int, dict[str, Any]] | None = None
        check_method(self.method, settings, engine)

    @property
    def recorded(self) -> list[dict[str, Any]] | None:
        """Returns what the last step that was run adds to the run's records; None where none were due."""
        return None if self._recorded is None else [row for row in self._recorded.values() if "weights" in row]

    @property
    def sampled_support(self) -> int:
        """Returns how many ids of each distribution a sampler with the student's weights should return; 0 for none.

        They are those that the student would choose, to rounding, where it is as it was drawn from: before the only
        update of a step. That saves the forward that looks for them.
        """
        needs, rollout, update = self.method.needs, self.settings.rollout, self.settings.update
        once = update.prompts_per_update == rollout.prompts_per_step and not needs.current_logprobs
        return needs.support.top_k if once and needs.support is not None and needs.support.chooser == "student" else 0

    def longest_scored_row(self) -> int:
        """Count the tokens of the longest context and response that a teacher is asked about."""
        rollout = self.settings.rollout
        return self.longest_hinted_row() or rollout.max_prompt_tokens + rollout.max_response_tokens

    def longest_hinted_row(self) -> int | None:
        """Count the tokens of the longest hinted prompt and response; None without a hinted teacher."""
        if not self.method.needs.correct_hint:
            return None
        chat = self.settings.chat
        empty = encode_chat(self._tokenizer, asked("", training=True, template=chat.template), chat)
        template = len(self.contexts.template_ids()) - len(empty)
        return self.settings.max_sequence_tokens + max(template, 0)

    def critiques(self, number: int, rollouts: StepRollouts) -> StepCritiques | None:
        """Asks the run's critic about a step's rollouts, for `run`; None without one. Raises UserError as it does."""
        if self._critic is None:
            return None
        rewards = self._rewards(rollouts, number)
        return step_critiques(self._critic, rollouts, self._advantages(rewards), self.method, number)

    def run(self, number: int, rollouts: StepRollouts, critiques: StepCritiques | None = None) -> dict[str, float]:
        """Training step `number`, counted from 1; returns its metrics. critiques: of its rollouts, of `critiques`."""
        self._timings, self._recorded, engine = {}, None, self._engine
        rewards = self._rewards(rollouts, number)
        metrics = rollout_metrics(rollouts, rewards) | ({} if critiques is None else critiques.metrics)
        with self.timed("old_logprobs"):
            advantages = self._advantages(rewards)
            batch, measured = self._base_batch(rollouts, rewards, advantages, number)
        metrics |= measured
        if self.settings.update.kl_coef:
            with self.timed("reference"):
                scores = engine.scorer("initial")(rollouts.sequences, batch.response_mask.shape[1])
            batch = batch.extended(reference_logprobs=scores.logprobs)
        if self.method.needs.reference:
            with self.timed("reference"):
                scores = engine.scorer("reference")(rollouts.sequences, batch.response_mask.shape[1])
            batch = batch.extended(teacher_reference_logprobs=scores.logprobs)
        contexts = None
        if self.method.needs.teacher:
            read = rows_read(self.method, batch.advantages, number).tolist()
            if self.method.needs.plain:
                assignments, contexts = [Assignment()] * len(read), plain_contexts(rollouts.prompts)
            else:
                assignments, contexts, of_groups = self.hinted(rollouts, rewards, number, critiques)
                assignments = without_unread(assignments, read)
                metrics |= of_groups | hint_metrics(assignments) | {"hints/truncated_share": contexts.truncated_share}
                batch = batch.extended(kept=torch.tensor([a.kept for a in assignments], device=engine.device))
            contexts = replace(contexts, read=read)
            if self.settings.records.due(number):
                self._begin_records(number, rollouts, rewards, assignments, contexts)
        metrics |= self._update(rollouts.sequences, batch, contexts, number)
        engine.tick("training_steps")
        return metrics | {f"timing_s/{name}": seconds for name, seconds in self._timings.items()}

    def hinted(
        self, rollouts: StepRollouts, rewards: Tensor, number: int, critiques: StepCritiques | None = None
    ) -> tuple[list[Assignment], TeacherContexts, dict[str, float]]:
        """Returns the contexts of a step's rollouts, as text and as ids, and metrics of the groups."""
        said = None if critiques is None else critiques.shown
        groups = step_candidates(rollouts, rewards, self.settings, number, said)
        assignments = step_assignments(rollouts, groups, self.settings, self.method.needs, number)
        contexts = self.contexts.build(rollouts.problems, assignments, rollouts.lengths)
        return assignments, contexts, group_metrics(groups, self.settings.hints)

    def _rewards(self, rollouts: StepRollouts, number: int) -> Tensor:
        rewards = torch.tensor([float(each) for each in rollouts.correct], device=self._engine.device)
        if self.settings.reward.shuffle:
            order = generator(self.settings.seed, "shuffled rewards", number).permutation(len(rewards))
            rewards = rewards[torch.from_numpy(order)]
        return rewards

    def _advantages(self, rewards: Tensor) -> Tensor:
        groups = torch.arange(len(rewards), device=rewards.device) // self.settings.rollout.group_size
        return group_advantages(rewards, groups, deviation=self.settings.reward.deviation)

    def _base_batch(
        self, rollouts: StepRollouts, rewards: Tensor, advantages: Tensor, number: int
    ) -> tuple[Batch, dict[str, float]]:
        """The batch before any teacher, and the entropy where only the trainer can tell it."""
        check_logprobs(rollouts)
        sampled, mask = (each.to(self._engine.device) for each in padded(rollouts.logprobs))
        batch = Batch(response_mask=mask, advantages=advantages, old_logprobs=sampled, step=number)
        batch = batch.extended(correct=rewards > 0)
        if rollouts.support_ids is not None:
            batch = batch.extended(support_ids=padded(rollouts.support_ids, torch.int64)[0].to(self._engine.device))
        unknown = rollouts.entropy is None
        if self.settings.rollout.old_logprobs == "sampler" and not unknown:
            return batch, {}
        scores = self._engine.scorer("student")(rollouts.sequences, mask.shape[1], Query(entropy=unknown))
        measured = {"actor/entropy": mean_over(scores.entropy, mask)} if unknown else {}
        measured["rollout/logprob_gap_abs_mean"] = mean_over((scores.logprobs - sampled).abs(), mask)
        if self.settings.rollout.old_logprobs == "sampler":
            return batch, measured
        threshold = self.settings.rollout.importance_threshold
        weights = None if threshold is None else importance_weights(scores.logprobs, sampled, threshold)
        return batch.extended(old_logprobs=scores.logprobs, importance=weights), measured

    def _update(
        self, sequences: Sequences, batch: Batch, contexts: TeacherContexts | None, number: int
    ) -> dict[str, float]:
        """Optimizer steps over consecutive shares of the prompts; each share is a global batch of its own."""
        rate = self.settings.rate(number)
        share = self.settings.update.prompts_per_update * self.settings.rollout.group_size
        records, skipped = [], 0
        for begin in range(0, len(batch.advantages), share):
            rows = list(range(begin, begin + share))
            part = batch.rows(torch.tensor(rows, device=batch.advantages.device))
            part_contexts = None if contexts is None else contexts.rows(rows)
            record, updated = self._optimizer_step(rows_of(sequences, rows), part, part_contexts, rate, begin)
            records.append(record)
            skipped += not updated
        combined = _combined(records)
        counts = {SKIPPED: skipped, NONFINITE: combined.get(NONFINITE, 0)}
        return combined | {"actor/learning_rate": rate} | counts

    def _optimizer_step(
        self, sequences: Sequences, batch: Batch, contexts: TeacherContexts | None, rate: float, begin: int
    ) -> tuple[dict[str, float], bool]:
        """Metrics of one update from one global batch, the step's rows from `begin` on, and whether it was made.

        It is skipped, the optimizer's state untouched, where no token carries a loss of the method's own (a
        KL term alone is no reason to move), and where the gradient is not finite.
        """
        settings, kept, metrics = self.settings, batch.token_mask, {}
        if not kept.any():
            return {}, False
        if contexts is not None:
            batch, metrics = self._with_signal(sequences, batch, contexts, begin)
        targets = self.method.targets(batch, settings.update.aggregation)
        if not targets.weights.any():
            return metrics, False
        if self._recorded is not None:
            self._record(sequences, batch, targets, begin)
        every = token_weights(kept, settings.update.aggregation, batch.rollouts)
        kl_weights = settings.update.kl_coef * every
        if settings.update.entropy_coef:
            batch = batch.extended(entropy_weights=settings.update.entropy_coef * every)
        # Rows without any weight are not forwarded: they left the batch, or the method wants nothing of them.
        carried = (targets.weights != 0) | (kl_weights != 0) | ((every != 0) & (settings.update.entropy_coef > 0))
        live = carried.any(dim=1).nonzero()[:, 0]
        with self.timed("update"):
            sums, norm = self._engine.update(
                rows_of(sequences, live.tolist()), batch.rows(live), targets.rows(live), kl_weights[live], rate
            )
        if not np.isfinite(norm):
            return metrics | targets.metrics | {NONFINITE: 1}, False
        self._engine.tick("optimizer_steps")
        metrics |= targets.metrics | update_metrics(sums, norm)
        if batch.importance is not None:
            metrics["actor/importance_mean"] = mean_over(batch.importance, kept)
        return metrics, True

    def _with_signal(
        self, sequences: Sequences, batch: Batch, contexts: TeacherContexts, begin: int
    ) -> tuple[Batch, dict[str, float]]:
        """The batch with all that the method wants to know before the student's forward.

        Teacher and student are read once an optimizer step, with the weights that they have then.
        """
        needs, teacher = self.method.needs, self._engine.scorer("teacher")
        batch, student_ids = self._surveyed(sequences, batch, contexts)
        query = Query(None if needs.support is None else needs.support.top_k, student_ids, needs.teacher_entropy)
        with self.timed("teacher"):
            scores = score_contexts(teacher, contexts, sequences.responses, batch.response_mask.shape[1], query)
        with self.timed("guards"):
            rollouts = self.settings.guards.null_contrast_rollouts
            guards = teacher_guards(teacher, contexts, sequences.responses, scores, rollouts)
        if self.settings.hints.source == CRITIQUE:
            with self.timed("placebo"):
                guards |= delta_metrics(
                    teacher,
                    contexts,
                    sequences.responses,
                    batch.correct,
                    batch.old_logprobs,
                    scores.correct_logprobs,
                    group_size=self.settings.rollout.group_size,
                    rollouts=self.settings.critic.placebo,
                )
        if self.settings.controls.change_scores:
            key = (self.settings.seed, "control", batch.step, begin)
            scores = controlled_scores(scores, batch, self.settings.controls, key)
        batch = batch.extended(**scores.tensors)
        return batch, _teacher_metrics(scores, batch, teacher.vocabulary) | guards

    def _surveyed(self, sequences: Sequences, batch: Batch, contexts: TeacherContexts) -> tuple[Batch, Tensor | None]:
        """The batch with the student's log-probs of now, where the method reads them, and the ids that it chooses.

        Those that came with the rollouts are as good (`sampled_support`).
        """
        if batch.support_ids is not None:
            return batch, batch.support_ids
        support = self.method.needs.support
        student_chooses = support is not None and support.chooser == "student" and support.top_k > 0
        if not (self.method.needs.current_logprobs or student_chooses):
            return batch, None
        current = torch.zeros_like(batch.old_logprobs)
        ids = None
        if student_chooses:
            ids = torch.zeros(*current.shape, support.top_k, dtype=torch.int64, device=current.device)
        rows = [row for row, hinted in enumerate(contexts.hinted) if hinted]  # nothing is read of any other
        if rows:
            query = Query(top_k=support.top_k if student_chooses else None)
            with self.timed("survey"):
                survey = self._engine.scorer("student")(rows_of(sequences, rows), current.shape[1], query)
            current[rows] = survey.logprobs
            if student_chooses:
                ids[rows] = survey.ids
        return batch.extended(current_logprobs=current), ids

    def _begin_records(
        self,
        number: int,
        rollouts: StepRollouts,
        rewards: Tensor,
        assignments: Sequence[Assignment],
        contexts: TeacherContexts,
    ) -> None:
        """Choose what is recorded of this step, and note what is known of it before any update."""
        settings = self.settings
        chosen = chosen_rows(contexts.hinted, settings.records.rollouts, settings.seed, number)
        shown = self.contexts.shown
        hints = {i: (shown(a.correct) if a.hinted else Hint("", "")) for i, a in enumerate(assignments) if i in chosen}
        with self.timed("records"):
            self._recorded = {
                i: rollout_facts(
                    rollouts,
                    i,
                    step=number,
                    group_size=settings.rollout.group_size,
                    reward=float(rewards[i]),
                    hints=(hints[i], [shown(hint) for hint in assignments[i].wrong]),
                    context=contexts.correct[i],
                    tokenizer=self._tokenizer,
                )
                for i in chosen
            }

    def _record(self, sequences: Sequences, batch: Batch, targets: Targets, begin: int) -> None:
        """Add what teacher and method say of the chosen rows among those of an optimizer step."""
        rows = [i - begin for i in self._recorded if begin <= i < begin + len(sequences.responses)]
        with self.timed("records"):
            of_tokens = token_facts(self._engine.scorer("student"), self.method, sequences, batch, targets, rows)
        for row, facts in zip(rows, of_tokens, strict=True):
            self._recorded[begin + row] |= facts

    @contextmanager
    def timed(self, name: str):
        """Count the seconds of a block under timing_s/<name>."""
        began = time.monotonic()
        yield
        self._timings[name] = self._timings.get(name, 0.0) + time.monotonic() - began


def rows_of(sequences: Sequences, rows: Sequence[int]) -> Sequences:
    """Return the given rows of prompts and responses."""
    return Sequences([sequences.prompts[i] for i in rows], [sequences.responses[i] for i in rows])


def _combined(records: Sequence[dict[str, float]]) -> dict[str, float]:
    """Metrics of a step's optimizer steps as one: tokens add up, maxima stay maxima, others are averaged.

    A guard or signal may be missing where an optimizer step had nothing to measure it on.
    """
    combined = {}
    for name in dict.fromkeys(name for record in records for name in record):
        values = [record[name] for record in records if name in record]
        if name.startswith("tokens/") or name == NONFINITE:
            combined[name] = sum(values)
        else:
            combined[name] = max(values) if name.endswith("_max") else sum(values) / len(values)
    return combined


def _teacher_metrics(scores: TeacherScores, batch: Batch, vocabulary: int) -> dict[str, float]:
    """Returns what the log says of the teacher; log-probs of hinted tokens alone, nats."""
    metrics: dict[str, float] = {
        "tokens/teacher_forwarded": scores.tokens_forwarded,
        "tokens/teacher_plain": scores.tokens_plain,
    }
    hinted = batch.hinted_mask
    if hinted.any():
        mean = mean_over(scores.correct_logprobs, hinted)
        metrics |= {
            "teacher/logprob_mean": mean,
            "teacher/gap_abs_mean": mean_over((scores.correct_logprobs - batch.old_logprobs).abs(), hinted),
            "guard/teacher_over_uniform": over_uniform(mean, vocabulary),
        }
    return metrics
