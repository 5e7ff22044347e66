"""Reads a verl configuration with its `selfdistill` tree as typed settings, and refuses what this trainer cannot do."""

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from selfdistill.errors import UserError
from selfdistill.methods.setting import from_mapping
from selfdistill.objectives.methods import build_method, published_of
from selfdistill.study.config_files import merged
from selfdistill.study.presets import presets
from selfdistill.study.training_settings import TrainingSettings, published_values
from selfdistill.study.verl_words import NATIVE, without_native

#: Keys of the `selfdistill` tree beside the sections of a run (config/README.md), with the values that they have if
#: they are left out.
ALSO: dict[str, Any] = {
    "grader": "maths",
    "grading": {},
    "prompt": None,
    "benchmarks": None,
    "stall_seconds": 3600,
    "state": None,
    "search": False,
}
#: What the trainer is, beneath whatever is published.
_VERL = {"trainer": "verl", "rollout": {"engine": "vllm", "old_logprobs": "recompute"}}


@dataclass(frozen=True)
class VerlSettings:
    """All that this trainer reads beyond what verl's own parts read.

    Attributes:
        run: as of any run; verl's own keys decide what they are about (study.verl_words.NATIVE).
        validation_every, checkpoint_every: training steps; 0 or less is never.
        grader, grading, benchmarks: of rewards, and of validation (None: all in its file).
        prompt: "own" or "boxed"; None: as the grader reads (study.own_prompts).
        stall_seconds: so long without any finished prompt, and the run is given up.
        state: folder of metrics.jsonl and of the validation's draws.
        search: at test time (training.discovery): rounds are written down, and the first pass ends the run.
    """

    run: TrainingSettings
    validation_every: int
    checkpoint_every: int
    grader: str
    grading: dict[str, Any]
    prompt: str | None
    benchmarks: list[str] | None
    stall_seconds: float
    state: Path
    search: bool = False

    @classmethod
    def from_hydra(cls, config: DictConfig) -> "VerlSettings":
        """Raises UserError for unknown or missing keys of `selfdistill`, and for what cannot be had with it."""
        tree = tree_of(config)
        also = {key: tree.get(key, value) for key, value in ALSO.items()}
        run = run_of(tree, _native(config, tree))
        _refuse(config, run)
        build_method(run.implementation, run.objective)  # here, not in a worker, for its UserError
        return cls(
            run=run,
            validation_every=config.trainer.test_freq,
            checkpoint_every=config.trainer.save_freq,
            grader=also["grader"],
            grading=also["grading"],
            prompt=also["prompt"],
            benchmarks=also["benchmarks"],
            stall_seconds=also["stall_seconds"],
            state=Path(also["state"] or config.trainer.default_local_dir).absolute(),
            search=also["search"],
        )

    @property
    def tree(self) -> dict[str, Any]:
        """Returns the whole `selfdistill` tree."""
        sections = {
            name: without_native(name, part) for name, part in asdict(self.run).items() if isinstance(part, dict)
        }
        run = self.run
        facts = {"implementation": run.implementation, "preset": run.preset, "seed": run.seed}
        also = {key: getattr(self, key) for key in ALSO} | {"state": str(self.state)}
        return facts | {name: part for name, part in sections.items() if part} | also


def tree_of(config: DictConfig) -> dict[str, Any]:
    """Return the `selfdistill` tree of a configuration."""
    return OmegaConf.to_container(config.get("selfdistill") or OmegaConf.create({}), resolve=True)


def run_of(tree: Mapping[str, Any], native: Mapping[str, Any]) -> TrainingSettings:
    """Return the settings of a run: published ones, with what the tree and verl's own keys say otherwise.

    Args:
        tree: the `selfdistill` tree.
        native: settings that verl has keys for, by section.

    Raises:
        UserError: for a tree without implementation, for unknown keys, and for values out of range.
    """
    if "implementation" not in tree:
        raise UserError("selfdistill: key 'implementation' is missing; give the name of a method")
    preset = tree.get("preset", "corrected")
    if preset not in presets():
        raise UserError(f"selfdistill: preset: expected one of {', '.join(presets())}, found {preset!r}")
    own = {key: value for key, value in tree.items() if key not in ALSO}
    implementation = tree["implementation"]
    published = published_values(implementation, published_of(implementation), preset)
    return from_mapping(TrainingSettings, functools.reduce(merged, (_VERL, published, own, native)), "selfdistill")


def _native(config: DictConfig, tree: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that verl has keys for, as it has them."""
    found: dict[str, Any] = {}
    for name, key in NATIVE.items():
        value = OmegaConf.select(config, key)
        section, _, last = name.rpartition(".")
        if last in ("top_k", "warmup_steps"):
            value = max(value, 0)  # -1 is off
        if value is None or (last in ("every", "steps") and value < 1):  # never, or as many as there are
            continue
        found = merged(found, {section: {last: value}} if section else {last: value})
    for section in ("rollout", "validation"):
        if (tree.get(section) or {}).get("max_response_tokens") is None:
            found = merged(found, {section: {"max_response_tokens": config.data.max_response_length}})
    return found


def _refuse(config: DictConfig, run: TrainingSettings) -> None:
    """Raises UserError for settings of verl that would silently do nothing, or the wrong thing, in this trainer."""
    run.teacher.check_model("selfdistill")
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
            "algorithm.use_kl_in_reward must be False; selfdistill.update.kl_coef is in the loss",
        ),
        (
            actor.entropy_coeff == 0,
            "actor_rollout_ref.actor.entropy_coeff must be 0; selfdistill.update.entropy_coef is in the loss",
        ),
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
            run.rollout.old_logprobs == "recompute",
            "selfdistill.rollout.old_logprobs must be recompute: those of vLLM are not the trainer's",
        ),
        (rollout.calculate_log_probs, "actor_rollout_ref.rollout.calculate_log_probs must be True"),
        (
            raw or untouched,
            "actor_rollout_ref.rollout.logprobs_mode must give log-probs of the full distribution: raw_logprobs with "
            "temperature 1, or processed_logprobs with top_p 1 and top_k -1",
        ),
        (config.data.truncation == "error", "data.truncation must be error: a cut prompt is another problem"),
        (not config.data.shuffle, "data.shuffle must be False: rows are taken in the file's order"),
    )
    for fine, said in wanted:
        if not fine:
            raise UserError(said)
    if (needed := run.needs_initial) != actor.use_kl_loss:
        raise UserError(
            f"actor_rollout_ref.actor.use_kl_loss must be {needed}: it starts verl's reference worker, which "
            "selfdistill.update.kl_coef, teacher.kind initial or trust_region and teacher.reference initial need and "
            "nothing else; the coefficient is selfdistill.update.kl_coef"
        )
