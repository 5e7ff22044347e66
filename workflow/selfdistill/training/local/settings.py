"""A resolved run config as typed settings of the local trainer; every key is explained in config/README.md."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from selfdistill.errors import UserError
from selfdistill.models.chat import ChatSettings
from selfdistill.sampling.interface import SamplingSettings
from selfdistill.signals.hints import HintSettings
from selfdistill.signals.teachers import TeacherSettings
from selfdistill.training.settings import RecordSettings, StepSettings, one_of


@dataclass(frozen=True)
class RolloutSettings:
    """Prompts a step, rollouts a prompt, and how they are drawn."""

    prompts_per_step: int
    group_size: int
    max_prompt_tokens: int
    max_response_tokens: int
    temperature: float
    top_p: float
    top_k: int
    engine: str
    old_logprobs: str
    importance_threshold: float | None

    @property
    def sampling(self) -> SamplingSettings:
        return SamplingSettings(self.max_response_tokens, self.temperature, self.top_p, self.top_k)


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW, linear warm-up in training steps, then constant.

    `master_dtype` is that of weights, AdamW's state and teachers (docs/departures.md D5); a CPU always has float32.
    """

    learning_rate: float
    weight_decay: float
    warmup_steps: int
    max_grad_norm: float
    master_dtype: str


@dataclass(frozen=True)
class UpdateSettings:
    """How a step's rollouts become optimizer steps."""

    prompts_per_update: int
    micro_batch_tokens: int
    aggregation: str
    kl_coef: float


@dataclass(frozen=True)
class RewardSettings:
    """`shuffle` permutes each step's rewards: a negative control, under which nothing may be learned.

    `first_role_counts` lets the first role of a person named twice count (preset as_published, docs/departures.md D36).
    """

    shuffle: bool
    first_role_counts: bool


@dataclass(frozen=True)
class ValidationSettings:
    """Every so many steps, on the first `problems` of each benchmark, `draws` responses each."""

    every: int
    problems: int
    draws: int
    temperature: float
    top_p: float
    top_k: int
    max_response_tokens: int

    @property
    def sampling(self) -> SamplingSettings:
        return SamplingSettings(self.max_response_tokens, self.temperature, self.top_p, self.top_k)


@dataclass(frozen=True)
class GuardSettings:
    """So many hinted rollouts an optimizer step are scored once more, each alone."""

    null_contrast_rollouts: int


@dataclass(frozen=True)
class CheckpointSettings:
    """A resumable state every so many steps."""

    every: int


@dataclass(frozen=True)
class LocalSettings:
    """All that the local trainer reads of a run's config."""

    implementation: str
    seed: int
    steps: int
    rollout: RolloutSettings
    reward: RewardSettings
    optimizer: OptimizerSettings
    update: UpdateSettings
    validation: ValidationSettings
    checkpoint: CheckpointSettings
    guards: GuardSettings
    records: RecordSettings
    objective: dict[str, Any]
    teacher: TeacherSettings
    hints: HintSettings
    chat: ChatSettings = dataclasses.field(default_factory=ChatSettings)  # of a config of before there was one

    @property
    def needs_solutions(self) -> bool:
        """Whether every training problem must have a solution to show."""
        return self.hints.source == "gt_cot" and self.hints.mode == "solution_answer"

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LocalSettings":
        """Raises UserError for missing, unknown or contradictory keys."""
        values = {}
        for field in dataclasses.fields(cls):
            if field.name not in config:
                if field.default_factory is not dataclasses.MISSING:
                    continue
                raise UserError(f"run config: key {field.name!r} is missing")
            value = config[field.name]
            values[field.name] = (
                _section(field.type, value, field.name) if dataclasses.is_dataclass(field.type) else value
            )
        settings = cls(**values)
        settings._check()
        return settings

    @property
    def step(self) -> StepSettings:
        """What a training step reads of it. Raises UserError for values that contradict each other."""
        rollout, update = self.rollout, self.update
        return StepSettings(
            implementation=self.implementation,
            objective=self.objective,
            seed=self.seed,
            prompts_per_step=rollout.prompts_per_step,
            group_size=rollout.group_size,
            max_sequence_tokens=rollout.max_prompt_tokens + rollout.max_response_tokens + self.hints.max_tokens,
            old_logprobs=rollout.old_logprobs,
            importance_threshold=rollout.importance_threshold,
            shuffle_rewards=self.reward.shuffle,
            learning_rate=self.optimizer.learning_rate,
            warmup_steps=self.optimizer.warmup_steps,
            prompts_per_update=update.prompts_per_update,
            aggregation=update.aggregation,
            kl_coef=update.kl_coef,
            teacher=self.teacher,
            hints=self.hints,
            null_contrast_rollouts=self.guards.null_contrast_rollouts,
            records=self.records,
            chat=self.chat,
        )

    def _check(self) -> None:
        one_of("rollout.engine", self.rollout.engine, ("own", "transformers"))
        one_of("optimizer.master_dtype", self.optimizer.master_dtype, ("float32", "bfloat16"))
        _ = self.step  # checks the rest


def _section(kind: type, value: Any, name: str) -> Any:
    known = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(value) - set(known))
    missing = sorted(n for n, f in known.items() if n not in value and f.default is dataclasses.MISSING)
    if unknown or missing:
        said = [f"unknown {', '.join(unknown)}"] * bool(unknown) + [f"missing {', '.join(missing)}"] * bool(missing)
        raise UserError(f"run config, section {name}: {'; '.join(said)}; it takes {', '.join(known)}")
    return kind(**value)
