"""Writes what is made from the code, pages, schemas and tables: `make docs`. A test holds them in step."""

import dataclasses
import re
from pathlib import Path

import grimp
import yaml

from selfdistill.methods.catalogue import shipped
from selfdistill.methods.setting import fields, json_schema
from selfdistill.runs.metrics import METRICS

DOCS = Path(__file__).parent
ROOT = DOCS.parent
LIBRARY = ROOT / "workflow" / "selfdistill"
SCHEMAS = ROOT / "workflow" / "schemas"
NOTE = "<!-- Made by `make docs`; do not edit. -->"
GROUPS = {
    "Rollouts and validation": ("reward/", "response/", "rollout/", "val/"),
    "Updates": ("actor/",),
    "Hints": ("hints/",),
    "Teacher and signal": ("teacher/", "signal/"),
    "Guards": ("guard/",),
    "Cost": ("tokens/", "timing_s/", "memory/"),
}


def metrics_page() -> str:
    """Returns docs/metrics.md: every name that a trainer logs, by group."""
    lines = [
        "# The metrics of a run",
        "",
        NOTE,
        "",
        "`results/runs/<task>/<model>/<variant>/seed<k>/metrics.jsonl` has one JSON object a training step; step 0",
        "is the validation before any update. Both trainers log the same names. Where a step makes several updates,",
        "tokens and counts of non-finite updates are summed, of names in `_max` the largest value stands, and of all",
        "others the mean. `null` stands for a number that was not finite. The names are declared in",
        "[runs/metrics.py](../workflow/selfdistill/runs/metrics.py).",
    ]
    for title, prefixes in GROUPS.items():
        lines += ["", f"## {title}", "", "| name | unit | meaning | logged by |", "|---|---|---|---|"]
        lines += [
            f"| `{m.name}` | {m.unit} | {m.meaning.replace('|', chr(92) + '|')} | {m.logged_by} |"
            for m in METRICS
            if m.name.startswith(prefixes)
        ]
    return "\n".join(lines) + "\n"


def drawing_of_rooms() -> str:
    """Returns a Mermaid drawing of the library's packages: who imports whom, without arrows that others imply."""
    graph = grimp.build_graph("selfdistill")
    rooms = sorted(path.parent.name for path in LIBRARY.glob("*/__init__.py"))
    arrows = {room: set() for room in rooms}
    for room in rooms:
        inside = {f"selfdistill.{room}", *graph.find_descendants(f"selfdistill.{room}")}
        for module in inside:
            for imported in graph.find_modules_directly_imported_by(module):
                other = imported.split(".")[1] if imported.count(".") else ""
                if other in arrows and other != room:
                    arrows[room].add(other)
    lines = ["```mermaid", "flowchart TD"]
    for room in rooms:
        implied = set().union(*(_reached(arrows, other) for other in arrows[room])) if arrows[room] else set()
        lines += [f"  {room} --> {other}" for other in sorted(arrows[room] - implied)]
    return "\n".join([*lines, "```"])


def _reached(arrows: dict[str, set[str]], room: str) -> set[str]:
    reached, todo = set(), list(arrows[room])
    while todo:
        if (other := todo.pop()) not in reached:
            reached.add(other)
            todo += arrows[other]
    return reached


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
            row = (field.name, plain(field.default), unit_and_range(field, part), field.metadata["meaning"])
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


def published_values() -> str:
    """Returns the table of what was published with each method besides its objective, and where."""
    lines = ["| Method | Teacher | Hints | Gradient's norm | KL | Papers |", "|---|---|---|---|---|---|"]
    for name, kind in shipped().items():
        parts = {section: dict(values) for section, values in kind.published.items()}
        teacher, hints = (", ".join(_said(parts.get(section, {}))) or "none" for section in ("teacher", "hints"))
        papers = "; ".join(f"[{paper}](https://arxiv.org/abs/{paper.partition(',')[0]})" for paper in kind.papers)
        norm, weight = parts["optimizer"]["max_grad_norm"], parts["update"]["kl_coef"]
        lines.append(f"| {name} | {teacher} | {hints} | {norm:g} | {weight:g} | {papers or 'the TC-RLSD note'} |")
    return "\n".join(lines)


def _said(values: dict) -> list[str]:
    return [f"`{value}`" if key in ("kind", "source") else f"`{key}` {value}" for key, value in values.items()]


def plain(value: object) -> str:
    """Returns a value as YAML has it."""
    if isinstance(value, str):
        return f"`{value}`"
    return repr(value) if type(value) in (int, float) else {None: "null", True: "true", False: "false"}[value]


def with_passage(page: str, name: str, text: str) -> str:
    """Returns a page whose passage between the marks `<!-- <name> -->` and `<!-- /<name> -->` is `text`."""
    begin, end = f"<!-- {name}: made by `make docs` -->", f"<!-- /{name} -->"
    assert begin in page, f"no mark {begin}"
    assert end in page, f"no mark {end}"
    return re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n{text}\n{end}", page, flags=re.DOTALL)


def pages() -> dict[Path, str]:
    """Returns every page that is made, or holds a passage that is, by its path."""
    made = {
        DOCS / "metrics.md": metrics_page(),
        SCHEMAS / "objectives.schema.yaml": objectives_schema(),
    }
    passages = {
        DOCS / "architecture.md": {"rooms": drawing_of_rooms},
        DOCS / "methods.md": {"published": published_values},
        ROOT / "config" / "README.md": {"objectives": objective_keys},
    }
    for path, parts in passages.items():
        made[path] = path.read_text(encoding="utf-8")
        for name, text in parts.items():
            made[path] = with_passage(made[path], name, text())
    return made


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
