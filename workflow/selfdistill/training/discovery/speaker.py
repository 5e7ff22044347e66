"""Renders the chat of a question as token ids, alone and after earlier attempts within a window."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from selfdistill.models.chat import ChatSettings, encode_messages
from selfdistill.tasks.contexts import Message
from selfdistill.tasks.earlier_attempts import follow_up
from selfdistill.tasks.prompts import student_messages
from selfdistill.training.discovery.questions import Question


class Speaker:
    """Renders questions as training does."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, chat: ChatSettings):
        """tokenizer: of the model; chat: how prompts are rendered."""
        self._tokenizer, self._chat = tokenizer, chat

    def asked(self, question: Question) -> list[Message]:
        """Return the chat of the question alone."""
        return student_messages(question.asked, training=True, template=self._chat.template)

    def ids(self, messages: Sequence[Message]) -> list[int]:
        """Return a chat as token ids, up to where the answer begins."""
        return encode_messages(self._tokenizer, messages, self._chat)

    def within(
        self, question: Question, attempts: Sequence[tuple[str, str]], shape: str, window: int
    ) -> tuple[list[int], int]:
        """Return a follow-up that fits into a window, and how many attempts it shows: the last ones.

        Attempts are left out from the oldest on until the rendered prompt has no more than `window` tokens; where not
        even the last fits, the question stands alone, whatever its length.

        Args:
            question: what is asked.
            attempts: (response, feedback), the oldest first.
            shape: as of `follow_up`.
            window: tokens of the prompt.
        """
        asked = self.asked(question)

        def rendered(count: int) -> list[int]:
            return self.ids(follow_up(asked, attempts[len(attempts) - count :], shape))

        def fits(count: int) -> bool:
            return len(rendered(count)) <= window

        # Prompts grow with what they show: doubled until one is too long, then halved, so that none is much too long.
        low, high = 0, 1
        while high <= len(attempts) and fits(high):
            low, high = high, 2 * high
        high = min(high, len(attempts) + 1)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return rendered(low), low
