"""Writes what is made from the code, pages, schemas and tables: `make docs`. A test holds them in step."""

import dataclasses
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import grimp
import yaml

from selfdistill.methods.catalogue import shipped
from selfdistill.methods.setting import defaults, fields, json_schema
from selfdistill.reporting.claims.catalogue import CLAIMS
from selfdistill.reporting.claims.predicates import Curve, Part
from selfdistill.runs.metrics import METRICS
from selfdistill.study.preflight import MEASURES
from selfdistill.study.presets import SWITCHES, presets
from selfdistill.study.run_settings import RunSettings

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


def _row(field: dataclasses.Field, part: dict, key: str, default: str) -> str:
    return f"| `{key}` | {default} | {unit_and_range(field, part)} | {linked(field.metadata['meaning'])} |"


def linked(meaning: str) -> str:
    """Returns a sentence whose numbers of departures are links."""
    return re.sub(r"\b(D\d+)\b", r"[\1](../docs/departures.md#by-number)", meaning)


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
    if isinstance(value, list):
        return f"`{value}`"
    if type(value) in (int, float):
        return f"{value:g}" if 0 < abs(value) < 1e-3 else repr(value)
    return {None: "null", True: "true", False: "false"}[value]


def drawing_of_rules() -> str:
    """Returns Snakemake's rule graph of the demo in Mermaid, by names, without colours and in a fixed order."""
    with tempfile.TemporaryDirectory() as folder:  # where nothing has been run
        words = ["--rulegraph", "mermaid-js", "--directory", folder, "--snakefile", str(LIBRARY.parent / "Snakefile")]
        done = subprocess.run([sys.executable, "-m", "snakemake", *words], capture_output=True, text=True, check=True)
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", done.stdout))
    arrows = sorted({(names[a], names[b]) for a, b in re.findall(r"(id\d+) --> (id\d+)", done.stdout)})
    lines = [f"  {source} --> {rule}" for source, rule in arrows if rule != "all"]
    return "\n".join(["```mermaid", "flowchart LR", *lines, "```"])


def measures() -> str:
    """Returns the table of what a pre-flight measures."""
    rows = [f"| `{name}` | {text} |" for name, text in MEASURES.items()]
    return "\n".join(["| measure | meaning |", "|---|---|", *rows])


def table_of_claims() -> str:
    """Returns the parts of all claims, with the range of each and the tasks that it is asked on."""
    tasks = {(): "all", ("maths",): "maths", ("knights",): "logic"}
    lines = ["| Claim | Version | Part | Of | Range | Tasks |", "|---|---|---|---|---|---|"]
    for claim in CLAIMS:
        heads = [f"**{claim.name}** {claim.sentence}", ", ".join(claim.versions)]
        for part in claim.parts:
            asked = tasks.get(part.families, ", ".join(part.families)) + (", where planned" if part.planned else "")
            lines.append(f"| {' | '.join(heads)} | {part.statement} | {part.variant} | {_range_of(part)} | {asked} |")
            heads = ["", ""]
    return "\n".join(lines)


def _range_of(part: Part) -> str:
    control = ", beyond grpo's" if isinstance(part.predicate, Curve) and part.predicate.word.fault else ""
    premise = f", where {part.premise.variant} shows the fault" if part.premise else ""
    return f"{part.range}{control}{premise}"


def with_passage(page: str, name: str, text: str) -> str:
    """Returns a page whose passage between the marks `<!-- <name> -->` and `<!-- /<name> -->` is `text`."""
    begin, end = f"<!-- {name}: made by `make docs` -->", f"<!-- /{name} -->"
    assert begin in page, f"no mark {begin}"
    assert end in page, f"no mark {end}"
    return re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n{text}\n{end}", page, flags=re.DOTALL)


def whole_pages() -> dict[Path, str]:
    """Returns the pages that are made as a whole; Snakemake, which draws its rules, reads some of them."""
    return {
        DOCS / "metrics.md": metrics_page(),
        SCHEMAS / "objectives.schema.yaml": objectives_schema(),
        SCHEMAS / "run.schema.yaml": run_schema(),
        ROOT / "config" / "defaults.yaml": defaults_file(),
    }


def pages() -> dict[Path, str]:
    """Returns every page that is made, or holds a passage that is, by its path."""
    made = whole_pages()
    passages = {
        DOCS / "architecture.md": {"rooms": drawing_of_rooms, "rules": drawing_of_rules},
        DOCS / "claims.md": {"claims": table_of_claims},
        DOCS / "methods.md": {"published": published_values},
        ROOT / "config" / "README.md": {
            "run": lambda: run_keys({field.name for field in fields(RunSettings)} - {"verl"}),
            "verl": lambda: run_keys({"verl"}),
            "presets": preset_switches,
            "objectives": objective_keys,
            "preflight": measures,
        },
    }
    for path, parts in passages.items():
        made[path] = path.read_text(encoding="utf-8")
        for name, text in parts.items():
            made[path] = with_passage(made[path], name, text())
    return made


if __name__ == "__main__":
    for make in (whole_pages, pages):
        for path, text in make().items():
            path.write_text(text, encoding="utf-8")
