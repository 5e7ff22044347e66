"""Finds what does not add up in the paper's published tables, of both versions, from their numbers alone.

A cell of D draws on each of P problems is a count of correct draws over P x D, rounded to a tenth of a percent. All
arithmetic is exact (fractions); where a value lies half way, both roundings are allowed.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import pandas as pd

from selfdistill.reporting.read.published import (
    ABLATIONS,
    BENCHMARKS,
    CONTRAST,
    dated,
    main_results,
    plugin_study,
    problems,
    study_rows,
    version_of,
)
from selfdistill.reporting.render.cells import number_cell
from selfdistill.reporting.render.csv_tables import with_texts
from selfdistill.reporting.render.table import Cell, Row, View

#: Kinds of findings -> what they are.
FINDINGS = {
    "average": "averages that do not follow from their parts",
    "changed": "cells that changed between versions",
    "stayed": "rows that stayed while the one that they are compared with moved",
    "contradiction": "cells that one run has in one table and not in another",
    "no count": "cells that no count of correct draws can give",
    "truncated": "cells that a count gives only if it is cut off in place of rounded",
}
#: Rows of the studies that are the same run as one of the main results -> its method there.
SAME_RUNS = {"opsd": "opsd", "rlsd-v2": "rlsd", "rlcsd-v2": "rlcsd"}
COLUMNS = ("finding", "model", "method", "hint_source", "benchmark", "percent", "versions", "against", "note")
#: Draws a problem of the paper's evaluations: mean@12, pass@1.
DRAWS = {"math": 12, "logic": 1}
_HALF = Fraction(1, 20)

#: model, method, hint_source -> benchmark -> percent, of one version.
_Version = Mapping[tuple[str, str, str], Mapping[str, Fraction]]


#: Rows of a published file, as texts.
Rows = Sequence[Mapping[str, str]]


def audit_table(rows: Rows | None = None, gains: Rows | None = None, studies: Rows | None = None) -> pd.DataFrame:
    """Return all findings, in the paper's names: one row for a cell and kind, with the publications that have it.

    percent: the published value; against: what it should be (an average), what it was before (a change), what it is in
    the main results (a contradiction) or the nearest that a count gives; note: in words.

    Args:
        rows: of main_results.csv.
        gains: of plugin_study.csv: differences of what was not published itself, so only changes can be found.
        studies: of ablations.csv and contrast.csv, whose variants have our names. Without all three: the shipped files.
    """
    if rows is None and gains is None and studies is None:
        rows, gains, studies = main_results(), plugin_study(), (*study_rows(ABLATIONS), *study_rows(CONTRAST))
    main, studied = _by_version(rows or ()), _by_version([_study_cell(row) for row in studies or ()])
    contradictions = list(_contradictions(main, studied))
    versions = _joined(main, studied)
    versions_of: dict[tuple, list[str]] = {}
    for version, cells in versions.items():
        for finding in [*_averages(cells), *_counts(cells)]:
            versions_of.setdefault(finding, []).append(version)
    table = [{**dict(finding), "versions": "; ".join(where)} for finding, where in versions_of.items()]
    table += contradictions
    table += _changes(main)
    table += _stayed(studied)
    table += _changes(_by_version([_gain_cell(row) for row in gains or ()]))
    made = pd.DataFrame(table, columns=list(COLUMNS))
    order = {finding: place for place, finding in enumerate(FINDINGS)}
    return made.sort_values("finding", key=lambda kinds: kinds.map(order), kind="stable").reset_index(drop=True)


def audit_views(table: pd.DataFrame) -> list[View]:
    """Return a view for each kind of finding."""
    table, views = with_texts(table, "hint_source", "note"), []
    for finding, title in FINDINGS.items():
        rows = [
            Row(
                f"{row['model']}, {row['method']}",
                [Cell(row["benchmark"]), number_cell(row["percent"], ".1f"), Cell(row["note"]), Cell(row["versions"])],
                note=row["hint_source"],
            )
            for row in table[table["finding"] == finding].to_dict("records")
        ]
        if rows:
            columns = ["Benchmark", "Published", "Note", "Versions"]
            views.append(View(f"{len(rows)} {title}", "Model and method", columns, rows))
    return views


def audit_line(table: pd.DataFrame) -> str:
    """Return the findings in a sentence."""
    counts = [f"{n} {title}" for name, title in FINDINGS.items() if (n := int((table["finding"] == name).sum()))]
    return f"The paper's tables have {'; '.join(counts)}." if counts else "Nothing is odd in the paper's tables."


def _by_version(rows: Sequence[Mapping[str, str]]) -> dict[str, _Version]:
    versions: dict[str, dict[tuple[str, str, str], dict[str, Fraction]]] = {}
    for row in sorted(rows, key=lambda row: dated(row["source"])):
        key = (row["model"], row["method"], row["hint_source"])
        versions.setdefault(row["source"], {}).setdefault(key, {})[row["benchmark"]] = Fraction(row["percent"])
    return versions


def _study_cell(row: Mapping[str, str]) -> dict[str, str]:
    """A row of a study in the columns of the main results."""
    return {**row, "method": row["variant"], "hint_source": ""}


def _joined(main: Mapping[str, _Version], studied: Mapping[str, _Version]) -> dict[str, _Version]:
    """Publication -> the cells of all its tables; those of runs that the main results have too count once."""
    found = {}
    for source in sorted({*main, *studied}, key=dated):
        more = {key: row for key, row in studied.get(source, {}).items() if key[1] not in SAME_RUNS}
        found[source] = {**main.get(source, {}), **more}
    return found


def _contradictions(main: Mapping[str, _Version], studied: Mapping[str, _Version]) -> Iterator[dict[str, Any]]:
    """Cells of a study whose run stands in the main results of the same publication with another number."""
    for source, cells in studied.items():
        for (model, variant, _), row in cells.items():
            of_run = [of for key, of in main.get(source, {}).items() if key[:2] == (model, SAME_RUNS.get(variant))]
            for name, percent in row.items():
                for there in (of[name] for of in of_run if of.get(name, percent) != percent):
                    note = f"{float(there):.1f} in the main results"
                    finding = dict(_finding("contradiction", (model, variant, ""), name, percent, there, note))
                    yield {**finding, "versions": source}


def _stayed(studied: Mapping[str, _Version]) -> Iterator[dict[str, Any]]:
    """Ablations whose every shared cell is the same in both versions of the paper, though that of rlcsd is another."""
    by_version: dict[str, dict[tuple[str, str], tuple[str, Mapping[str, Fraction]]]] = {"v1": {}, "v2": {}}
    for source, cells in studied.items():
        for (model, variant, _), row in cells.items():
            by_version[version_of(source)][model, variant.replace("rlcsd-v2", "rlcsd")] = (source, row)
    for (model, variant), (source, row) in by_version["v2"].items():
        before = by_version["v1"].get((model, variant))
        whole = [by_version[version].get((model, "rlcsd")) for version in ("v1", "v2")]
        if variant == "rlcsd" or before is None or None in whole:
            continue
        (_, first), (_, second) = whole
        shared = [name for name in row if name in before[1]]
        moved = [name for name in shared if first.get(name) != second.get(name)]
        if shared and moved and all(row[name] == before[1][name] for name in shared):
            for name in moved:
                note = (
                    f"as in the first version, where rlcsd has {float(first[name]):.1f}; now {float(second[name]):.1f}"
                )
                finding = dict(_finding("stayed", (model, variant, ""), name, row[name], before[1][name], note))
                yield {**finding, "versions": f"{before[0]}; {source}"}


def _gain_cell(row: Mapping[str, str]) -> dict[str, str]:
    """A row of the plug-in study in the columns of the main results."""
    benchmark, points = f"{row['family']} gain of contrast", row["delta_percent_points"]
    return {**row, "hint_source": "", "benchmark": benchmark, "percent": points}


def _averages(cells: _Version) -> Iterator[tuple]:
    for key, row in cells.items():
        for name, (task, about) in BENCHMARKS.items():
            if about != "average" or name not in row:
                continue
            parts = [b for b, (family, of) in BENCHMARKS.items() if family == task and of != "average"]
            if not row.keys() >= set(parts):
                continue
            printed = sum(row[b] for b in parts) / len(parts)
            spans = [_span(row[b], b) for b in parts]
            low, high = (sum(span[end] for span in spans) / len(parts) for end in (0, 1))
            if not (low - _HALF <= row[name] <= high + _HALF or abs(printed - row[name]) <= _HALF):
                yield _finding("average", key, name, row[name], printed, f"its parts give {_text(printed)}")


def _counts(cells: _Version) -> Iterator[tuple]:
    for key, row in cells.items():
        for name, percent in row.items():
            if BENCHMARKS[name][1] == "average" or _rounded_to(percent, name):
                continue
            total = _total(name)
            if cut := _cut_to(percent, name):
                exact = Fraction(100 * cut[0], total)
                note = f"{cut[0]} of {total} are {float(exact):.3f} %"
                yield _finding("truncated", key, name, percent, exact, note)
            else:
                below = int(percent * total / 100)
                near = [Fraction(100 * count, total) for count in (below, below + 1)]
                note = f"{below} and {below + 1} of {total} are {float(near[0]):.2f} and {float(near[1]):.2f} %"
                nearest = min(near, key=lambda value: abs(value - percent))
                yield _finding("no count", key, name, percent, nearest, note)


def _changes(versions: Mapping[str, _Version]) -> Iterator[dict[str, Any]]:
    # Between the paper's two versions all may change: that is tables.drift's to tell.
    names = [name for name in versions if version_of(name) == "v1"]
    for earlier, later in itertools.pairwise(names):
        for key, row in versions[later].items():
            for name, percent in row.items():
                before = versions[earlier].get(key, {}).get(name)
                if before is not None and before != percent:
                    finding = dict(_finding("changed", key, name, percent, before, f"was {float(before):.1f}"))
                    yield {**finding, "versions": f"{earlier}; {later}"}


def _finding(
    kind: str, key: tuple[str, str, str], benchmark: str, percent: Fraction, against: Fraction, note: str
) -> tuple:
    values = (kind, *key, benchmark, float(percent), float(against), note)
    return tuple(zip([name for name in COLUMNS if name != "versions"], values, strict=True))


def _total(benchmark: str) -> int:
    """Draws behind a cell of the paper."""
    task, name = BENCHMARKS[benchmark]
    return problems()[name] * DRAWS[task]


def _rounded_to(percent: Fraction, benchmark: str) -> list[int]:
    """Counts that are rounded to this cell."""
    total = _total(benchmark)
    near = int(percent * total / 100)
    return [
        count for count in (near - 1, near, near + 1, near + 2) if abs(Fraction(100 * count, total) - percent) <= _HALF
    ]


def _cut_to(percent: Fraction, benchmark: str) -> list[int]:
    """Counts that are cut off to this cell."""
    total = _total(benchmark)
    near = int(percent * total / 100)
    return [c for c in (near, near + 1, near + 2) if 0 <= Fraction(100 * c, total) - percent < 2 * _HALF]


def _span(percent: Fraction, benchmark: str) -> tuple[Fraction, Fraction]:
    """The least and the largest value that a cell may stand for."""
    counts = _rounded_to(percent, benchmark) or _cut_to(percent, benchmark)
    if not counts:
        return percent - _HALF, percent + _HALF
    values = [Fraction(100 * count, _total(benchmark)) for count in counts]
    return min(values), max(values)


def _text(value: Fraction) -> str:
    return f"{float(value):.2f}"
