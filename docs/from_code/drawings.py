"""Draws the library by its imports, and the workflow by its rules."""

import re
import subprocess
import sys
import tempfile

import grimp

from from_code.layered import svg, without_implied
from from_code.passages import LIBRARY


def drawing_of_packages() -> str:
    """Returns an SVG of the library's packages: who imports whom, without arrows that others imply."""
    graph = grimp.build_graph("selfdistill")
    rooms = sorted(path.parent.name for path in LIBRARY.glob("*/__init__.py"))
    arrows = set()
    for room in rooms:
        for module in {f"selfdistill.{room}", *graph.find_descendants(f"selfdistill.{room}")}:
            for imported in graph.find_modules_directly_imported_by(module):
                other = imported.split(".")[1] if imported.count(".") else ""
                if other in rooms and other != room:
                    arrows.add((room, other))
    return svg("The packages of selfdistill; an arrow means: imports", without_implied(arrows), downwards=True)


def drawing_of_rules() -> str:
    """Returns an SVG of Snakemake's rule graph of the demo, without arrows that others imply."""
    with tempfile.TemporaryDirectory() as folder:  # where nothing has been run
        words = ["--rulegraph", "mermaid-js", "--directory", folder, "--snakefile", str(LIBRARY.parent / "Snakefile")]
        done = subprocess.run([sys.executable, "-m", "snakemake", *words], capture_output=True, text=True, check=True)
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", done.stdout))
    arrows = {(names[a], names[b]) for a, b in re.findall(r"(id\d+) --> (id\d+)", done.stdout)}
    kept = without_implied(arrow for arrow in arrows if "all" not in arrow)
    return svg("The rules of the demo; an arrow means: is read by", kept, downwards=False)
