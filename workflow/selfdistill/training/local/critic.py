"""Builds the critic of a local run, and starts the server that it may need."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from selfdistill.critics.step_critiques import CritiquedSteps
from selfdistill.sampling.interface import Sampler
from selfdistill.study.training_settings import TrainingSettings
from selfdistill.training.run_critic import (
    critic_without_model,
    critiqued_steps,
    digest_of,
    model_critic,
    student_critic,
)
from selfdistill.training.started_server import split_devices, started_server

#: Makes the critic of a run by what draws from the student, the student and its tokenizer, which the kind self reads.
MakeCritic = Callable[[Sampler | None, PreTrainedModel | None, PreTrainedTokenizerBase | None], CritiquedSteps]


@contextlib.contextmanager
def critic_of_run(
    settings: TrainingSettings,
    grader: str,
    external: Mapping[str, Path],
    noted: Mapping[str, Mapping[str, Any]],
    state: Path,
    report: Callable[[str], None],
) -> Iterator[MakeCritic | None]:
    """Yield what makes the critic of a run; None for a run without one.

    A server that the run asks for is started, and ends with the block. The trainer itself takes the first GPU.

    Args:
        settings: of the run.
        grader: of the task.
        external: roles of other models -> folder.
        noted: what the run's state says of them.
        state: folder of the run's state.
        report: takes one line of progress.

    Raises:
        UserError: for a critic that cannot be had.
    """
    critic, digest = settings.critic, digest_of(noted)
    if critic.kind == "none":
        yield None
        return
    with contextlib.ExitStack() as stack:
        address = None
        if critic.start:
            _, gpus = split_devices(os.environ, critic.gpus + 1, critic.gpus)
            server = started_server(critic, external["critic"], state, report, gpus=gpus)
            address = stack.enter_context(server)

        def make(sampler: Sampler, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> CritiquedSteps:
            if critic.kind == "self":
                made = student_critic(settings, sampler, model, tokenizer)
            elif critic.kind == "model":
                made = model_critic(settings, external["critic"], digest, report)
            else:
                made = critic_without_model(settings, grader, digest=digest, address=address)
            return critiqued_steps(made, settings, state, report)

        yield make
