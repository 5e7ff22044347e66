"""A verl configuration with its `selfdistill` tree as typed settings, and what this trainer refuses of the former."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from selfdistill.errors import UserError
from selfdistill.models.chat import ChatSettings
from selfdistill.signals.hints import HintSettings
from selfdistill.signals.teachers import TeacherSettings
from selfdistill.training.settings import RecordSettings, StepSettings

#: Keys of the `selfdistill` tree that may be left out, with the values that they then have.
DEFAULTS: dict[str, Any] = {
    "objective": {},
    "seed": 0,
    "aggregation": "tokens",
    "kl_coef": 0.0,
    "old_logprobs": "recompute",
    "importance_threshold": 2.0,
    "teacher": {},
    "hints": {},
    "chat": {},
    "null_contrast_rollouts": 2,
    "records": {},
    "shuffle_rewards": False,
    "head_rows": 1024,
    "stall_seconds": 3600,
    "grader": "maths",
    "grading": {},
    "first_role_counts": False,
    "state": None,
    "max_response_tokens": None,
    "validation_response_tokens": None,
    "validation_problems": None,
    "benchmarks": None,
}
_REQUIRED = ("implementation",)


@dataclass(frozen=True)
class VerlSettings:
    """All that this trainer reads beyond what verl's own parts read.

    Attributes:
        step: of a training step.
        temperature: of rollouts; divides the logits of every score.
        validation_draws: responses a validation problem.
        validation_every, checkpoint_every: training steps; 0 or less is never.
        head_rows: at most so many rows of logits are held at once, and never more than 1 GiB of them.
        stall_seconds: so long without any finished prompt, and the run is given up.
        state: folder of metrics.jsonl and of the validation's draws.
    """

    step: StepSettings
    temperature: float
    max_response_tokens: int
    validation_draws: int
    validation_every: int
    checkpoint_every: int
    head_rows: int
    stall_seconds: float
    state: Path

    @classmethod
    def from_hydra(cls, config: DictConfig) -> "VerlSettings":
        """Raises UserError for unknown or missing keys of `selfdistill`, and for what cannot be had with it."""
        tree = OmegaConf.to_container(config.get("selfdistill") or OmegaConf.create({}), resolve=True)
        unknown = sorted(set(tree) - set(DEFAULTS) - set(_REQUIRED))
        missing = sorted(set(_REQUIRED) - set(tree))
        if unknown or missing:
            said = [f"unknown {', '.join(unknown)}"] * bool(unknown) + [f"missing {', '.join(missing)}"] * bool(missing)
            raise UserError(f"selfdistill: {'; '.join(said)}; it takes {', '.join([*_REQUIRED, *DEFAULTS])}")
        tree = DEFAULTS | tree
        _refuse(config, tree)
        actor, rollout, data, trainer = (
            config.actor_rollout_ref.actor,
            config.actor_rollout_ref.rollout,
            config.data,
            config.trainer,
        )
        hints = _section(HintSettings, tree["hints"], "hints")
        response_tokens = tree["max_response_tokens"] or data.max_response_length
        step = StepSettings(
            implementation=tree["implementation"],
            objective=dict(tree["objective"]),
            seed=tree["seed"],
            prompts_per_step=data.train_batch_size,
            group_size=rollout.n,
            max_sequence_tokens=data.max_prompt_length + response_tokens + hints.max_tokens,
            old_logprobs=tree["old_logprobs"],
            importance_threshold=tree["importance_threshold"],
            shuffle_rewards=tree["shuffle_rewards"],
            learning_rate=actor.optim.lr,
            warmup_steps=max(actor.optim.lr_warmup_steps, 0),
            prompts_per_update=actor.ppo_mini_batch_size,
            aggregation=tree["aggregation"],
            kl_coef=tree["kl_coef"],
            teacher=_section(TeacherSettings, tree["teacher"], "teacher"),
            hints=hints,
            null_contrast_rollouts=tree["null_contrast_rollouts"],
            records=_section(RecordSettings, tree["records"], "records"),
            chat=_section(ChatSettings, tree["chat"], "chat"),
        )
        return cls(
            step=step,
            temperature=rollout.temperature,
            max_response_tokens=response_tokens,
            validation_draws=rollout.val_kwargs.n,
            validation_every=trainer.test_freq,
            checkpoint_every=trainer.save_freq,
            head_rows=tree["head_rows"],
            stall_seconds=tree["stall_seconds"],
            state=Path(tree["state"] or trainer.default_local_dir).absolute(),
        )


def _refuse(config: DictConfig, tree: dict[str, Any]) -> None:
    """Raises UserError for settings of verl that would silently do nothing, or the wrong thing, in this trainer."""
    actor, rollout, model = (
        config.actor_rollout_ref.actor,
        config.actor_rollout_ref.rollout,
        config.actor_rollout_ref.model,
    )
    raw = rollout.logprobs_mode == "raw_logprobs" and rollout.temperature == 1.0
    untouched = rollout.logprobs_mode == "processed_logprobs" and rollout.top_p == 1.0 and rollout.top_k in (-1, 0)
    wanted = (
        (config.trainer.use_v1, "trainer.use_v1 must be True"),
        (config.algorithm.adv_estimator == "grpo", "algorithm.adv_estimator must be grpo: advantages are the group's"),
        (
            not config.algorithm.use_kl_in_reward,
            "algorithm.use_kl_in_reward must be False; selfdistill.kl_coef is in the loss",
        ),
        (actor.entropy_coeff == 0, "actor_rollout_ref.actor.entropy_coeff must be 0: no method has an entropy term"),
        (actor.ppo_epochs == 1, "actor_rollout_ref.actor.ppo_epochs must be 1"),
        (actor.strategy == "fsdp2", "actor_rollout_ref.actor.strategy must be fsdp2"),
        (
            actor.fsdp_config.ulysses_sequence_parallel_size == 1 and actor.ulysses_sequence_parallel_size == 1,
            "actor_rollout_ref.actor.ulysses_sequence_parallel_size must be 1: the output layer is read row by row",
        ),
        (
            not model.use_fused_kernels,
            "actor_rollout_ref.model.use_fused_kernels must be False: the output layer is ours",
        ),
        (
            actor.optim.lr_scheduler_type == "constant" and actor.optim.lr_warmup_steps_ratio <= 0,
            "actor_rollout_ref.actor.optim must have lr_scheduler_type constant and lr_warmup_steps_ratio 0: the rate "
            "is lr, after a linear rise over lr_warmup_steps",
        ),
        (not config.algorithm.filter_groups.enable, "algorithm.filter_groups.enable must be False"),
        (
            config.trainer.resume_mode != "resume_path",
            "trainer.resume_mode must be auto or disable: a run resumes from trainer.default_local_dir",
        ),
        (model.get("lora_rank", 0) == 0, "actor_rollout_ref.model.lora_rank must be 0: adapters are not supported"),
        (
            tree["old_logprobs"] == "recompute",
            "selfdistill.old_logprobs must be recompute: those of vLLM are not the trainer's",
        ),
        (rollout.calculate_log_probs, "actor_rollout_ref.rollout.calculate_log_probs must be True"),
        (
            raw or untouched,
            "actor_rollout_ref.rollout.logprobs_mode must give log-probs of the full distribution: raw_logprobs with "
            "temperature 1, or processed_logprobs with top_p 1 and top_k -1",
        ),
        (
            tree["teacher"].get("kind") != "trust_region",
            "selfdistill.teacher.kind trust_region mixes the logits of two models, which verl holds in different "
            "workers; use the local trainer",
        ),
        (config.data.truncation == "error", "data.truncation must be error: a cut prompt is another problem"),
        (not config.data.shuffle, "data.shuffle must be False: rows are taken in the file's order"),
    )
    for fine, said in wanted:
        if not fine:
            raise UserError(said)
    needed = tree["kl_coef"] > 0 or tree["teacher"].get("kind") == "initial"
    if needed != actor.use_kl_loss:
        raise UserError(
            f"actor_rollout_ref.actor.use_kl_loss must be {needed}: it starts verl's reference worker, which "
            "selfdistill.kl_coef and teacher.kind initial need and nothing else; the coefficient is selfdistill.kl_coef"
        )


def _section(kind: type, values: dict[str, Any], name: str) -> Any:
    try:
        return kind(**values)
    except TypeError as error:
        raise UserError(f"selfdistill.{name}: {error}; see config/README.md for its keys") from None
