"""Prints a live table of all runs and searches: `python -m selfdistill.runs.watch [results] [--once]`.

It only reads, so it runs beside a workflow on this machine as well as on any other that sees the folder.
"""

import argparse
import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from selfdistill.runs.run_file import EVALUATION, SEARCH, TRAINING
from selfdistill.runs.terminal import short_time
from selfdistill.runs.watched import AT_WORK, FAILED, PUBLISHED, STATES, STOPPED, States, Watched

#: From so many columns on, all of the table is shown.
WIDE = 130
_STYLES = {AT_WORK: "green", FAILED: "red", STOPPED: "yellow", PUBLISHED: "dim"}


def _numbered(digits: int, value: float | None) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _duration(value: float | None) -> str:
    return "" if value is None else short_time(value)


def _progress(run: Watched) -> str:
    if run.done is None and run.total is None:
        return ""
    return f"{run.done or 0}/{'?' if run.total is None else run.total}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


#: Heading, whether an 80-column terminal has it too, and its text of a run.
_COLUMNS: tuple[tuple[str, bool, Callable[[Watched], str]], ...] = (
    ("state", True, lambda run: run.word),
    ("step", True, _progress),
    ("reward", True, lambda run: _numbered(3, run.reward)),
    ("valid.", True, lambda run: _percent(run.validation)),
    ("length", False, lambda run: _numbered(1, run.length)),
    ("entropy", False, lambda run: _numbered(3, run.entropy)),
    ("skipped", False, lambda run: "" if run.skipped is None else str(run.skipped)),
    ("s/step", False, lambda run: _numbered(2, run.rate)),
    ("attempts", True, lambda run: _count(run.attempts)),
    ("passed", True, lambda run: _count(run.passed)),
    ("hold", True, lambda run: _count(run.hold)),
    ("att./s", False, lambda run: _numbered(1, run.speed)),
    ("left", True, lambda run: _duration(run.left)),
    ("seen", True, lambda run: _duration(run.seen)),
    ("node", False, lambda run: run.host),
)
#: What each kind has of them, and what "step" counts. A search passes the tests that it sees; some passes hold on all.
_OF_KIND = {
    TRAINING: (
        "step",
        ("state", "step", "reward", "valid.", "length", "entropy", "skipped", "s/step", "left", "seen", "node"),
    ),
    EVALUATION: ("draws", ("state", "step", "left", "seen", "node")),
    SEARCH: ("questions", ("state", "step", "attempts", "passed", "hold", "att./s", "left", "seen", "node")),
}


def view(runs: Sequence[Watched], width: int, most_rows: int | None = None) -> Group:
    """Return the tables of training runs, of evaluations and of searches, and the reasons of failures.

    Args:
        runs: as `States.look` gives them.
        width: of the terminal, in columns.
        most_rows: runs that are shown in all; the last ones, published for the most part, are only counted. None: all.
    """
    if not runs:
        return Group(Text("no run has a state yet"))
    shown = runs if most_rows is None else sorted(runs, key=lambda run: STATES.index(run.state))[: max(1, most_rows)]
    parts: list[Table | Text] = []
    for kind in _OF_KIND:
        of_kind = [run for run in runs if (run.kind or TRAINING) == kind]
        if of_kind:
            rows = [run for run in of_kind if any(run is each for each in shown)]
            parts += [Text(f"{kind}: {_counted(of_kind)}", style="bold"), _table(rows, width, kind)]
            if len(rows) < len(of_kind):
                parts.append(Text(f"... and {len(of_kind) - len(rows)} more"))
    failed = [run for run in runs if run.why]
    for run in failed if most_rows is None else failed[:3]:
        parts.append(Text(f"{run.name}: {run.why}", style="red", no_wrap=most_rows is not None, overflow="ellipsis"))
    return Group(*parts)


def _counted(runs: Sequence[Watched]) -> str:
    counts = Counter(run.word for run in sorted(runs, key=lambda run: STATES.index(run.state)))
    return ", ".join(f"{count} {word}" for word, count in counts.items())


def _table(runs: Sequence[Watched], width: int, kind: str) -> Table:
    counted, headings = _OF_KIND[kind]
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    table.add_column("search" if kind == SEARCH else "run", no_wrap=True, overflow="ellipsis", ratio=1, max_width=60)
    columns = [each for each in _COLUMNS if each[0] in headings and (width >= WIDE or each[1])]
    for heading, _, _ in columns:
        left = heading in ("state", "node")
        heading = counted if heading == "step" else heading
        table.add_column(heading, no_wrap=True, justify="left" if left else "right")
    for run in runs:
        cells = [Text(text(run)) for _, _, text in columns]
        table.add_row(Text(run.name), *cells, style=_STYLES.get(run.state, ""))
    return table


def main(words: Sequence[str] | None = None) -> None:
    """Show the table until Ctrl-C; once, where it is asked for, and where the output is no terminal."""
    parser = argparse.ArgumentParser(prog="python -m selfdistill.runs.watch", description=__doc__.partition("\n")[0])
    parser.add_argument("results", nargs="?", type=Path, default=Path("results"))
    parser.add_argument("--once", action="store_true", help="print the table and end")
    parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="between two looks")
    options = parser.parse_args(words)
    if not options.every > 0:
        parser.error(f"--every {options.every:g}: expected more than 0 seconds")
    states, console = States(options.results), Console(highlight=False)
    if options.once or not sys.stdout.isatty() or not console.is_interactive:
        console.print(view(states.look(), console.width))
        return
    with contextlib.suppress(KeyboardInterrupt), Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            rows = console.height - 10
            live.update(view(states.look(), console.width, rows), refresh=True)
            time.sleep(options.every)


if __name__ == "__main__":
    main()
