"""The pre-flight of a task: what is measured of a base model before anything is trained from it, and its limits."""

from collections.abc import Mapping
from typing import Any

from selfdistill.errors import UserError
from selfdistill.study.base_chat import base_chat, base_section
from selfdistill.study.feedback_levels import check_level

#: The row of the model that reads no context; contexts have other names.
STUDENT = "student"

#: What is measured under each context, and of the student. The first token that is wrong is known where the grader can
#: tell it; where none can, what is of tokens is missing.
MEASURES: Mapping[str, str] = {
    "argmax_right": "share of wrong responses at whose first wrong token the right one is the most likely",
    "right_probability": "mean probability of the right token there",
    "log_ratio": "mean log-prob of the wrong token there, minus the student's, in nats",
    "elsewhere": "mean absolute difference of the two at all other tokens, in nats",
    "elsewhere_share": "`elsewhere` over the absolute value of `log_ratio`",
    "divergence": "mean Jensen-Shannon divergence from the student there, in nats",
    "divergence_elsewhere": "the same at all other tokens",
    "accuracy_as_trained": "share of right answers of a model that reads the context, drawn as rollouts are",
    "accuracy": "the same, drawn as in evaluation",
    "accuracy_gain": "accuracy minus the student's on the same problems",
}


def preflight_settings(config: Mapping[str, Any], task: str, model: str) -> dict[str, Any]:
    """Return what decides the pre-flight of a base model, JSON-able.

    Rollouts and hints are those of runs as far as neither method nor variant changes them.

    Args:
        config: a whole configuration.
        task: one that has a pre-flight.
        model: name of a model.
    """
    entry = config["tasks"][task]
    asked = entry["preflight"]
    return {
        "problems": asked["problems"],
        "contexts": {name: dict(about) for name, about in asked["contexts"].items()},
        "grader": entry["grader"],
        "grading": dict(entry.get("grading", {})),
        "evaluation": dict(entry["evaluation"]),
        **{name: base_section(config, task, model, name) for name in ("rollout", "hints")},
        "chat": base_chat(config, task, model),
    }


def check_preflight(entry: Mapping[str, Any], grader: str, place: str) -> None:
    """Raise UserError unless every limit of a task's pre-flight is one of a measure that it takes, and every context
    shows what there is.

    Args:
        entry: `preflight` of a task.
        grader: of the task.
        place: file and keys, for the message.
    """
    if STUDENT in entry["contexts"]:
        raise UserError(f"{place}.contexts: {STUDENT!r} is the model without a context; name this one otherwise")
    for name, about in entry["contexts"].items():
        if not about.get("solution") and "feedback" not in about:
            raise UserError(f"{place}.contexts.{name}: shows nothing; give it feedback: <level>, or solution: true")
        if about.get("shuffled") and "feedback" not in about:
            raise UserError(f"{place}.contexts.{name}: shuffled needs the level of feedback that is; add feedback")
        check_level(grader, about.get("feedback"), f"{place}.contexts.{name}.feedback")
    for name, limits in entry["limits"].items():
        if name not in (STUDENT, *entry["contexts"]):
            known = ", ".join((STUDENT, *entry["contexts"]))
            raise UserError(f"{place}.limits: no context {name!r}; expected {STUDENT} or one of contexts ({known})")
        for measure, bounds in limits.items():
            if not bounds:
                raise UserError(f"{place}.limits.{name}.{measure}: expected least, most or both, found neither")
