"""Declares the settings of a run: every key with its type, range, published default, unit and meaning.

Schema, config/defaults.yaml and the tables of config/README.md are made from this file (`make docs`), and both trainers
take their settings as these classes.
"""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from selfdistill.errors import UserError
from selfdistill.methods.setting import Settings, setting
from selfdistill.study.control_settings import ControlSettings
from selfdistill.study.critic_settings import CriticSettings
from selfdistill.study.teacher_settings import HintSettings, TeacherSettings
from selfdistill.study.templates import question_text

DEVIATIONS = ("sample", "population", "none")
_WORD = r"""^(\+{0,2}|~)[A-Za-z_]\w*(\.\w+)*=[^\s"'\\]*$(?!\n)"""


@dataclass(frozen=True)
class RolloutSettings(Settings):
    """Prompts a step, rollouts a prompt, and how they are drawn."""

    at: ClassVar = ("rollout",)

    prompts_per_step: int = setting(64, "Asked in one step.", unit="prompts", minimum=1)
    group_size: int = setting(
        8,
        "Responses to each prompt; advantages and hints come from this group. 1 is for methods that compare none "
        "(opd, opd_divergence).",
        unit="rollouts",
        minimum=1,
    )
    max_prompt_tokens: int = setting(2048, "A longer prompt is refused.", unit="tokens", minimum=1)
    max_response_tokens: int = setting(16384, "A longer response is cut off.", unit="tokens", minimum=1)
    temperature: float = setting(1.0, "Of sampling.", above=0)
    top_p: float = setting(0.95, "Nucleus; 1 is off.", unit="share", above=0, maximum=1)
    top_k: int = setting(20, "The most likely tokens that are drawn from; 0 is off.", unit="tokens", minimum=0)
    engine: str = setting(
        "own",
        "What draws rollouts. Local trainer: the decode loop for small models, or transformers' `generate`; verl: "
        "`vllm`, and nothing else.",
        choices=("own", "transformers", "vllm"),
    )
    old_logprobs: str = setting(
        "sampler",
        "Take the old log-probs from the sampler, or from a forward pass before the update; verl: `recompute`, and "
        "nothing else.",
        choices=("sampler", "recompute"),
    )
    importance_threshold: float | None = setting(
        2.0, "With `recompute`: cap of the token weight exp(old - sampler) (D2); null is off.", unit="ratio", above=0
    )


@dataclass(frozen=True)
class RewardSettings(Settings):
    """Holds what is done to rewards."""

    at: ClassVar = ("reward",)

    shuffle: bool = setting(
        False,
        "Permute each step's rewards, and show nobody's feedback, which tells the true ones: a negative control, under "
        "which nothing may be learned.",
    )
    first_role_counts: bool = setting(
        False,
        'Knights, training: the first role after a name counts and nothing else is read, where two roles, "or" and the '
        "like make an answer wrong (D36).",
    )
    deviation: str = setting(
        "sample",
        "What an advantage is divided by: the group's deviation as of a sample (1/(G-1)) or as of a population (1/G, "
        "the RLCSD paper's second version); `none` is SDPO's and SRPO's own, undivided.",
        choices=DEVIATIONS,
        added=True,
    )
    feedback_level: str | None = setting(
        None,
        "How much the grader says of a failure in training, one of its levels; null is the task's `grading.feedback`.",
        added=True,
    )

    def grading(self, of_task: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return a task's settings of its grader as they are in training."""
        level = {} if self.feedback_level is None else {"feedback": self.feedback_level}
        return {**(of_task or {}), **level}


@dataclass(frozen=True)
class ChatSettings(Settings):
    """Sets what a run's chat template gets besides the messages, in training, evaluation and warm starts alike."""

    at: ClassVar = ("chat",)

    thinking: bool = setting(
        True,
        "Whether the chat template is told that the model is to think first (`enable_thinking` and `thinking`). All of "
        "`chat` holds for training, teachers, validation, evaluation and warm starts; of the untrained model and of "
        "warm starts, what `defaults`, the task, the model, `overrides.all` and `overrides.tasks` say of it.",
    )
    date: str = setting(
        "2026-01-01",
        "What templates that tell the date are told (`strftime_now`, `date_string`, `date`): the clock's would change "
        "prompts overnight.",
        unit="a day",
        pattern=("a day as YYYY-MM-DD", r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$(?!\n)"),
    )
    template: str | None = setting(
        None,
        "The student's message, in training, validation and evaluation alike: a text file with the slot {problem}, or "
        "such a text, which is what a run's settings hold; null is the library's. Problems that have chats of their "
        "own keep them.",
        added=True,
    )
    min_pixels: int | None = setting(
        None,
        "A smaller picture is enlarged to about so many; null is what the model's folder says "
        "(preprocessor_config.json). As all of `chat`, for training, teachers, validation and evaluation alike.",
        unit="pixels",
        minimum=1,
        added=True,
    )
    max_pixels: int | None = setting(
        None,
        "A larger picture is reduced to about so many; null is what the model's folder says. A token of Qwen3-VL shows "
        "1024 pixels.",
        unit="pixels",
        minimum=1,
        added=True,
    )

    def __post_init__(self) -> None:
        """Raise UserError for a date that is none, and for a template that `question_text` refuses."""
        super().__post_init__()
        _ = self._day
        if self.template is not None:
            object.__setattr__(self, "template", question_text(self.template))

    @property
    def variables(self) -> dict[str, bool | str]:
        """Plain values under all names that templates give them: Qwen3 has enable_thinking, DeepSeek V3.1 and Granite
        thinking, Llama 3 date_string.
        """
        return {
            "enable_thinking": self.thinking,
            "thinking": self.thinking,
            "date_string": self._day.strftime("%d %b %Y"),
            "date": self.date,
        }

    def strftime_now(self, form: str) -> str:
        """Replaces the clock that transformers gives templates under this name: it is always midnight (UTC)."""
        return self._day.strftime(form)

    @property
    def _day(self) -> datetime.datetime:
        try:
            return datetime.datetime.strptime(self.date, "%Y-%m-%d").replace(tzinfo=datetime.UTC)
        except ValueError:  # the 31st of a month that has 30
            raise UserError(
                f"run config: chat.date: expected a day as YYYY-MM-DD, found {self.date!r}", keys=["chat.date"]
            ) from None


@dataclass(frozen=True)
class OptimizerSettings(Settings):
    """AdamW, linear warm-up in training steps, then constant."""

    at: ClassVar = ("optimizer",)

    learning_rate: float = setting(1.0e-6, "Of AdamW, constant after the warm-up.", above=0)
    weight_decay: float = setting(0.01, "Of AdamW.", minimum=0)
    warmup_steps: int = setting(50, "Linear warm-up.", unit="training steps", minimum=0)
    max_grad_norm: float = setting(1.0, "Gradients are clipped to this norm.", above=0)
    master_dtype: str = setting(
        "float32",
        "Of weights, AdamW's state and teachers, on a GPU (D5); a run on a CPU keeps float32 and says so.",
        choices=("float32", "bfloat16"),
    )
    freeze_vision_tower: bool = setting(
        False,
        "Whether the vision tower of a model that reads pictures stays as it is; RLSD's released run trains it.",
        added=True,
    )


@dataclass(frozen=True)
class UpdateSettings(Settings):
    """Says how a step's rollouts become optimizer steps."""

    at: ClassVar = ("update",)

    prompts_per_update: int = setting(
        16, "For one optimizer step; divides `rollout.prompts_per_step`.", unit="prompts", minimum=1
    )
    micro_batch_tokens: int = setting(
        40960,
        "In one forward pass, padding included, with as many of shared prompts beside it and keys of up to four times "
        "as many; memory only, no effect on the result; a longer row goes alone. verl: with gradient, on each GPU.",
        unit="tokens",
        minimum=1,
    )
    aggregation: str = setting(
        "tokens",
        "Mean of the loss over all tokens of the batch, or within rollouts first, then over rollouts (D8); `sums`: the "
        "sum over a rollout's tokens, then the mean over rollouts. A distillation's rollouts are the hinted ones; with "
        "`all_rollouts`, otherwise as `rollouts`, unhinted ones count too.",
        choices=("tokens", "rollouts", "sums", "all_rollouts"),
    )
    kl_coef: float = setting(0.0, "Weight of the k3 KL to the initial model; 0 is off.", minimum=0)
    entropy_coef: float = setting(
        0.0,
        "Weight of an entropy bonus: the mean entropy of the policy at its tokens, as `aggregation` takes means, is "
        "subtracted from the loss.",
        minimum=0,
        added=True,
    )


@dataclass(frozen=True)
class ValidationSettings(Settings):
    """Draws on a part of each benchmark while training lasts."""

    at: ClassVar = ("validation",)

    every: int = setting(50, "Also before the first and after the last step.", unit="training steps", minimum=1)
    problems: int = setting(100, "The first so many of each benchmark.", unit="problems", minimum=1)
    draws: int = setting(1, "To each problem.", unit="responses", minimum=1)
    temperature: float = setting(0.6, "Of sampling; 0 is greedy.", minimum=0)
    top_p: float = setting(0.95, "As of rollouts.", unit="share", above=0, maximum=1)
    top_k: int = setting(20, "As of rollouts.", unit="tokens", minimum=0)
    max_response_tokens: int = setting(38912, "As of rollouts.", unit="tokens", minimum=1)


@dataclass(frozen=True)
class CheckpointSettings(Settings):
    """When a state is saved."""

    at: ClassVar = ("checkpoint",)

    every: int = setting(
        50, "Resumable state; a run that is killed loses at most this.", unit="training steps", minimum=1
    )


@dataclass(frozen=True)
class GuardSettings(Settings):
    """Holds what is measured that no loss needs."""

    at: ClassVar = ("guards",)

    null_contrast_rollouts: int = setting(
        2,
        "So many hinted ones an optimizer step are scored once more, one by one: what the difference is, is noise "
        "(`guard/null_contrast_*`); 0 is off.",
        unit="rollouts",
        minimum=0,
    )


@dataclass(frozen=True)
class RecordSettings(Settings):
    """Says which rollouts are kept token by token."""

    at: ClassVar = ("records",)

    every: int = setting(
        50,
        "Between those whose rollouts are recorded token by token (`records.parquet`), beside step 1; 0 is never.",
        unit="training steps",
        minimum=0,
    )
    rollouts: int = setting(
        8, "Recorded at such a step: chosen at random among those with hints.", unit="rollouts", minimum=1
    )

    def due(self, step: int) -> bool:
        """Return whether the rollouts of a training step, counted from 1, are recorded."""
        return self.every > 0 and (step == 1 or step % self.every == 0)


@dataclass(frozen=True)
class MachineSettings(Settings):
    """Says how verl runs it; read with trainer verl only."""

    at: ClassVar = ("verl",)

    device: str = setting(
        "cuda",
        "`cpu` is for tests and toys: weights stay float32 there, whatever `optimizer.master_dtype` says.",
        choices=("cuda", "cpu"),
    )
    dtype: str = setting(
        "bfloat16",
        "Of forward and backward passes and of vLLM; log-probs are float32, weights and AdamW's state as "
        "`optimizer.master_dtype` says.",
        choices=("bfloat16", "float32"),
    )
    attention: str = setting(
        "auto",
        "`auto` is FlashAttention where it is installed, else PyTorch's own.",
        choices=("auto", "flash_attention_2", "sdpa"),
    )
    packed: bool = setting(True, "Sequences one after another without padding.")
    gradient_checkpointing: bool = setting(True, "Activations are computed again in the backward pass.")
    offload_parameters: bool = setting(
        False,
        "The student's weights rest in the host's memory between steps; the initial model's always do.",
    )
    offload_optimizer: bool = setting(False, "AdamW's state rests in the host's memory between steps.")
    score_tokens: int = setting(
        40960,
        "In one forward pass without gradient, on each GPU; a longer row goes alone.",
        unit="tokens",
        minimum=1,
    )
    shared_prompts: str = setting(
        "none",
        "Scores compute each prompt once for all its responses: with rows `padded` to one width, or `packed` without "
        "padding or mask, by the kernel for varying lengths on a GPU. Tried by the run itself before its first use; "
        "not run on a GPU yet.",
        choices=("none", "padded", "packed"),
        added=True,
    )
    head_rows: int = setting(
        1024,
        "At most so many have their logits held at once; fewer where these would take more than 1 GiB.",
        unit="tokens",
        minimum=1,
    )
    rollout_tensor_parallel: int = setting(
        1, "That one copy of vLLM is spread over; divides the run's GPUs.", unit="GPUs", minimum=1
    )
    rollout_memory: float = setting(
        0.6, "Of a GPU's memory that is vLLM's while it samples.", unit="share", above=0, maximum=1
    )
    rollout_batch_tokens: int = setting(40960, "In one forward pass of vLLM.", unit="tokens", minimum=1)
    overrides: list[str] = setting(
        [],
        "More of verl's own keys, as `name.path=value` with `+` before a new one, no quotes or spaces; what the "
        "settings here decide is refused.",
        unit="words",
        pattern=("name.path=value, with + or ++ before a new name, and no white space, quote or backslash", _WORD),
    )
    nodes: int = setting(
        1, "Of a run; like the next, the machine's: a change retrains nothing.", unit="machines", minimum=1
    )
    gpus_per_node: int = setting(8, "Of each machine.", unit="GPUs", minimum=1)


@dataclass(frozen=True)
class RunSettings(Settings):
    """All settings of a run. The class with its defaults is what config/defaults.yaml says."""

    preset: str = setting(
        "corrected",
        "Code behaviour: the papers' formulas, or what the code released in June 2026 did; next section.",
        choices=("corrected", "as_published"),
    )
    trainer: str = setting(
        "local",
        "One process, CPU or one GPU; or verl with Ray, vLLM and FSDP.",
        choices=("local", "verl"),
    )
    steps: int = setting(480, "Length of a run; a step is one batch of rollouts.", unit="training steps", minimum=1)
    rollout: RolloutSettings = field(default_factory=RolloutSettings)
    reward: RewardSettings = field(default_factory=RewardSettings)
    chat: ChatSettings = field(default_factory=ChatSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    update: UpdateSettings = field(default_factory=UpdateSettings)
    validation: ValidationSettings = field(default_factory=ValidationSettings)
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)
    objective: dict[str, Any] = field(default_factory=dict, metadata={"meaning": "The method's own keys."})
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    hints: HintSettings = field(default_factory=HintSettings)
    controls: ControlSettings = field(default_factory=ControlSettings)
    critic: CriticSettings = field(default_factory=CriticSettings)
    guards: GuardSettings = field(default_factory=GuardSettings)
    records: RecordSettings = field(default_factory=RecordSettings)
    verl: MachineSettings = field(default_factory=MachineSettings)
