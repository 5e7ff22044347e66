"""Declares what `preset` stands for: code behaviour only, never science, as one list of changes."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Switch:
    """One thing that the code released in June 2026 did otherwise.

    Attributes:
        what: what differs.
        number: its letter and number in docs/departures.md.
        corrected, as_published: what it is in either preset, in words.
        key: the setting.
        value: what `as_published` sets it to.
        of: the implementations it is about; () is all, and gives way to a method's published values.
        but: the implementation that keeps another value, and this value.
    """

    what: str
    number: str
    corrected: str
    as_published: str
    key: str
    value: Any
    of: tuple[str, ...] = ()
    but: tuple[str, Any] | None = None


SWITCHES = (
    Switch(
        "teacher of opsd and opsd_ectr",
        "D1",
        "initial weights, frozen",
        "live weights",
        "teacher.kind",
        "live",
        of=("opsd", "opsd_ectr"),
    ),
    Switch(
        "rollout importance correction",
        "D2",
        "on, where old log-probs are recomputed",
        "off",
        "rollout.importance_threshold",
        None,
    ),
    Switch("teacher clock", "D4", "training steps", "optimizer steps", "teacher.clock", "optimizer_steps"),
    Switch(
        "weights, AdamW's state, teachers (GPU only)", "D5", "float32", "bfloat16", "optimizer.master_dtype", "bfloat16"
    ),
    Switch(
        "srpo routing",
        "D7",
        "by the verifier; without a hint to grpo",
        "by the sign of the advantage",
        "objective.routing",
        "advantage_sign",
        of=("srpo",),
    ),
    Switch(
        "loss denominator",
        "D8",
        "over the global batch",
        "per rollout; grpo alone had the global one",
        "update.aggregation",
        "rollouts",
        but=("grpo", "tokens"),
    ),
    Switch(
        "lone correct or lone usable wrong rollout",
        "D10",
        "stays, unmodulated",
        "leaves the batch",
        "hints.lone_targets",
        "drop",
    ),
    Switch(
        "too long a hinted prompt",
        "D15",
        "hint body cut, template intact",
        "cut from the left",
        "hints.truncation",
        "left",
    ),
    Switch("person named with two roles", "D36", "wrong", "first role counts", "reward.first_role_counts", True),
)


def presets() -> dict[str, dict[str, Any]]:
    """Return the section `presets` of config/defaults.yaml."""
    everyone: dict[str, Any] = {}
    some: dict[str, Any] = {}
    for switch in SWITCHES:
        section, key = switch.key.split(".")
        if not switch.of:
            everyone.setdefault(section, {})[key] = switch.value
        for name, value in [*((name, switch.value) for name in switch.of), *([switch.but] if switch.but else [])]:
            some.setdefault(name, {}).setdefault(section, {})[key] = value
    return {"corrected": {}, "as_published": {"all": everyone, "implementations": some}}
