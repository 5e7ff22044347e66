"""Knows how much each grader can say of a failure, and checks that a teacher's feedback is ever given."""

from collections.abc import Mapping, Sequence
from typing import Any

from selfdistill.errors import UserError

NONE = "none"
#: Graders that say more than right or wrong -> their levels, each saying more than the one before.
LEVELS: Mapping[str, tuple[str, ...]] = {
    "chain": (NONE, "verdict", "place", "value", "solution"),
    "choice": (NONE, "format"),
    "tool_use": (NONE, "names", "keys", "full"),
    "tool_use_as_published": (NONE, "full"),
    "programs": (NONE, "verdict", "case"),
    "code": (NONE, "verdict", "case", "full"),
    "code_as_published": (NONE, "verdict", "case", "full"),
}
#: The level where nobody names one.
DEFAULTS: Mapping[str, str] = {
    "chain": "value",
    "choice": NONE,
    "tool_use": "names",
    "tool_use_as_published": "full",
    "programs": "case",
    "code": "full",
    "code_as_published": "full",
}


def check_level(grader: str, level: str | None, where: str, keys: Sequence[str] = ()) -> None:
    """Raise UserError unless a grader has a level of feedback.

    Args:
        grader: its name.
        level: None is the grader's own.
        where: file and keys, for the message.
        keys: as of a `UserError`, where it does not begin with a file.
    """
    known = LEVELS.get(grader, (NONE,))
    if level is not None and level not in known:
        advice = f"expected one of {', '.join(known)}" if grader in LEVELS else "it says nothing of failures: remove it"
        raise UserError(f"{where}: {level!r} is no level of grader {grader}; {advice}", keys=keys)


def level_of(settings: Mapping[str, Any]) -> str:
    """Return how much a run's grader says of failures; settings: as `RunSettings.resolve` returns them."""
    asked = settings["reward"].get("feedback_level") or (settings.get("grading") or {}).get("feedback")
    return asked or DEFAULTS.get(settings["grader"], NONE)


def check_feedback(settings: Mapping[str, Any], where: str) -> None:
    """Check what a run's teacher is to read of the grader's words.

    Args:
        settings: as `RunSettings.resolve` returns them.
        where: names the run in messages.

    Raises:
        UserError: for a level that the grader does not have, for feedback that is always to be read, or alone, where
            nothing is ever said, and for shuffled feedback of which there can be none.
    """
    grader, hints = settings["grader"], settings["hints"]
    of_run = settings["reward"].get("feedback_level")
    check_level(grader, of_run, f"{where}: reward.feedback_level", ["reward.feedback_level"])
    wanted = hints.get("feedback", "never")
    if settings["teacher"]["kind"] == "none":
        return
    if level_of(settings) == NONE and (wanted == "always" or (wanted != "never" and hints["source"] == "none")):
        louder = "; ask for more in grading.feedback" if grader in LEVELS else ""
        raise UserError(
            f"{where}: hints.feedback is {wanted!r} with hints.source {hints['source']!r}, but the grader {grader} "
            f"says nothing of failures{louder}: set hints.source, and hints.feedback to only_without_solution or never",
            keys=["hints.feedback", "hints.source"],
        )
    if not hints.get("shuffle_feedback"):
        return
    if wanted == "never":
        raise UserError(
            f"{where}: hints.shuffle_feedback is on, but hints.feedback is 'never'; change one",
            keys=["hints.shuffle_feedback", "hints.feedback"],
        )
    if (prompts := settings["rollout"]["prompts_per_step"]) == 1:
        raise UserError(
            f"{where}: hints.shuffle_feedback takes feedback of other prompts, but rollout.prompts_per_step is "
            f"{prompts}: expected 2 or more; raise it",
            keys=["hints.shuffle_feedback", "rollout.prompts_per_step"],
        )
