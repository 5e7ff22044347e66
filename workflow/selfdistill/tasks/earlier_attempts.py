"""Builds the prompts of a dialogue: a question, and the feedback on earlier attempts at it.

Two shapes, as in the multi-turn baseline of SDPO's paper (arXiv 2601.20802); the words are ours. `feedback_only` is one
message: the question and all feedback. `attempt_and_feedback` is a chat: each attempt as the assistant's turn, and the
feedback on it as the user's next.
"""

from collections.abc import Sequence

from selfdistill.tasks.contexts import Message

FEEDBACK_ONLY, ATTEMPT_AND_FEEDBACK = "feedback_only", "attempt_and_feedback"
SHAPES = (FEEDBACK_ONLY, ATTEMPT_AND_FEEDBACK)

_EARLIER = "Earlier attempts at this failed. What was said of them:"
_LAST = "That attempt failed. What was said of it:"
_REQUEST = "Now solve the original question correctly."
#: Text pieces that a word-level tokenizer should keep whole.
PHRASES = [_EARLIER, _LAST, _REQUEST]


def follow_up(
    asked: Sequence[Message], attempts: Sequence[tuple[str, str]], shape: str = FEEDBACK_ONLY
) -> list[Message]:
    """Return the chat that asks once more.

    Args:
        asked: the chat of the question alone; it ends with the user's message.
        attempts: (response, feedback) of earlier attempts, the oldest first; none gives the question alone.
        shape: one of SHAPES.

    Raises:
        ValueError: for another shape.
    """
    if shape not in SHAPES:
        raise ValueError(f"shape {shape!r} is not one of {', '.join(SHAPES)}")
    if not attempts:
        return list(asked)
    if shape == FEEDBACK_ONLY:
        *before, last = asked
        said = "\n\n".join(feedback for _, feedback in attempts)
        return [*before, Message("user", f"{last.content}\n\n{_EARLIER}\n\n{said}\n\n{_REQUEST}")]
    chat = list(asked)
    for response, feedback in attempts:
        chat += [Message("assistant", response), Message("user", f"{_LAST}\n\n{feedback}\n\n{_REQUEST}")]
    return chat
