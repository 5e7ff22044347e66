"""Drawings in Mermaid: of the library by its imports, of the workflow by its rules."""

import re
import subprocess
import sys
import tempfile

import grimp

from from_code.passages import LIBRARY


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
