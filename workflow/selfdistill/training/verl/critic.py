"""Asks the critic of a verl run, from the driver, between the rollouts and the teacher."""

import contextlib
import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfdistill.critics.server import ServerCritic
from selfdistill.critics.step_critiques import CritiquedSteps
from selfdistill.errors import UserError
from selfdistill.methods.setting import from_mapping
from selfdistill.study.critic_settings import CriticSettings
from selfdistill.training.run_critic import address_told, critic_without_model, critiqued_steps, digest_of
from selfdistill.training.started_server import split_devices, started_server

if TYPE_CHECKING:
    from selfdistill.training.verl.settings import VerlSettings

_TRIES, _PAUSE = 20, 0.5


@contextlib.contextmanager
def server_of_job(
    config: Mapping[str, Any],
    external: Mapping[str, Path],
    state: Path,
    gpus: int,
    report: Callable[[str], None],
) -> Iterator[dict[str, str]]:
    """Start the critic's server where the run asks for one; it ends with the block.

    Args:
        config: the resolved run config.
        external: roles of other models -> folder.
        state: folder of the run's state.
        gpus: of verl, on this machine.
        report: takes one line of progress.

    Yields:
        Environment variables of verl's processes: where the server answers, and the GPUs that are not the server's.

    Raises:
        UserError: where the server does not start.
    """
    critic = from_mapping(CriticSettings, config.get("critic", {}))
    if not critic.start:
        yield {}
        return
    rest, own = split_devices(os.environ, gpus + critic.gpus, critic.gpus)
    seen = {} if rest is None else {"CUDA_VISIBLE_DEVICES": rest}
    with started_server(critic, external["critic"], state, report, gpus=own) as address:
        yield seen | address.variables


def critic_of_driver(
    settings: "VerlSettings", noted: Mapping[str, Mapping[str, str]], samplers: Sequence[str]
) -> CritiquedSteps | None:
    """Return the critic of a run; None without one.

    Args:
        settings: of the run.
        noted: what the run's state says of its other models (external_models.noted_models).
        samplers: addresses of the samplers' own servers, host and port, which answer for a student that is its own
            critic, with the weights that they have at the time.

    Raises:
        UserError: for a critic that cannot be had.
    """
    run = settings.run
    critic = run.critic
    if critic.kind == "none":
        return None
    if critic.kind == "self":
        urls = [f"http://{address}/v1" for address in samplers]
        model = _served_name(urls[0])
        made = ServerCritic(critic, url=urls[0], more=urls[1:], model=model, digest=f"student {run.seed}")
    else:
        address = address_told() if critic.start else None
        made = critic_without_model(run, settings.grader, digest=digest_of(noted), address=address)
    return critiqued_steps(made, run, settings.state, lambda line: print(line, flush=True))


def _served_name(url: str) -> str:
    """The name that a sampler's server knows its model by. Raises UserError where it does not answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    said: Exception | None = None
    for _ in range(_TRIES):
        try:
            with opener.open(f"{url}/models", timeout=30) as answer:
                return json.load(answer)["data"][0]["id"]
        except (OSError, ValueError, KeyError, IndexError) as error:
            said = error
            time.sleep(_PAUSE)
    raise UserError(f"critic.kind self: the sampler's own server at {url} does not answer ({said})")
