"""Checks a problem's own chat, the column `prompt` of a row."""

from collections.abc import Mapping, Sequence
from typing import Any

from selfdistill.errors import UserError
from selfdistill.tasks.prompts import Message

ROLES = ("system", "user", "assistant")
#: What may come after a message of a role; None: at the beginning.
_FOLLOWS = {None: ("system", "user"), "system": ("user",), "user": ("assistant",), "assistant": ("user",)}
_SHOWN = 40  # characters of what was found in a message


def own_messages(column: Sequence[Mapping[str, Any] | None] | None, where: str) -> tuple[Message, ...]:
    """Return the chat in a row's column `prompt`: any system message, any earlier turns, the user's message.

    Args:
        column: what the row has there; None or no messages at all: the row has no chat of its own.
        where: file and number of the row, counted from 0, for errors.

    Raises:
        UserError: for a message without text, with another role than system, user and assistant, or at another place
            than its own: the system's first and once, then user and assistant in turn, the user's last.
    """
    where = f"{where} (counted from 0), column prompt"
    messages = tuple(_message(turn, f"{where}, message {number}") for number, turn in enumerate(column or ()))
    before = None
    for number, (role, _) in enumerate(messages):
        if role not in _FOLLOWS[before]:
            raise UserError(
                f"{where}, message {number}: role {role!r} {f'after {before!r}' if before else 'at the beginning'}; "
                "expected a system message or none, then user and assistant in turn: join, drop or reorder messages"
            )
        before = role
    if messages and before != "user":
        raise UserError(
            f"{where}, message {len(messages) - 1}: the last message has role {before!r}, expected 'user', whom the "
            "model answers; drop what comes after the question"
        )
    return messages


def as_text(messages: Sequence[Message]) -> str:
    """Return a chat for people to read: a message alone as it stands, several of them each under its role."""
    if len(messages) == 1:
        return messages[0].content
    return "\n\n".join(f"[{role}]\n{content}" for role, content in messages)


def _message(turn: Mapping[str, Any] | None, where: str) -> Message:
    role, content = (turn or {}).get("role"), (turn or {}).get("content")
    if role not in ROLES:
        raise UserError(f"{where}: role is {_short(role)}, expected one of {', '.join(ROLES)}; rename it")
    if not isinstance(content, str) or not content.strip():
        raise UserError(f"{where}: content is {_short(content)}, expected text; fill the message, or drop it")
    return Message(role, content)


def _short(value: Any) -> str:
    return repr(value) if len(repr(value)) <= _SHOWN else f"{repr(value)[:_SHOWN]}..."
