"""Whose weights the teacher has: initial, live, a snapshot every so often, or a moving average."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

KINDS = ("none", "initial", "live", "snapshot", "ema")
CLOCKS = ("training_steps", "optimizer_steps")


@dataclass(frozen=True)
class TeacherSettings:
    """Which weights score the hinted contexts.

    Attributes:
        kind: "initial" (frozen base), "live" (the student itself), "snapshot" (copied from the student at every
            `sync_interval`-th tick), "ema" (shadow <- decay * shadow + (1 - decay) * student at every tick), "none".
        sync_interval: ticks between snapshots.
        ema_decay: of the moving average.
        clock: what ticks: "training_steps" (the papers; preset corrected) or "optimizer_steps" (preset as_published,
            spec D4: several a training step).
    """

    kind: str = "none"
    sync_interval: int = 10
    ema_decay: float = 0.95
    clock: str = "training_steps"


class Teacher:
    """A teacher's weights over the course of a run. Its state belongs into checkpoints."""

    def __init__(self, settings: TeacherSettings, student: PreTrainedModel):
        """`student` must hold the initial weights now; it stays the live source of later ticks."""
        self._settings, self._student, self._ticks = settings, student, 0
        self._own = None if settings.kind in ("none", "live") else frozen_copy(student)

    @property
    def model(self) -> PreTrainedModel:
        """The model to score with."""
        return self._student if self._own is None else self._own

    def tick(self, clock: str) -> None:
        """Tell that the student has finished a step of the given clock."""
        if clock != self._settings.clock or self._settings.kind not in ("snapshot", "ema"):
            return
        self._ticks += 1
        if self._settings.kind == "ema":
            self._blend(self._settings.ema_decay)
        elif self._ticks % self._settings.sync_interval == 0:
            self._blend(0.0)

    @torch.no_grad()
    def _blend(self, decay: float) -> None:
        for own, live in zip(self._own.parameters(), self._student.parameters(), strict=True):
            # The student in float32 first: a bfloat16 one would round its share, which is no larger than the move.
            own.copy_(own * decay + live.to(own) * (1 - decay) if decay else live)

    def state_dict(self) -> dict[str, Tensor]:
        """Ticks and, where they differ from the initial and the live weights, the teacher's own."""
        state = {"ticks": torch.tensor(self._ticks)}
        if self._settings.kind in ("snapshot", "ema"):
            state |= {f"weights.{name}": value for name, value in self._own.named_parameters()}
        return state

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._ticks = int(state["ticks"])
        if self._settings.kind in ("snapshot", "ema"):
            for name, value in self._own.named_parameters():
                value.copy_(state[f"weights.{name}"])


def frozen_copy(model: PreTrainedModel) -> PreTrainedModel:
    """A float32 copy of a model that takes no gradient: moving averages in bfloat16 would barely move (spec D5)."""
    return copy.deepcopy(model).float().requires_grad_(False).eval()
