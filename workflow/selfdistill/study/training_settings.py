"""Builds the settings of one training run, as both trainers take them; published runs by name."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from selfdistill.errors import UserError
from selfdistill.methods.catalogue import registry_entry
from selfdistill.methods.setting import from_mapping
from selfdistill.study.config_files import merged
from selfdistill.study.presets import presets
from selfdistill.study.run_settings import RunSettings
from selfdistill.study.teacher_settings import reads_initial


@dataclass(frozen=True)
class TrainingSettings(RunSettings):
    """The settings of a run with its loss and its seed: what a trainer reads of a resolved run.

    Attributes:
        implementation: of `objectives.methods.build_method`.
        seed: of everything that is drawn.
    """

    implementation: str = field(kw_only=True)
    seed: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        """Raise UserError for values that contradict each other."""
        super().__post_init__()
        check_prompts(self.rollout.prompts_per_step, self.update.prompts_per_update, "run config")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "TrainingSettings":
        """Return the settings of a resolved run, which also has facts that no trainer reads. Raises UserError."""
        known = {each.name for each in fields(cls)}
        return from_mapping(cls, {key: value for key, value in config.items() if key in known})

    @property
    def needs_solutions(self) -> bool:
        """Returns whether every training problem must have a solution to show."""
        return self.hints.source == "gt_cot" and self.hints.mode != "answer_only"

    @property
    def needs_initial(self) -> bool:
        """Returns whether anyone asks for scores of the initial weights as a model of their own."""
        return self.update.kl_coef > 0 or reads_initial(self.teacher.kind, self.teacher.reference)

    @property
    def max_sequence_tokens(self) -> int:
        """Returns the tokens of hinted prompt and response together, where a prompt is cut from the left."""
        return self.rollout.max_prompt_tokens + self.rollout.max_response_tokens + self.hints.max_tokens

    def rate(self, step: int) -> float:
        """Return the learning rate of a training step, counted from 1."""
        return self.optimizer.learning_rate * min(1.0, step / max(self.optimizer.warmup_steps, 1))


def check_prompts(step: int, update: int, where: str) -> None:
    """Raise UserError unless the prompts of a step are a multiple of those of an update.

    Args:
        step: rollout.prompts_per_step.
        update: update.prompts_per_update.
        where: the first words of the message.
    """
    if step % update:
        raise UserError(
            f"{where}: rollout.prompts_per_step {step} is no multiple of update.prompts_per_update {update}; change "
            "one",
            keys=["rollout.prompts_per_step", "update.prompts_per_update"],
        )


def published_values(implementation: str, published: Mapping[str, Any], preset: str = "corrected") -> dict[str, Any]:
    """Return what differs from the defaults of a run in the published run of a method, by section.

    Args:
        implementation: names it in the preset.
        published: what was published with it, by section.
        preset: "corrected" or "as_published".
    """
    parts = presets()[preset]
    return merged(merged(parts.get("all", {}), published), parts.get("implementations", {}).get(implementation, {}))


def published_run(implementation: str, preset: str = "corrected", **changes: Any) -> TrainingSettings:
    """Return the settings of a published run: those of the workflow's, where no task or model changes them.

    Args:
        implementation: the name of a shipped method.
        preset: "corrected" or "as_published".
        changes: settings of a run by section, for example `objective={"tau": 0.05}`; also `seed`.

    Raises:
        UserError: for an unknown key or a value out of range.
    """
    published = {key: value for key, value in registry_entry(implementation).items() if key != "implementation"}
    whole = merged(published_values(implementation, published, preset), changes)
    return from_mapping(TrainingSettings, {"implementation": implementation, "preset": preset, **whole})
