"""Resolves settings where no method is at work: warm starts, pre-flights, evaluations of the untrained model."""

import functools
from collections.abc import Mapping
from typing import Any

from selfdistill.errors import UserError
from selfdistill.methods.setting import without_added
from selfdistill.schemas import canonical, schema
from selfdistill.study.config_files import merged, value_at
from selfdistill.study.layer_order import OF_ANY_METHOD
from selfdistill.study.run_settings import RunSettings
from selfdistill.study.setting_places import about
from selfdistill.study.templates import question_text


def base_chat(config: Mapping[str, Any], task: str, model: str) -> dict[str, Any]:
    """Return how prompts are rendered: `base_section` of `chat`."""
    with about(task, model):
        return with_question(base_section(config, task, model, "chat"), f"chat of {task}/{model}")


def base_section(config: Mapping[str, Any], task: str, model: str, section: str) -> dict[str, Any]:
    """Return a section of a run (config/README.md) as the layers say that are about no method, preset or variant.

    Args:
        config: a whole configuration.
        task: name of a task.
        model: name of a model.
        section: name of the section.
    """
    names = {"task": task, "model": model}
    found = (value_at(config, (*layer.path(names), section)) or {} for layer in OF_ANY_METHOD)
    against, where = schema("run")["properties"][section], f"{section} of {task}/{model}"
    settings = canonical(functools.reduce(merged, found), against, where)
    return without_added(RunSettings, {section: settings})[section]


def with_question(chat: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a section `chat` with the text of its template in place of the file that has it.

    Args:
        chat: as resolved.
        where: names the run in messages.

    Raises:
        UserError: as `question_text`.
    """
    if "template" not in chat:
        return dict(chat)
    try:
        return {**chat, "template": question_text(chat["template"])}
    except UserError as error:
        raise UserError(f"{where}: {error}", keys=["chat.template"]) from None
