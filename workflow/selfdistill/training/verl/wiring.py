"""Sets our parts in verl's configuration, the same for every run."""

import json
import os
from pathlib import Path

from omegaconf import DictConfig, open_dict

from selfdistill.scoring.pictures import KINDS
from selfdistill.study.own_prompts import own_prompts
from selfdistill.training.verl.settings import VerlSettings

_PACKAGE = "pkg://selfdistill.training.verl"
_AGENT_LOOPS = Path(__file__).with_name("agent_loops.yaml")
#: Variables that every worker needs; one of a Ray cluster that is running already has none of this process's.
_FOR_WORKERS = (
    "VERL_USE_EXTERNAL_MODULES",
    "VERL_ENGINE_VENDOR",
    "VERL_ENGINE_DEVICE",
    "VERL_PLATFORM",
    "PYTHONPATH",
    "SELFDISTILL_REASON_FILE",
)


def wire_up(config: DictConfig) -> VerlSettings:
    """Point verl at our trainer, problems, agent loop and verifier, in place.

    A reward function, a data set or an agent loop of the user's own stays.

    Returns:
        What our trainer reads of it.

    Raises:
        UserError: as `VerlSettings.from_hydra`.
    """
    settings = VerlSettings.from_hydra(config)
    run = settings.run
    with open_dict(config):
        config.selfdistill = settings.tree
        config.trainer.v1.trainer_mode = "selfdistill"
        data, agent, reward = config.data, config.actor_rollout_ref.rollout.agent, config.reward.custom_reward_function
        if not data.custom_cls.path:
            data.custom_cls.path, data.custom_cls.name = f"{_PACKAGE}.dataset", "ProblemDataset"
        given = dict(data.get("apply_chat_template_kwargs") or {})  # ProblemDataset refuses what differs from ours
        data.apply_chat_template_kwargs = run.chat.variables | given
        if data.custom_cls.path == f"{_PACKAGE}.dataset":
            data.selfdistill = {
                "max_response_tokens": run.rollout.max_response_tokens,
                "validation_response_tokens": run.validation.max_response_tokens,
                "validation_problems": run.validation.problems,
                "benchmarks": settings.benchmarks,
                "chat": settings.tree["chat"],
                "need_solution": run.needs_solutions,
                "own_prompts": own_prompts({"grader": settings.grader, "prompt": settings.prompt}),
            }
        if not agent.agent_loop_config_path:
            agent.agent_loop_config_path, agent.default_agent_loop = str(_AGENT_LOOPS), "selfdistill"
        if not agent.get("agent_loop_manager_class") and _kind(config.actor_rollout_ref.model.path) in KINDS:
            agent.agent_loop_manager_class = "selfdistill.training.verl.agent_loop_manager.PictureAgentLoopManager"
        if not reward.path:
            reward.path, reward.name = f"{_PACKAGE}.reward", "compute_score"
            reward.reward_kwargs = {"grader": settings.grader, "first_role_counts": run.reward.first_role_counts}
            if grading := run.reward.grading(settings.grading):
                reward.reward_kwargs["grading"] = grading
        inherited = {name: os.environ[name] for name in _FOR_WORKERS if name in os.environ}
        ray_init = config.ray_kwargs.setdefault("ray_init", {})
        runtime = ray_init.setdefault("runtime_env", {})
        runtime.env_vars = inherited | dict(runtime.get("env_vars") or {})
    return settings


def _kind(path: str) -> str | None:
    """Returns what kind of model a folder says it is; None where it does not, which is others' to refuse."""
    try:
        return json.loads((Path(os.path.expanduser(path)) / "config.json").read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
