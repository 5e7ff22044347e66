"""Decides which problems are asked with a chat of their own (column `prompt`), and which with the library's prompt."""

from collections.abc import Mapping
from typing import Any

OWN, BOXED = "own", "boxed"
#: Graders of responses in formats that a problem's own prompt asks for; for the others the library asks.
_OF_OWN_FORMATS = ("choice", "tool_use", "code")


def own_prompts(about: Mapping[str, Any]) -> bool:
    """Return whether problems are asked with chats of their own.

    Args:
        about: `prompt` ("own", "boxed", or missing or None: as the grader reads) and `grader`.
    """
    by_grader = OWN if about["grader"].removesuffix("_as_published") in _OF_OWN_FORMATS else BOXED
    return (about.get("prompt") or by_grader) == OWN


def resolved_prompt(entry: Mapping[str, Any]) -> dict[str, str]:
    """Return what the settings of a run or an evaluation say of its task's prompts: nothing of the library's."""
    return {"prompt": OWN} if own_prompts(entry) else {}
