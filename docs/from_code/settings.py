"""Settings of a run and of methods: their defaults, their schemas, and tables of what they mean."""

import dataclasses

import yaml

from from_code.passages import linked, plain
from selfdistill.methods.catalogue import shipped
from selfdistill.methods.setting import defaults, fields, is_section, json_schema
from selfdistill.study.discovery import DiscoverySettings, MultiTurnSettings, QuestionSet
from selfdistill.study.presets import SWITCHES, presets
from selfdistill.study.run_settings import RunSettings

DEFAULTS = """\
# Made by `make docs` of selfdistill/study/run_settings.py and presets.py; do not edit.
# Every key that a run has, with the published common values.
# Weakest layer first: defaults < presets.<preset>.all < methods.<method> < presets.<preset>.implementations.<its own>
#                      < tasks.<task>.run < models.<model>.run
#                      < overrides.all < overrides.tasks.<task> < overrides.methods.<method> < variants.<variant>.set
# What each key means: config/README.md. The keys of `objective` belong to the method: selfdistill/methods.
defaults:
{defaults}

# What `preset` stands for: code behaviour only, never science. `all` gives way to a method's published values;
# `implementations` does not, it says what one loss did otherwise. Any later layer may still set these keys one by one.
# The letter and number is that of docs/departures.md.
presets:
{presets}
"""


def defaults_file() -> str:
    """Returns config/defaults.yaml: the defaults of a run, and what its presets change."""
    numbers = {switch.key: switch.number for switch in SWITCHES}
    return DEFAULTS.format(
        defaults="\n".join(_block(defaults(RunSettings), "  ")), presets="\n".join(_block(presets(), "  ", numbers))
    )


def _block(values: dict, indent: str, numbers: dict[str, str] | None = None, above: str = "") -> list[str]:
    """Lines of YAML, a key each, with the number of a departure behind it."""
    lines = []
    for key, value in values.items():
        if isinstance(value, dict) and value:
            lines += [f"{indent}{key}:", *_block(value, f"{indent}  ", numbers, key)]
        else:
            text = yaml.safe_dump({key: value}, default_flow_style=False, width=1000).strip()
            number = (numbers or {}).get(f"{above}.{key}")
            lines.append(f"{indent}{text}{f'  # {number}' if number else ''}")
    return lines


def run_schema() -> str:
    """Returns workflow/schemas/run.schema.yaml."""
    return schema_page(
        "The settings of a run",
        "Made of selfdistill/study/run_settings.py. Any part of it may stand in a layer (defaults, presets, methods, a "
        "task's or model's run, overrides, a variant's set); a resolved run has every key, but for those of verl with "
        "another trainer, and for the two that are the machine's. The keys of objective are those of the method's "
        "implementation: objectives.schema.yaml, or for one of the user's own those of its class or of its entry.",
        {"properties": json_schema(RunSettings)["properties"]},
    )


def run_keys(sections: set[str]) -> str:
    """Returns a table of settings of a run: those of some sections."""
    lines = ["| key | default | unit or values | meaning |", "|---|---|---|---|"]
    for field in fields(RunSettings):
        part, inner = json_schema(RunSettings)["properties"][field.name], field.default_factory
        if field.name not in sections:
            continue
        if "properties" not in part:
            default = "" if field.name == "objective" else plain(field.default)
            lines.append(_row(field, part, field.name, default))
            continue
        for each in fields(inner):
            default = plain(defaults(inner)[each.name])
            lines.append(_row(each, part["properties"][each.name], f"{field.name}.{each.name}", default))
    return "\n".join(lines)


def discovery_keys() -> str:
    """Returns the table of keys of the section `discovery`, those of a set and of the dialogue among them."""
    lines = ["| key | default | unit or values | meaning |", "|---|---|---|---|"]
    for kind, prefix in ((DiscoverySettings, ""), (QuestionSet, "sets.<name>."), (MultiTurnSettings, "multi_turn.")):
        for field in fields(kind):
            if is_section(field.default_factory):
                continue
            part, default = json_schema(kind)["properties"][field.name], defaults(kind)[field.name]
            shown = ", ".join(default) if isinstance(default, dict) else plain(default)
            lines.append(_row(field, part, f"{prefix}{field.name}", shown or "none"))
    return "\n".join(lines)


def _row(field: dataclasses.Field, part: dict, key: str, default: str) -> str:
    return f"| `{key}` | {default} | {unit_and_range(field, part)} | {linked(field.metadata['meaning'])} |"


def preset_switches() -> str:
    """Returns the table of what the presets differ in."""
    lines = ["| switch | `corrected` | `as_published` | keys |", "|---|---|---|---|"]
    for switch in SWITCHES:
        what = f"{switch.what} ([{switch.number}](../docs/departures.md#by-number))"
        whose = f", for {', '.join(switch.of)}" if switch.of else f", not for {switch.but[0]}" if switch.but else ""
        value = plain(switch.value).strip("`")
        lines.append(f"| {what} | {switch.corrected} | {switch.as_published} | `{switch.key}: {value}`{whose} |")
    return "\n".join(lines)


def objectives_schema() -> str:
    """Returns workflow/schemas/objectives.schema.yaml: the keys of `objective` of each shipped method."""
    return schema_page(
        "The keys of `objective`, by implementation",
        "selfdistill/methods, a file each; planning takes them from there, this file is for readers and editors.",
        {"properties": {name: json_schema(kind) for name, kind in shipped().items()}},
    )


def schema_page(title: str, description: str, content: dict) -> str:
    """Returns a JSON schema as YAML."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, "description": description}
    whole = {**head, "type": "object", "additionalProperties": False, **content}
    return "# Made by `make docs`; do not edit.\n" + dumped(whole)


def dumped(content: dict) -> str:
    """Returns YAML whose innermost mappings have one line each."""
    dumper = type("Dumper", (yaml.SafeDumper,), {"ignore_aliases": lambda *_: True})
    return yaml.dump(content, Dumper=dumper, sort_keys=False, default_flow_style=None, width=1000, allow_unicode=True)


def objective_keys() -> str:
    """Returns the table of all keys of `objective`; methods that have the same one share a row."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for name, kind in shipped().items():
        for field in fields(kind):
            part = json_schema(kind)["properties"][field.name]
            row = (field.name, plain(field.default), unit_and_range(field, part), linked(field.metadata["meaning"]))
            rows.setdefault(row, []).append(name)
    lines = ["| `objective` of | key | published | unit, values | meaning |", "|---|---|---|---|---|"]
    for (key, default, unit, meaning), names in sorted(rows.items(), key=lambda row: (row[1], row[0])):
        lines.append(f"| {', '.join(f'`{name}`' for name in names)} | `{key}` | {default} | {unit} | {meaning} |")
    return "\n".join(lines)


def unit_and_range(field: dataclasses.Field, part: dict) -> str:
    """Returns the unit of a setting and the values that it takes, in words."""
    words = {"exclusiveMinimum": "above", "minimum": "from", "maximum": "to", "exclusiveMaximum": "below"}
    bounds = " ".join(f"{word} {part[rule]:g}" for rule, word in words.items() if rule in part)
    choices = ", ".join(f"`{choice}`" for choice in part.get("enum", ()))
    null = "or null" if "null" in part.get("type", ()) else ""
    return ", ".join(filter(None, [field.metadata.get("unit", ""), choices or " ".join(filter(None, [bounds, null]))]))
