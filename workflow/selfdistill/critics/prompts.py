"""Builds the message that a critic is asked with, the same for a model and for a server."""

import re
from collections.abc import Sequence
from typing import Protocol

from selfdistill.critics.request import Request
from selfdistill.study.critic_settings import CriticSettings
from selfdistill.tasks.critic_prompts import CriticPrompt

_MARK = "\n[... {} characters left out ...]\n"
#: How families of models spell the tokens that begin and end turns: behind a server there is a template and a tokenizer
#: that nobody here knows, and a rollout that spells them would end the user's turn.
_TURNS = re.compile(
    r"<[|\uff5c][^\s<>|\uff5c]{1,40}[|\uff5c]>|</?s>|\[/?INST\]|</?SYS>|<(?:start|end)_of_turn>|<(?:bos|eos)>"
)


class Question(Protocol):
    """Holds what a server is asked about a rollout.

    Attributes:
        shown_gold: whether it sees the dataset's solution.
    """

    shown_gold: bool

    @property
    def decides(self) -> Sequence[object]:
        """Returns what decides an answer, for the cache."""
        ...

    def message(self, request: Request) -> str | None:
        """Returns the user's message; None where the response is too long to be shown."""
        ...


def without_turns(response: str) -> str:
    """Return a rollout without what would end the turn that it is shown in, whichever model reads it."""
    removed = 1
    while removed:  # what is left around one that is taken out may spell another
        response, removed = _TURNS.subn("", response)
    return response


class Asking:
    """Holds what a critic of a run is asked, by its settings."""

    def __init__(self, settings: CriticSettings):
        """Raises UserError as `CriticPrompt`."""
        self._settings = settings
        self._prompt = CriticPrompt(settings.mode, hedge=settings.hedge, path=settings.prompt)
        #: Whether the critic sees the dataset's solution.
        self.shown_gold = settings.mode == "critique_gold"

    @property
    def decides(self) -> list[object]:
        """Returns what of the settings decides an answer, for the cache."""
        used = self._settings
        return [
            used.mode,
            used.hedge,
            self._prompt.phrases,
            used.max_tokens,
            used.temperature,
            used.thinking,
            used.max_response_characters,
            *self._prompt.own,
        ]

    def message(self, request: Request) -> str | None:
        """Return the user's message; None where the response is too long to be shown."""
        limit, response = self._settings.max_response_characters, without_turns(request.response)
        if (surplus := len(response) - limit) > 0:
            if self._settings.response_cut == "refuse":
                return None
            begin = limit // 2
            response = response[:begin] + _MARK.format(surplus) + response[len(response) - (limit - begin) :]
        return self._prompt.message(
            request.problem, response, right=request.correct, max_tokens=self._settings.max_tokens
        )
