"""Runs a critic in the trainer's process: a second model, or the student itself."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from selfdistill.critics.findings import written
from selfdistill.critics.prompts import Asking
from selfdistill.critics.request import Critique, Request
from selfdistill.files import sha256_json
from selfdistill.models.chat import encode_messages
from selfdistill.models.control_text import ControlText
from selfdistill.sampling.interface import Sampler, SamplingSettings
from selfdistill.study.critic_settings import CriticSettings
from selfdistill.study.run_settings import ChatSettings
from selfdistill.tasks.contexts import Message


class ModelCritic:
    """Asks a model in this process for critiques: a second one, or the student itself."""

    def __init__(
        self,
        settings: CriticSettings,
        sampler: Sampler,
        tokenizer: PreTrainedTokenizerBase,
        chat: ChatSettings,
        *,
        positions: int,
        digest: str,
        seed: int,
    ):
        """Make a critic of a sampler.

        Args:
            settings: of the run.
            sampler: of the model.
            tokenizer: of the model.
            chat: how its prompts are rendered.
            positions: the most tokens that the model takes, prompt and critique together.
            digest: of its weights; of the student, whose weights are others at each step, any word.
            seed: of the run.
        """
        self._settings, self._asking = settings, Asking(settings)
        self._sampler, self._tokenizer, self._chat = sampler, tokenizer, chat
        self._controls = ControlText(tokenizer, chat)
        self._positions, self._seed = positions, seed
        self._identity = sha256_json([settings.kind, digest, seed, *self._asking.decides])

    @property
    def identity(self) -> str:
        """Says which weights answer and how they are asked, for the cache's keys."""
        return self._identity

    def critiques(
        self, requests: Sequence[Request], arrived: Callable[[int, Critique], None] = lambda number, critique: None
    ) -> list[Critique]:
        """Draw a critique of each request, `critic.in_flight` at a time. Raises UserError as the sampler does."""
        found: dict[int, Critique] = {}
        prompts = {number: self._prompt(request) for number, request in enumerate(requests)}
        for number, prompt in prompts.items():
            if prompt is None:
                found[number] = Critique(
                    reason="too_long_input", detail="the response does not fit the critic's prompt"
                )
                arrived(number, found[number])
        fitting = [number for number, prompt in prompts.items() if prompt is not None]
        size = self._settings.in_flight
        for part in (fitting[begin : begin + size] for begin in range(0, len(fitting), size)):
            for number, critique in zip(part, self._drawn(requests, prompts, part), strict=True):
                found[number] = critique
                arrived(number, critique)
        return [found[number] for number in range(len(requests))]

    def _prompt(self, request: Request) -> list[int] | None:
        """The prompt's ids; None where they leave no room for a critique."""
        # Another model's rollout may spell what would end this model's turn.
        message = self._asking.message(replace(request, response=self._controls.without(request.response)))
        if message is None:
            return None
        ids = encode_messages(self._tokenizer, [Message("user", message)], self._chat)
        return ids if len(ids) + self._settings.max_tokens <= self._positions else None

    def _drawn(
        self, requests: Sequence[Request], prompts: dict[int, list[int] | None], part: Sequence[int]
    ) -> list[Critique]:
        how = SamplingSettings(self._settings.max_tokens, self._settings.temperature)
        # By what is asked, not by step and place: a step that is computed again may ask for fewer.
        keys = [(self._seed, "critique", requests[n].problem.id, requests[n].response) for n in part]
        began = time.monotonic()
        rollouts = self._sampler.sample([prompts[number] for number in part], how, keys)
        seconds = (time.monotonic() - began) / max(len(part), 1)
        return [
            written(
                requests[number],
                self._tokenizer.decode(rollout.response_ids, skip_special_tokens=True),
                tokens=len(rollout.response_ids),
                seconds=seconds,
                truncated=rollout.finish_reason == "length",
                shown_gold=self._asking.shown_gold,
            )
            for number, rollout in zip(part, rollouts, strict=True)
        ]
