"""Everything that only a GPU can say, in eight minutes and one command: JSON and a Markdown table.

python benchmarks/gpu.py [--seconds 480] [--sections parity ...] [--wheels FOLDER] [--tiny]; run from the repository's
root, with torch (2.11 or later) and transformers, no network, no make and no Snakemake. What else it needs is in
FOLDER, as gpu_wheels.py collects it. Each section is a process of its own with a time limit: one that fails, hangs or
runs out of memory loses what it had still to say, and nothing of the others. Without a GPU it says what it would do;
--tiny does all of it at tiny sizes on whatever there is.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = Path("results/benchmarks/gpu.json")
#: The section that a process of its own is to run, and the file for its lines.
_SECTION, _LINES = "--run-section", "--lines"
#: Seconds that the last of a section's processes may take to end.
_PATIENCE = 5


@dataclass(frozen=True)
class Section:
    """A module of gpu_checks.

    Attributes:
        name: of the module.
        seconds: that it may take on an H200.
        what: it measures.
    """

    name: str
    seconds: int
    what: str


#: What is worth most first: whoever has fewer minutes loses the rest.
SECTIONS = (
    Section("parity", 100, "float32, CPU beside GPU: log-probs, losses, gradients, two steps of each method"),
    Section("head", 60, "the head at 40,960 rows x 151,936 ids: memory and seconds, beside all logits at once"),
    Section("halves", 80, "bfloat16: null contrast and evidence by shape of batch at 0.6B, 1.7B, 4B; float32 products"),
    Section("passes", 130, "teacher passes of a group of 8 x 4,096 and 16,384 tokens, K = 4: plain, planned, packed"),
    Section("steps", 60, "whole steps of grpo, rlsd and rlcsd by part, 0.6B in float32"),
    Section("rollouts", 50, "tokens a second of the own decode loop at 0.6B, 1.7B, 4B"),
)


def device_name() -> str | None:
    """Return the GPU's name; None where torch has none."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def plan(seconds: int) -> str:
    """Say what would be done with a GPU."""
    lines = [f"Without a GPU there is nothing to measure here. With one, in at most {seconds} s:"]
    lines += [f"  {each.name} (up to {each.seconds} s): {each.what}" for each in SECTIONS]
    return "\n".join([*lines, "--tiny runs all of it at tiny sizes on this machine."])


def run_section(name: str, lines: Path, tiny: bool) -> None:
    """Run a section in this process, and write its lines as they come, one JSON object each."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.init()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with lines.open("a", encoding="utf-8") as file:
        for line in import_module(f"gpu_checks.{name}").lines(device, tiny):
            file.write(json.dumps(line.as_json()) + "\n")
            file.flush()


def in_own_process(section: Section, seconds: float, tiny: bool, path: Sequence[str]) -> dict[str, Any]:
    """Run a section for so long at most; its lines, and why it ended early (None: it did not)."""
    with tempfile.TemporaryDirectory(prefix="gpu") as folder:
        lines, said = Path(folder) / "lines", Path(folder) / "said"
        lines.touch()
        command = [sys.executable, __file__, _SECTION, section.name, _LINES, str(lines), *(["--tiny"] if tiny else [])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
        began, failed = time.monotonic(), None
        with said.open("wb") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
            try:
                status = process.wait(timeout=max(seconds, 1))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=_PATIENCE)
                status, failed = 1, f"ended after its {seconds:.0f} s"
        if status and failed is None:
            last = said.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            failed = f"status {status}: {' '.join(last)[:300]}"
        found = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    return {"section": section.name, "seconds": time.monotonic() - began, "failed": failed, "lines": found}


def table(result: dict[str, Any]) -> str:
    """Return the Markdown table of all sections."""
    rows = [f"# {result['device']}, {result['date']}", "", result["machine"], ""]
    rows += ["| section | what | found | goal | |", "|---|---|---:|---:|---|"]
    for section in result["sections"]:
        for line in section["lines"]:
            found = "-" if line["found"] is None else f"{line['found']:.4g} {line['unit']}".rstrip()
            goal = "" if line["at_most"] is None else f"≤ {line['at_most']:g}"
            met = {True: "met; ", False: "**missed**; ", None: ""}[line["met"]]
            cells = (section["section"], line["what"], found, goal, f"{met}{line['note']}".rstrip("; "))
            rows.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
        if section["failed"]:
            rows.append(f"| {section['section']} | **not finished** | - | | {section['failed'].replace('|', '/')} |")
    return "\n".join(rows) + "\n"


def write(result: dict[str, Any], output: Path) -> None:
    """Write JSON and Markdown, each as a whole file."""
    output.parent.mkdir(parents=True, exist_ok=True)
    for path, text in ((output, json.dumps(result, indent=1) + "\n"), (output.with_suffix(".md"), table(result))):
        temporary = path.with_name(f".{path.name}")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)


def unpacked(wheels: Path, folder: Path) -> str:
    """Unpack wheels, which are archives of what is imported, and return the folder for the path."""
    files = sorted(wheels.glob("*.whl"))
    if not files:
        raise SystemExit(f"{wheels}: no wheels found; collect them with python benchmarks/gpu_wheels.py {wheels}")
    for file in files:
        with zipfile.ZipFile(file) as archive:
            archive.extractall(folder)
    return str(folder)


def describe() -> dict[str, str]:
    """Return machine, versions, date and commit."""
    import torch
    import transformers

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}"
    said = f"commit {commit.stdout.strip() or 'unknown'}, {versions}, {os.cpu_count()} cores"
    return {"device": device_name() or "CPU", "date": time.strftime("%Y-%m-%d %H:%M"), "machine": said}


def main(arguments: Sequence[str]) -> int:
    """Run all sections within the time there is; returns 1 where one was not finished."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=480, help="for all of it")
    parser.add_argument("--sections", nargs="+", choices=[s.name for s in SECTIONS], default=[s.name for s in SECTIONS])
    parser.add_argument("--wheels", type=Path, help="folder of wheels that this Python lacks (gpu_wheels.py)")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the table is beside it, as .md")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, on whatever there is")
    parser.add_argument(_SECTION, dest="run_section", help=argparse.SUPPRESS)
    parser.add_argument(_LINES, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.run_section:
        run_section(options.run_section, options.lines, options.tiny)
        return 0
    began = time.monotonic()
    if device_name() is None and not options.tiny:
        print(plan(options.seconds))
        return 0
    with tempfile.TemporaryDirectory(prefix="gpu") as folder:
        path = [str(ROOT / "workflow"), str(ROOT / "benchmarks"), *filter(None, [os.environ.get("PYTHONPATH")])]
        if options.wheels is not None:
            path.append(unpacked(options.wheels, Path(folder)))
        result: dict[str, Any] = {**describe(), "tiny": options.tiny, "sections": []}
        for section in (each for each in SECTIONS if each.name in options.sections):
            left = options.seconds - (time.monotonic() - began) - _PATIENCE
            if left < _PATIENCE:
                done = {"section": section.name, "seconds": 0.0, "failed": "no time was left", "lines": []}
            else:
                limit = left if options.tiny else min(left, section.seconds)
                done = in_own_process(section, limit, options.tiny, path)
            result["sections"].append(done)
            write(result, options.output)
            print(f"{section.name}: {done['seconds']:.0f} s, {done['failed'] or 'done'}", flush=True)
    print(table(result), end="")
    print(f"written: {options.output}, {options.output.with_suffix('.md')}")
    return int(any(section["failed"] for section in result["sections"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
