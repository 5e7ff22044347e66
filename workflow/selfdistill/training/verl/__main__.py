"""Train with verl, from its command line: python -m selfdistill.training.verl <Hydra overrides>. See docs/verl.md."""

import os
import sys
import traceback
from collections.abc import Sequence

os.environ.setdefault("VERL_USE_EXTERNAL_MODULES", "selfdistill.training.verl.external")
os.environ.setdefault("VERL_ENGINE_VENDOR", "selfdistill")  # our engine, among those that verl knows

import ray
from hydra import compose, initialize_config_module
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from ray.exceptions import RayError, RayTaskError
from verl.trainer.main_ppo import TaskRunnerV1, run_ppo
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.utils.config import validate_config

from selfdistill.errors import UserError
from selfdistill.training.verl.checks import check_external_models, check_gpus, check_model, check_prompts_of
from selfdistill.training.verl.published import fill_in
from selfdistill.training.verl.watchdog import leave_reason
from selfdistill.training.verl.wiring import wire_up


class TaskRunner(TaskRunnerV1.__ray_metadata__.modified_class):
    """verl's own, in a process that knows our trainer."""

    def run(self, config: DictConfig) -> None:
        import selfdistill.training.verl.trainer  # noqa: F401  (registers it)

        super().run(config)


def main(words: Sequence[str]) -> int:
    """Compose verl's configuration with the given overrides, check it, and train. Returns an exit status."""
    try:
        with initialize_config_module("verl.trainer.config", version_base=None):
            config = compose("ppo_trainer", overrides=list(words))
        fill_in(config, words)
        settings = wire_up(config)
        longest = config.data.max_prompt_length + config.data.max_response_length
        check_model(config.actor_rollout_ref.model.path, longest)
        check_external_models(settings.run.teacher, config.actor_rollout_ref.model.path, longest)
        check_prompts_of(config.actor_rollout_ref.model.path, settings.run.chat)
        if config.trainer.device == "cuda":
            check_gpus(config.trainer.n_gpus_per_node, config.trainer.nnodes)
        validate_config(config, need_reference_policy(config), need_critic(config))
        run_ppo(config, task_runner_class=ray.remote(num_cpus=1)(TaskRunner))
    except (UserError, HydraException, OmegaConfBaseException) as error:
        return _failed(getattr(error, "cause", None) or error)
    except RayError as error:
        traceback.print_exc()
        return _failed(error.cause if isinstance(error, RayTaskError) and error.cause else error)
    return 0


def _failed(error: BaseException) -> int:
    said = str(error).strip()
    if not isinstance(error, UserError):
        said = f"{type(error).__name__}: {said.partition(chr(10))[0]}"
    leave_reason(said)
    return 1


if __name__ == "__main__":
    # As a module of its own name, so that Ray's workers find the classes in it.
    from selfdistill.training.verl.__main__ import main as importable_main

    sys.exit(importable_main(sys.argv[1:]))
