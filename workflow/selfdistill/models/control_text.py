"""Takes the spellings of control tokens out of texts that others wrote, before a chat template has them.

A tokenizer reads a whole prompt at once, so a hint or a rollout that spells a control token would end its turn and
begin another one.
"""

import re
from collections.abc import Iterable

from transformers import PreTrainedTokenizerBase

from selfdistill.models.chat import DEFAULT, ChatSettings, control_tokens, turn_marks
from selfdistill.models.tokenizer_check import encoded


class ControlText:
    """Knows how the control tokens of a tokenizer are spelt."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, chat: ChatSettings = DEFAULT, more: Iterable[str] = ()):
        """Read a tokenizer and the template of a run's chat.

        Args:
            tokenizer: whose tokens they are.
            chat: how prompts are rendered.
            more: spellings that are to be taken out besides.
        """
        controls = {**control_tokens(tokenizer), **turn_marks(tokenizer, chat)}
        self._tokenizer = tokenizer
        self._spellings = _spellings([*controls.values(), *more])
        self._controls = controls.keys() - {tokenizer.unk_token_id}

    def without(self, text: str) -> str:
        """Return a text without the spelling of control tokens, which the chat template would take for its own."""
        removed = 1
        while removed:  # what is left around a removed one may spell another
            removed = 0
            if self._spellings is not None:
                text, removed = self._spellings.subn("", text)
            if not removed:  # a tokenizer that makes small letters of capitals, say, has more spellings of each
                text, removed = self._without_controls(text)
        return text

    def _without_controls(self, text: str) -> tuple[str, int]:
        """The text without what the tokenizer takes for control tokens, and how many those were."""
        cut = encoded(self._tokenizer, text, offsets=True)
        spans = [span for i, span in zip(cut.input_ids, cut.offset_mapping, strict=True) if i in self._controls]
        for start, end in reversed(spans):
            text = text[:start] + text[end:]
        return text, sum(end > start for start, end in spans)


def _spellings(controls: Iterable[str]) -> re.Pattern[str] | None:
    """Matches any control token's spelling, the longest that there is; None where there are no control tokens."""
    spelt = sorted(filter(None, set(controls)), key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, spelt))) if spelt else None
