"""Provides the teacher's weights: initial, live, snapshot, moving average, trust region, or another model's."""

import copy
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from selfdistill.models.loading import cast_weights
from selfdistill.scoring.pictures import forward
from selfdistill.study.teacher_settings import EXTERNAL, TeacherSettings


class TeacherSchedule:
    """When a teacher's own weights follow the student's, and how far. Its ticks belong into checkpoints."""

    def __init__(self, settings: TeacherSettings, ticks: int = 0):
        self._settings, self.ticks = settings, ticks

    def tick(self, clock: str) -> float | None:
        """Tell that the student has finished a step of the given clock.

        Returns the share of its weights that the teacher keeps (0: a copy of the student's), None where nothing moves.
        """
        if clock != self._settings.clock or self._settings.kind not in ("snapshot", "ema"):
            return None
        self.ticks += 1
        if self._settings.kind == "ema":
            return self._settings.ema_decay
        return 0.0 if self.ticks % self._settings.sync_interval == 0 else None


class MixedLogits:
    """Two models as one whose logits are (1 - share) first + share second: a normalised geometric mean of both.

    It is called, without gradient, as a causal language model of transformers is.
    """

    def __init__(self, first: PreTrainedModel, second: PreTrainedModel, share: float):
        self._first, self._second, self._share = first, second, share

    @property
    def parts(self) -> tuple[PreTrainedModel, PreTrainedModel]:
        """Returns both models: what one of them may not be asked for, their mixture may not."""
        return self._first, self._second

    @property
    def device(self) -> torch.device:
        """Returns where both models are."""
        return self._first.device

    @property
    def config(self) -> PreTrainedConfig:
        """Returns the first model's config; the second is a copy of the same architecture."""
        return self._first.config

    @torch.no_grad()
    def __call__(self, **inputs: Any) -> SimpleNamespace:
        """`logits` (N, T, V) float32 of the mixture, for the inputs of either model."""
        first, second = (forward(part, inputs).logits.float() for part in self.parts)
        return SimpleNamespace(logits=torch.lerp(first, second, self._share))


class Teacher:
    """A teacher's weights over the course of a run. Its state belongs into checkpoints."""

    def __init__(
        self,
        settings: TeacherSettings,
        student: PreTrainedModel,
        dtype: torch.dtype = torch.float32,
        external: PreTrainedModel | None = None,
    ):
        """Make a teacher of the initial weights, or of another model.

        Args:
            settings: of the teacher.
            student: must hold the initial weights now; it stays the live source of later ticks.
            dtype: of the teacher's own weights. Moving averages in bfloat16 barely move (docs/departures.md D5).
            external: the other model, of the kind `external`; it is frozen here, and is in no state.
        """
        self._settings, self._student, self._schedule = settings, student, TeacherSchedule(settings)
        if settings.kind == EXTERNAL:
            self._own = external.requires_grad_(False).eval()
        else:
            self._own = None if settings.kind in ("none", "live") else frozen_copy(student, dtype)

    @property
    def model(self) -> PreTrainedModel | MixedLogits:
        """Returns the model to score with."""
        if self._settings.kind == "trust_region":
            return MixedLogits(self._own, self._student, self._settings.student_share)
        return self._student if self._own is None else self._own

    def tick(self, clock: str) -> None:
        """Tell that the student has finished a step of the given clock."""
        kept = self._schedule.tick(clock)
        if kept is not None:
            self._blend(kept)

    @torch.no_grad()
    def _blend(self, decay: float) -> None:
        for own, live in zip(self._own.parameters(), self._student.parameters(), strict=True):
            # The student in float32 first: a bfloat16 one would round its share, which is no larger than the move.
            own.copy_(own * decay + live.to(own) * (1 - decay) if decay else live)

    def state_dict(self) -> dict[str, Tensor]:
        """Ticks and, where they differ from the initial and the live weights, the teacher's own."""
        state = {"ticks": torch.tensor(self._schedule.ticks)}
        if self._settings.kind in ("snapshot", "ema"):
            state |= {f"weights.{name}": value for name, value in self._own.named_parameters()}
        return state

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the clock and, of a teacher with weights of its own, these; the inverse of state_dict()."""
        self._schedule.ticks = int(state["ticks"])
        if self._settings.kind in ("snapshot", "ema"):
            for name, value in self._own.named_parameters():
                value.copy_(state[f"weights.{name}"])


def frozen_copy(model: PreTrainedModel, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Return a copy of a model that takes no gradient."""
    return cast_weights(copy.deepcopy(model), dtype).requires_grad_(False).eval()
