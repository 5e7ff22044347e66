"""Writes the pages and passages of docs/ that are made from the code: `make docs`. A test holds them in step."""

import re
from pathlib import Path

import grimp

from selfdistill.runs.metrics import METRICS

DOCS = Path(__file__).parent
LIBRARY = DOCS.parent / "workflow" / "selfdistill"
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


def with_passage(page: str, name: str, text: str) -> str:
    """Returns a page whose passage between the marks `<!-- <name> -->` and `<!-- /<name> -->` is `text`."""
    begin, end = f"<!-- {name}: made by `make docs` -->", f"<!-- /{name} -->"
    assert begin in page, f"no mark {begin}"
    assert end in page, f"no mark {end}"
    return re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n{text}\n{end}", page, flags=re.DOTALL)


def pages() -> dict[Path, str]:
    """Returns every page that is made, or holds a passage that is, by its path."""
    architecture = DOCS / "architecture.md"
    return {
        DOCS / "metrics.md": metrics_page(),
        architecture: with_passage(architecture.read_text(encoding="utf-8"), "rooms", drawing_of_rooms()),
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
