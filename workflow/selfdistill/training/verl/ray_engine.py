"""Implements the engine of verl's trainer: model, teacher and initial weights in a group of Ray workers."""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import transfer_queue as tq
from tensordict import TensorDict
from torch import Tensor
from transfer_queue import KVBatchMeta
from verl.single_controller.ray import RayWorkerGroup
from verl.utils import tensordict_utils as tu

from selfdistill.objectives.batch import Batch, Targets
from selfdistill.scoring.query import LOGPROBS_ONLY, Query
from selfdistill.scoring.scores import Scores, Sequences
from selfdistill.signals.teachers import TeacherSchedule
from selfdistill.study.teacher_settings import EXTERNAL, INITIAL, TeacherSettings
from selfdistill.training.step import rows_of
from selfdistill.training.update import Sums
from selfdistill.training.verl.ranks import SharedPrompts, shared_out
from selfdistill.training.verl.wire import (
    ENTROPY,
    LOGPROBS,
    SUPPORT,
    SUPPORT_IDS,
    pack_scores_request,
    pack_update,
    sums_of,
    unpack_scores,
)

_PARTITION = "selfdistill"  # of TransferQueue, beside verl's "train" and "val"


class RayEngine:
    """Implements training.engine.Engine on worker.SelfDistillWorker. Tensors of a step are on this process's CPU."""

    def __init__(
        self,
        workers: RayWorkerGroup,
        teacher: TeacherSettings,
        schedule: TeacherSchedule,
        vocabularies: Mapping[str, int],
        *,
        temperature: float,
        head_rows: int,
        shared_prompts: str = "none",
        score_tokens: int = 0,
    ):
        """Make an engine of workers that have their models.

        Args:
            workers: SelfDistillWorkers.
            teacher, schedule: the teacher's settings, and its clock, whose ticks are the caller's to save.
            vocabularies: rows of the output layer of the "student", and of external models by role.
            temperature: divides the logits.
            head_rows: as of `scoring.head.read`.
            shared_prompts, score_tokens: as of study.run_settings.MachineSettings.
        """
        self.vocabularies, self._workers, self._schedule = dict(vocabularies), workers, schedule
        self._names, self._shared = scored_as(teacher), SharedPrompts(shared_prompts, score_tokens)
        if teacher.kind == "trust_region":  # two forwards of whole rows, whose states meet
            self._shared = SharedPrompts()
        self._request = {"temperature": temperature, "head_rows": head_rows, "compute_loss": False}
        self._ranks = max(workers._query_dispatch_info("actor")) + 1
        self._numbers = itertools.count()
        self.peak_gib = 0.0  # allocated on a GPU so far, at an update

    @property
    def device(self) -> torch.device:
        """Returns the CPU: tensors of a step travel to the workers as such."""
        return torch.device("cpu")

    def scorer(self, who: str) -> "RayScorer":
        """Return a scorer over the workers' weights of one of `training.engine.WHO`, as they are now."""
        return RayScorer(self, self._names.get(who, who), self.vocabularies.get(who, self.vocabularies["student"]))

    def update(
        self, sequences: Sequences, batch: Batch, targets: Targets, kl_weights: Tensor, learning_rate: float
    ) -> tuple[Sums, float]:
        """Take one optimizer step on the rows given, shared out over ranks; returns the sums and the unclipped norm."""
        order, real = shared_out(sequences.lengths, self._ranks)
        index, real = torch.tensor(order), torch.tensor(real)
        batch, targets, kl_weights = batch.rows(index), targets.rows(index), kl_weights[index]
        if not real.all():  # copies carry no weight, and are in no mean of the log
            batch = batch.extended(kept=real if batch.kept is None else batch.kept & real)
            targets = Targets(targets.advantages, targets.weights * real[:, None], targets.metrics)
            kl_weights = kl_weights * real[:, None]
        rows = rows_of(sequences, order)
        meta = self._put(pack_update(rows, batch, targets, kl_weights), rows, learning_rate=learning_rate)
        try:
            reply = self._workers.update(meta)
        finally:
            tq.kv_clear(keys=meta.keys, partition_id=_PARTITION)
        metrics = tu.get(reply, "metrics")
        self.peak_gib = max(self.peak_gib, float(np.max(metrics["perf/max_memory_allocated_gb"])))
        return sums_of(metrics)

    def tick(self, clock: str) -> None:
        """Count a finished step of a clock; where the teacher's schedule says so, workers blend the student into it."""
        kept = self._schedule.tick(clock)
        if kept is not None:
            self._workers.blend_teacher(kept)

    def score(self, who: str, sequences: Sequences, width: int, query: Query, *, alone: bool = False) -> Scores:
        """Score sequences under the weights of a worker's `score_<who>`; otherwise as of scoring.scores.Scorer."""
        order, real = shared_out(sequences.lengths, self._ranks)
        options: dict[str, Any] = {}
        forwarded: int | None = None
        if not alone and (plan := self._shared.plan(sequences, self._ranks)) is not None:
            order, real, forwarded, options = plan.order, plan.real, plan.tokens, plan.options
        if alone:
            # Beside a copy of itself, not quite alone: a long row has a micro-batch to itself otherwise too.
            order, real = ([each for row in rows for each in (row, row)] for rows in (order, real))
            options = {"use_dynamic_bsz": False, "micro_batch_size_per_gpu": 2}
        rows = rows_of(sequences, order)
        fields = pack_scores_request(rows, query.part(order).ids)
        meta = self._put(fields, rows, read_top_k=query.top_k, read_entropy=query.entropy, **options)
        wanted = [LOGPROBS]
        if query.has_support:
            wanted.append(SUPPORT)
        if query.model_chooses:
            wanted.append(SUPPORT_IDS)
        if query.entropy:
            wanted.append(ENTROPY)
        try:
            getattr(self._workers, f"score_{who}")(meta)
            reply = tq.kv_batch_get(keys=meta.keys, partition_id=_PARTITION, select_fields=wanted)
        finally:
            tq.kv_clear(keys=meta.keys, partition_id=_PARTITION)
        scores = unpack_scores(reply, width)
        place = torch.empty(len(sequences.responses), dtype=torch.int64)
        for position, (row, is_real) in enumerate(zip(order, real, strict=True)):
            if is_real:
                place[row] = position
        in_order = scores.rows(place)
        ids = in_order.ids if query.ids is None else query.ids  # given ids do not travel back
        return replace(in_order, ids=ids, forwarded=sum(rows.lengths) if forwarded is None else forwarded)

    def _put(self, fields: TensorDict, rows: Sequences, **options: Any) -> KVBatchMeta:
        keys = [f"{next(self._numbers)}" for _ in rows.responses]
        tags = [{"seq_len": length} for length in rows.lengths]
        tq.kv_batch_put(keys=keys, partition_id=_PARTITION, fields=fields, tags=tags)
        return KVBatchMeta(partition_id=_PARTITION, keys=keys, tags=tags, extra_info=self._request | options)


class RayScorer:
    """Scores sequences by the workers' models; a scoring.scores.Scorer."""

    def __init__(self, engine: RayEngine, who: str, vocabulary: int):
        self._engine, self._who, self.vocabulary = engine, who, vocabulary

    @property
    def device(self) -> torch.device:
        """Returns the CPU: scores travel back from the workers."""
        return self._engine.device

    def __call__(
        self,
        sequences: Sequences,
        width: int,
        query: Query = LOGPROBS_ONLY,
        *,
        alone: bool = False,
    ) -> Scores:
        """Score N sequences under the workers' weights: (N, width), zero behind each response."""
        return self._engine.score(self._who, sequences, width, query, alone=alone)


def scored_as(teacher: TeacherSettings) -> dict[str, str]:
    """Return who is asked for (training.engine.WHO) -> who of a worker's models answers, where the names differ."""
    names = {"initial": "initial", EXTERNAL: "external_teacher"}
    found = {"teacher": names[teacher.kind]} if teacher.kind in names else {}
    return found | {"reference": "initial" if teacher.reference == INITIAL else "external_reference"}
