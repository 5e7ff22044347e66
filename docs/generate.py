"""Writes the pages and passages of docs/ that are made from the code: `make docs`. A test holds them in step."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import grimp

from selfdistill.reporting.tables.claims import CLAIMS, PARTS
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


def drawing_of_rules() -> str:
    """Returns Snakemake's rule graph of the demo in Mermaid, by names, without colours and in a fixed order."""
    with tempfile.TemporaryDirectory() as folder:  # where nothing has been run
        words = ["--rulegraph", "mermaid-js", "--directory", folder, "--snakefile", str(LIBRARY.parent / "Snakefile")]
        done = subprocess.run([sys.executable, "-m", "snakemake", *words], capture_output=True, text=True, check=True)
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", done.stdout))
    arrows = sorted({(names[a], names[b]) for a, b in re.findall(r"(id\d+) --> (id\d+)", done.stdout)})
    lines = [f"  {source} --> {rule}" for source, rule in arrows if rule != "all"]
    return "\n".join(["```mermaid", "flowchart LR", *lines, "```"])


def table_of_claims() -> str:
    """Returns the parts of the paper's claims, with the range of each and the tasks that it is asked on."""
    tasks = {(): "all", ("maths",): "maths", ("knights",): "logic"}
    lines, named = ["| Claim | Part | Of | Range | Tasks |", "|---|---|---|---|---|"], set()
    for part in PARTS:
        claim = "" if part.claim in named else f"**{part.claim}** {CLAIMS[part.claim]}"
        named.add(part.claim)
        lines.append(f"| {claim} | {part.statement} | {part.variant} | {part.range} | {tasks[part.families]} |")
    return "\n".join(lines)


def with_passage(page: str, name: str, text: str) -> str:
    """Returns a page whose passage between the marks `<!-- <name> -->` and `<!-- /<name> -->` is `text`."""
    begin, end = f"<!-- {name}: made by `make docs` -->", f"<!-- /{name} -->"
    assert begin in page, f"no mark {begin}"
    assert end in page, f"no mark {end}"
    return re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n{text}\n{end}", page, flags=re.DOTALL)


def pages() -> dict[Path, str]:
    """Returns every page that is made, or holds a passage that is, by its path."""
    architecture, claims = DOCS / "architecture.md", DOCS / "claims.md"
    drawn = with_passage(architecture.read_text(encoding="utf-8"), "rooms", drawing_of_rooms())
    return {
        DOCS / "metrics.md": metrics_page(),
        architecture: with_passage(drawn, "rules", drawing_of_rules()),
        claims: with_passage(claims.read_text(encoding="utf-8"), "claims", table_of_claims()),
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
