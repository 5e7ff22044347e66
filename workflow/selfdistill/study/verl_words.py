"""Writes a run's settings as words of verl's command line.

What verl has a key for goes there, the rest into a `selfdistill` tree of our own; what is the same for every run (our
trainer, agent loop, reward) is wiring.py's. Nothing of verl is imported: the words are also made while the workflow is
planned, where verl need not be installed.
"""

import os
import re
from collections.abc import Mapping
from typing import Any

from selfdistill.errors import UserError
from selfdistill.methods.setting import defaults
from selfdistill.study.config_files import value_at
from selfdistill.study.run_settings import RunSettings
from selfdistill.study.teacher_settings import reads_initial

_MODEL = "actor_rollout_ref.model"
#: Of the section `verl` of a run, what verl has no key for.
_OWN_OF_VERL = ("head_rows", "shared_prompts")
#: Sections of a run that are sections of the tree `selfdistill`; of `verl`, only what verl has no key for.
_SECTIONS = [name for name in defaults(RunSettings) if name not in ("preset", "trainer", "steps", "checkpoint", "verl")]
_DTYPES = {"float32": "fp32", "bfloat16": "bf16"}
#: Text that Hydra takes for text as it stands; everything else is quoted.
_PLAIN = re.compile(r"(?!(?:null|true|false|nan|inf)$)[A-Za-z_/][\w./]*", re.IGNORECASE)
_WORD = re.compile(r"(?:\+{0,2}|~)(?P<key>[A-Za-z_]\w*(?:\.\w+)*)=[^\s\"'\\]*")


#: Settings of a run that verl has a key for -> the key. What verl has none for is in the tree `selfdistill`.
NATIVE = {
    "rollout.prompts_per_step": "data.train_batch_size",
    "rollout.max_prompt_tokens": "data.max_prompt_length",
    "rollout.group_size": "actor_rollout_ref.rollout.n",
    "rollout.temperature": "actor_rollout_ref.rollout.temperature",
    "rollout.top_p": "actor_rollout_ref.rollout.top_p",
    "rollout.top_k": "actor_rollout_ref.rollout.top_k",
    "optimizer.learning_rate": "actor_rollout_ref.actor.optim.lr",
    "optimizer.weight_decay": "actor_rollout_ref.actor.optim.weight_decay",
    "optimizer.warmup_steps": "actor_rollout_ref.actor.optim.lr_warmup_steps",
    "optimizer.max_grad_norm": "actor_rollout_ref.actor.optim.clip_grad",  # the one that the FSDP engine reads
    "optimizer.freeze_vision_tower": "actor_rollout_ref.actor.freeze_vision_tower",  # which nothing of verl reads
    "update.prompts_per_update": "actor_rollout_ref.actor.ppo_mini_batch_size",
    "update.micro_batch_tokens": "actor_rollout_ref.actor.ppo_max_token_len_per_gpu",
    "validation.draws": "actor_rollout_ref.rollout.val_kwargs.n",
    "validation.temperature": "actor_rollout_ref.rollout.val_kwargs.temperature",
    "validation.top_p": "actor_rollout_ref.rollout.val_kwargs.top_p",
    "validation.top_k": "actor_rollout_ref.rollout.val_kwargs.top_k",
    "validation.every": "trainer.test_freq",
    "checkpoint.every": "trainer.save_freq",
    "steps": "trainer.total_training_steps",
}


def hydra_overrides(
    config: Mapping[str, Any],
    *,
    train_file: str | os.PathLike,
    val_file: str | os.PathLike,
    model: str | os.PathLike,
    state: str | os.PathLike,
    gpus: int,
    nodes: int,
    attention: str,
    external: Mapping[str, str | os.PathLike] | None = None,
    search: bool = False,
) -> list[str]:
    """Return the words of a run, those of the user's own last.

    Args:
        config: a resolved run config with trainer verl.
        train_file: parquet of training problems.
        val_file: parquet of evaluation problems.
        model: folder of the base model.
        state: folder for checkpoints, metrics and validation draws.
        gpus: of one node; on a CPU, processes that pose as GPUs (0 is one).
        nodes: machines.
        attention: "flash_attention_2" or "sdpa": what `verl.attention: auto` came to.
        external: "teacher" and "reference" -> folder of another model, which takes the place of its name.
        search: at test time (training.discovery): nothing is validated, rounds of attempts are written down, and the
            first pass ends the run.

    Raises:
        UserError: for settings that verl or this plug-in cannot run, and for words of the user's own that are
            malformed or name a key that is set here.
    """
    cpu = config["verl"]["device"] == "cpu"
    gpus = max(gpus, 1) if cpu else gpus
    _refuse(config, gpus * nodes, attention)
    words = {
        "data.train_files": os.path.abspath(train_file),
        "data.val_files": os.path.abspath(val_file),
        "actor_rollout_ref.model.path": os.path.abspath(model),
        f"+{_MODEL}.override_config.attn_implementation": attention,
        **science(config),
        **_trainer(config, state, gpus, nodes),
        **(_cpu() if cpu else {}),
        **(_own_ray(gpus if cpu else None) if nodes == 1 else {}),
        **_own(config, state, external or {}),
        **({"trainer.val_before_train": False, "+selfdistill.search": True} if search else {}),
    }
    own = config["verl"]["overrides"]
    _check_words(own, [key.lstrip("+") for key in words])
    return [f"{key}={_value(value)}" for key, value in words.items()] + list(own)


def science(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return key -> value of what a run's settings decide among verl's own keys: nothing of files and machines.

    Args:
        config: a resolved run config with trainer verl.
    """
    return {
        **{key: value for name, key in NATIVE.items() if (value := value_at(config, (*name.split("."),))) is not None},
        **_data(config),
        "algorithm.adv_estimator": "grpo",
        "algorithm.use_kl_in_reward": False,
        **_model(config),
        **_workers(config),
        **_rollout(config),
    }


def _data(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "data.max_response_length": _longest_response(config),
        "data.shuffle": False,
        "data.validation_shuffle": False,
        "data.dataloader_num_workers": 0,
        "data.truncation": "error",
        "data.filter_overlong_prompts": False,
        "data.return_raw_chat": True,
        "+data.apply_chat_template_kwargs.enable_thinking": config["chat"]["thinking"],
    }


def _model(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"{_MODEL}.trust_remote_code": False,
        f"{_MODEL}.use_remove_padding": config["verl"]["packed"],
        f"{_MODEL}.enable_gradient_checkpointing": config["verl"]["gradient_checkpointing"],
    }


def _teacher(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: config["teacher"].get(key) for key in ("kind", "reference")}


def _workers(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the words about the student and the frozen initial model."""
    verl, optimizer, update = config["verl"], config["optimizer"], config["update"]
    actor, ref = "actor_rollout_ref.actor", "actor_rollout_ref.ref"
    # A CPU keeps float32 (docs/departures.md D5), as the local trainer does.
    master = "fp32" if verl["device"] == "cpu" else _DTYPES[optimizer["master_dtype"]]
    compute = {"param_dtype": _DTYPES[verl["dtype"]], "reduce_dtype": "fp32", "buffer_dtype": "fp32"}
    return {
        f"{actor}.strategy": "fsdp2",
        f"{actor}.grad_clip": optimizer["max_grad_norm"],  # the one that verl's documentation names, beside clip_grad
        f"{actor}.use_dynamic_bsz": True,
        f"{actor}.use_kl_loss": update["kl_coef"] > 0 or reads_initial(**_teacher(config)),
        f"{actor}.use_torch_compile": False,
        f"{actor}.fsdp_config.model_dtype": master,
        f"{actor}.fsdp_config.param_offload": verl["offload_parameters"],
        f"{actor}.fsdp_config.optimizer_offload": verl["offload_optimizer"],
        f"{actor}.fsdp_config.use_torch_compile": False,
        f"{actor}.fsdp_config.seed": config["seed"],
        f"+{actor}.fsdp_config.mixed_precision": compute,
        f"{ref}.strategy": "fsdp2",
        f"{ref}.log_prob_use_dynamic_bsz": True,
        f"{ref}.log_prob_max_token_len_per_gpu": verl["score_tokens"],
        f"{ref}.use_torch_compile": False,
        f"{ref}.fsdp_config.model_dtype": master,
        f"{ref}.fsdp_config.use_torch_compile": False,
        f"+{ref}.fsdp_config.mixed_precision": compute,
    }


def _rollout(config: Mapping[str, Any]) -> dict[str, Any]:
    rollout, validation, verl = config["rollout"], config["validation"], config["verl"]
    at = "actor_rollout_ref.rollout"
    return {
        f"{at}.name": "vllm",
        f"{at}.top_k": rollout["top_k"] or -1,
        f"{at}.seed": config["seed"],
        f"{at}.calculate_log_probs": True,
        # Of the full distribution, as those of the trainer: at temperature 1 vLLM's raw ones are. Otherwise nothing is
        # cut off (see _refuse), and the processed ones are.
        f"{at}.logprobs_mode": "raw_logprobs" if rollout["temperature"] == 1 else "processed_logprobs",
        f"{at}.tensor_model_parallel_size": verl["rollout_tensor_parallel"],
        f"{at}.gpu_memory_utilization": verl["rollout_memory"],
        f"{at}.dtype": verl["dtype"],
        f"{at}.max_model_len": rollout["max_prompt_tokens"] + _longest_response(config),
        f"{at}.max_num_batched_tokens": verl["rollout_batch_tokens"],
        f"{at}.load_format": "auto",
        f"{at}.log_prob_use_dynamic_bsz": True,
        f"{at}.log_prob_max_token_len_per_gpu": verl["score_tokens"],
        f"{at}.val_kwargs.do_sample": validation["temperature"] > 0,
        f"{at}.val_kwargs.top_k": validation["top_k"] or -1,
    }


def _trainer(config: Mapping[str, Any], state: str | os.PathLike, gpus: int, nodes: int) -> dict[str, Any]:
    return {
        "trainer.device": config["verl"]["device"],
        "trainer.n_gpus_per_node": gpus,
        "trainer.nnodes": nodes,
        "trainer.logger": ["console"],
        "trainer.project_name": "selfdistill",
        "trainer.experiment_name": f"{config['task']}/{config['model']}/{config['variant']}/seed{config['seed']}",
        "trainer.total_epochs": config["steps"],  # an epoch has one step at least, so the steps alone end a run
        "trainer.val_before_train": True,
        "trainer.default_local_dir": os.path.join(os.path.abspath(state), "checkpoints"),
        "trainer.resume_mode": "auto",
        "trainer.max_actor_ckpt_to_keep": 2,  # one would be removed before its successor is whole
    }


def _cpu() -> dict[str, Any]:
    """Returns words for a CPU, besides selfdistill.training.verl.cpu: a rollout engine without what only GPUs
    have, and few helpers.
    """
    rollout = "actor_rollout_ref.rollout"
    return {
        f"{rollout}.enforce_eager": True,
        f"{rollout}.free_cache_engine": False,
        # verl forgets keys and values of older weights where it frees the cache between steps, and nowhere else.
        f"{rollout}.enable_prefix_caching": False,
        f"+{rollout}.enable_sleep_mode": False,
        f"{rollout}.max_num_seqs": 32,
        f"{rollout}.checkpoint_engine.update_weights_bucket_megabytes": 1024,  # the largest tensor must fit
        f"{rollout}.agent.num_workers": 1,
        f"+{rollout}.engine_kwargs.vllm.worker_extension_cls": "selfdistill.training.verl.vllm_cpu.CpuWorkerExtension",
        "reward.num_workers": 1,
        "transfer_queue.backend.SimpleStorage.num_data_storage_units": 1,
    }


def _own_ray(workers: int | None) -> dict[str, Any]:
    """Returns words about the Ray that a run on one node starts; on a CPU with `workers` processes that pose as GPUs.

    A cluster that runs already has its own, and Ray refuses these keys there.
    """
    at = "ray_kwargs.ray_init"
    posing = {
        f"{at}.num_cpus": 16,  # more than there are: helpers wait for each other more than they compute
        f"+{at}.num_gpus": workers,
        f"+{at}.object_store_memory": 500_000_000,
    }
    return {f"+{at}.include_dashboard": False, **(posing if workers else {})}


def _own(
    config: Mapping[str, Any], state: str | os.PathLike, external: Mapping[str, str | os.PathLike]
) -> dict[str, Any]:
    """The `selfdistill` tree: the sections of the run, but for what verl has a key for."""
    sections = {name: without_native(name, config[name]) for name in config if name in _SECTIONS}
    keys = {"teacher": ("teacher", "model"), "reference": ("teacher", "reference"), "critic": ("critic", "model")}
    for role, folder in external.items():
        section, key = keys[role]
        sections[section] = {**sections[section], key: os.path.abspath(folder)}
    values = {
        "implementation": config["implementation"],
        "preset": config["preset"],
        "seed": config["seed"],
        **{name: part for name, part in sections.items() if part},
        "verl": {key: config["verl"][key] for key in _OWN_OF_VERL if key in config["verl"]},
        "grader": config["grader"],
        **{key: config[key] for key in ("grading", "prompt") if key in config},
        "benchmarks": config["benchmarks"],
        "state": os.path.abspath(state),
    }
    return {f"+selfdistill.{key}": value for key, value in values.items()}


def without_native(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a section that verl has no key for."""
    return {key: value for key, value in values.items() if f"{section}.{key}" not in NATIVE}


def _longest_response(config: Mapping[str, Any]) -> int:
    """In tokens; verl has one limit for training and validation, each draw's own is in the `selfdistill` tree."""
    return max(config["rollout"]["max_response_tokens"], config["validation"]["max_response_tokens"])


def _refuse(config: Mapping[str, Any], workers: int, attention: str) -> None:
    rollout, verl = config["rollout"], config["verl"]
    if rollout["engine"] != "vllm":
        raise UserError(
            f"rollout.engine with trainer verl: expected vllm, found {rollout['engine']!r}; change it, or set trainer: "
            "local",
            keys=["rollout.engine"],
        )
    if rollout["old_logprobs"] != "recompute":
        raise UserError(
            "rollout.old_logprobs with trainer verl: expected recompute, found 'sampler': vLLM's log-probs are not the "
            "trainer's; change it",
            keys=["rollout.old_logprobs"],
        )
    if rollout["temperature"] != 1 and (rollout["top_p"] < 1 or rollout["top_k"]):
        raise UserError(
            f"rollout.temperature {rollout['temperature']} with trainer verl needs rollout.top_p 1, rollout.top_k 0: "
            "vLLM gives log-probs of the full distribution at temperature 1, or of the cut one at any; change one",
            keys=["rollout.temperature", "rollout.top_p", "rollout.top_k"],
        )
    if verl["device"] == "cpu" and attention != "sdpa":
        raise UserError(
            f"verl.attention {attention!r} needs a GPU; with verl.device cpu it is sdpa or auto",
            keys=["verl.attention", "verl.device"],
        )
    if workers % verl["rollout_tensor_parallel"]:
        raise UserError(
            f"verl.rollout_tensor_parallel {verl['rollout_tensor_parallel']} does not divide the run's {workers} GPUs; "
            "change it, or ask for others (verl.gpus_per_node, verl.nodes)",
            keys=["verl.rollout_tensor_parallel", "verl.gpus_per_node", "verl.nodes"],
        )


def _check_words(words: list[str], ours: list[str]) -> None:
    for word in words:
        found = _WORD.fullmatch(word)
        if not found:
            raise UserError(
                f"verl.overrides: {word!r} is no name.path=value (no white space, quotes or backslashes)",
                keys=["verl.overrides"],
            )
        key = found["key"]
        above = [name for name in ours if f"{name}.".startswith(f"{key}.") or f"{key}.".startswith(f"{name}.")]
        if above:
            raise UserError(
                f"verl.overrides: {word!r} names {above[0]}, which the run's other settings decide; change those "
                "(config/README.md)",
                keys=["verl.overrides"],
            )


def _value(value: Any) -> str:
    """In Hydra's grammar, so that it comes out as it went in."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_value(inner)}" for key, inner in value.items()) + "}"
    if not isinstance(value, str):
        return "[" + ",".join(map(_value, value)) + "]"
    if _PLAIN.fullmatch(value):
        return value
    if "${" in value:  # an escaped one would survive one reading, but verl resolves its configuration twice
        raise UserError(f"{value!r}: verl takes ${{ in a path or a text for a variable; choose one without it")
    # A backslash is itself, but before a quote.
    return "'" + re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), value) + "'"
