"""Builds the critic of a run from its settings: a rule, a server, a second model, or the student itself."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from selfdistill.critics.cache import CritiqueCache
from selfdistill.critics.model import ModelCritic
from selfdistill.critics.request import Critic
from selfdistill.critics.rule import RuleCritic
from selfdistill.critics.server import ServerCritic
from selfdistill.critics.step_critiques import CritiquedSteps
from selfdistill.errors import UserError
from selfdistill.models.chat import end_ids, pad_id
from selfdistill.models.first_day import try_model
from selfdistill.models.loading import load_model, pick_device
from selfdistill.models.template_check import check_prompts
from selfdistill.sampling.decode import DecodeLoop
from selfdistill.sampling.interface import Sampler
from selfdistill.scoring.lengths import position_count
from selfdistill.study.run_settings import ChatSettings
from selfdistill.study.training_settings import TrainingSettings

#: The name under which a server that the job starts knows its model.
SERVED_NAME = "critic"
#: Where a config sets no limit to positions.
_NO_LIMIT = 1 << 30


#: Where a server that the job started answers, for the processes of verl's trainer.
_URL_VARIABLE, _KEY_VARIABLE = "SELFDISTILL_CRITIC_URL", "SELFDISTILL_CRITIC_KEY"


@dataclass(frozen=True)
class Address:
    """Locates a server: URL with /v1, the name that it knows the model by, and its key where no variable holds it."""

    url: str
    model: str
    key: str | None = field(default=None, repr=False)

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables that tell another process of it; see `address_told`."""
        return {_URL_VARIABLE: self.url, _KEY_VARIABLE: self.key or ""}


def address_told(environment: Mapping[str, str] = os.environ) -> Address:
    """Return the address of the server that the job started. Raises UserError where there is none."""
    if not (url := environment.get(_URL_VARIABLE)):
        raise UserError(
            "critic.start: the server is started by the job that trains, and this process was not started by one; "
            "give the address of a server of your own as critic.url"
        )
    return Address(url, SERVED_NAME, environment.get(_KEY_VARIABLE) or None)


def critiqued_steps(
    critic: Critic, settings: TrainingSettings, state: Path, report: Callable[[str], None]
) -> CritiquedSteps:
    """Return a critic with the cache in a run's state. Raises UserError where that is spoilt."""
    return CritiquedSteps(critic, settings.critic, CritiqueCache(state), report)


def critic_without_model(
    settings: TrainingSettings, grader: str, *, digest: str = "", address: Address | None = None
) -> Critic:
    """Return a critic that takes no weights in this process: a rule, or a server.

    Args:
        settings: of the run.
        grader: of the task.
        digest: of the server's weights, where the run knows them.
        address: of a server that the job started; else that of the settings.

    Raises:
        UserError: for a kind that needs a model, and where a server's key is not set.
    """
    critic = settings.critic
    critic.check(grader)
    if critic.kind == "rule":
        return RuleCritic(critic, grader)
    if critic.kind != "server":
        raise UserError(f"critic.kind {critic.kind!r} needs a model in the trainer's process; take server or rule")
    at = address or Address(critic.url, critic.model)
    return ServerCritic(critic, url=at.url, model=at.model, digest=digest, key=at.key)


def model_critic(settings: TrainingSettings, folder: Path, digest: str, report: Callable[[str], None]) -> Critic:
    """Load a second model as the critic.

    Args:
        settings: of the run.
        folder: of the model.
        digest: of its weights.
        report: takes one line of progress.

    Raises:
        UserError: for a model that cannot be loaded, or fails what it is tried on.
    """
    model, tokenizer = load_model(folder, pick_device())
    chat = _chat(settings)
    check_prompts(tokenizer, chat, model.generation_config, report)
    try_model(model, report)
    ends = end_ids(model, tokenizer, chat)
    sampler = DecodeLoop(model.requires_grad_(False), pad_id(tokenizer, ends), ends)
    return _of_sampler(settings, sampler, model, tokenizer, digest)


def student_critic(
    settings: TrainingSettings, sampler: Sampler, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> Critic:
    """Return the student as its own critic, with the weights that it has when it is asked."""
    return _of_sampler(settings, sampler, model, tokenizer, "student")


def _of_sampler(
    settings: TrainingSettings,
    sampler: Sampler,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    digest: str,
) -> Critic:
    positions = position_count(model.config) or _NO_LIMIT
    how = {"positions": positions, "digest": digest, "seed": settings.seed}
    return ModelCritic(settings.critic, sampler, tokenizer, _chat(settings), **how)


def _chat(settings: TrainingSettings) -> ChatSettings:
    """How a critic's prompts are rendered: as the run's, but for thinking."""
    thinking = settings.critic.thinking
    return settings.chat if thinking is None else replace(settings.chat, thinking=thinking)


def digest_of(noted: Mapping[str, Mapping[str, str]]) -> str:
    """Return the digest of a critic's weights among a run's other models (external_models.noted_models); "" of none."""
    return noted.get("critic", {}).get("weights_sha256", "")
