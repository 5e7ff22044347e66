"""What one training step reads of a run's settings, in whichever trainer it runs."""

from dataclasses import dataclass, field
from typing import Any

from selfdistill.errors import UserError
from selfdistill.models.chat import ChatSettings
from selfdistill.objectives.aggregation import AGGREGATIONS
from selfdistill.signals.hints import SOURCES, TRUNCATIONS, HintSettings
from selfdistill.signals.teachers import CLOCKS, KINDS, TeacherSettings
from selfdistill.tasks.prompts import FRAMINGS, HINT_MODES


@dataclass(frozen=True)
class RecordSettings:
    """Which rollouts are kept token by token: so many of step 1 and of every so many steps; `every` 0 is never."""

    every: int = 50
    rollouts: int = 8

    def due(self, step: int) -> bool:
        """Whether a training step, counted from 1, is one of them."""
        return self.every > 0 and self.rollouts > 0 and (step == 1 or step % self.every == 0)


@dataclass(frozen=True)
class StepSettings:
    """Settings of a training step; keys and their meaning are those of a run's config (config/README.md).

    Attributes:
        max_sequence_tokens: of hinted prompt and response together, where a prompt is cut from the left.
        warmup_steps: training steps over which the learning rate rises linearly; constant after that.
    """

    implementation: str
    objective: dict[str, Any]
    seed: int
    prompts_per_step: int
    group_size: int
    max_sequence_tokens: int
    old_logprobs: str
    importance_threshold: float | None
    shuffle_rewards: bool
    learning_rate: float
    warmup_steps: int
    prompts_per_update: int
    aggregation: str
    kl_coef: float
    teacher: TeacherSettings
    hints: HintSettings
    null_contrast_rollouts: int
    records: RecordSettings
    chat: ChatSettings = field(default_factory=ChatSettings)

    def __post_init__(self) -> None:
        one_of("rollout.old_logprobs", self.old_logprobs, ("sampler", "recompute"))
        one_of("update.aggregation", self.aggregation, AGGREGATIONS)
        one_of("teacher.kind", self.teacher.kind, KINDS)
        one_of("teacher.clock", self.teacher.clock, CLOCKS)
        one_of("hints.source", self.hints.source, SOURCES)
        one_of("hints.mode", self.hints.mode, HINT_MODES)
        one_of("hints.framing", self.hints.framing, tuple(FRAMINGS))
        one_of("hints.truncation", self.hints.truncation, TRUNCATIONS)
        one_of("hints.lone_targets", self.hints.lone_targets, ("keep", "drop"))
        if self.prompts_per_step % self.prompts_per_update:
            raise UserError(
                f"run config: rollout.prompts_per_step ({self.prompts_per_step}) must be a multiple of "
                f"update.prompts_per_update ({self.prompts_per_update})"
            )

    def rate(self, step: int) -> float:
        """The learning rate of a training step, counted from 1."""
        return self.learning_rate * min(1.0, step / max(self.warmup_steps, 1))


def one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raises UserError where a setting is not one of the allowed values."""
    if value not in allowed:
        raise UserError(f"run config: {key} is {value!r}, expected one of {', '.join(allowed)}")
