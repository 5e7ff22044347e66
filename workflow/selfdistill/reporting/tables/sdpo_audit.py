"""Computes sdpo_audit.csv: what does not add up in the published tables of SDPO's paper."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from selfdistill.reporting.read.published_sdpo import (
    CODE_BENCHMARK,
    CODE_MODEL,
    MODELS,
    VERSIONS,
    sdpo_code,
    sdpo_results,
)
from selfdistill.reporting.render.cells import number_cell
from selfdistill.reporting.render.table import Cell, Row, View

#: Kinds of findings -> what they are.
FINDINGS = {
    "changed": "cells that changed between the two tables",
    "winner": "columns whose best method changed between the two tables",
    "later": "cells whose best within 5 h is below that within 1 h",
    "chance": "cells below what guessing among the options gives",
    "repeated": "methods with one number for both models, at both times",
    "ceiling": "cells above what the release's grader can give",
    "twice": "numbers on code that the paper prints twice, and not alike",
    "beyond": "points of curves on code above what is printed as the best to step 90",
}
COLUMNS = ("finding", "model", "method", "benchmark", "hours", "percent", "against", "versions", "note")
#: What guessing gives on the test questions: a quarter, more where some have two options.
CHANCE = {"sciknoweval_biology": 34.5, "sciknoweval_chemistry": 25.0, "sciknoweval_material": 25.0}
CHANCE["sciknoweval_physics"] = 25.0
#: 66 of 68 questions.
CEILING = {"tooluse": 97.1}

_Cells = Mapping[tuple[str, str, str, str], float]  # model, method, benchmark, hours -> percent


def sdpo_audit_table(
    rows: Sequence[Mapping[str, str]] | None = None, code: Sequence[Mapping[str, str]] | None = None
) -> pd.DataFrame:
    """Return all findings, in the paper's names; on code, of which there are ablations, in those of our variants.

    Args:
        rows: of sdpo_results.csv; without them the shipped ones.
        code: of sdpo_code.csv; without them the shipped ones.
    """
    tables: dict[str, dict[tuple[str, str, str, str], float]] = {version: {} for version in VERSIONS}
    for row in sdpo_results() if rows is None else rows:
        key = (row["model"], row["method"], row["benchmark"], row["hours"])
        tables[row["version"]][key] = float(row["percent"])
    old, new = tables.values()
    found = [*_changed(old, new), *_winners(old, new)]
    of_version: dict[tuple, list[str]] = {}
    for version, cells in tables.items():
        for finding in (*_later(cells), *_chance(cells), *_repeated(cells), *_ceiling(cells)):
            of_version.setdefault(finding, []).append(version)
    found += [(*finding, "; ".join(versions)) for finding, versions in of_version.items()]
    found += _on_code(sdpo_code() if code is None else code)
    order = [name for name in COLUMNS if name not in ("versions", "note")]
    records = [dict(zip((*order, "note", "versions"), finding, strict=True)) for finding in found]
    made = pd.DataFrame(records, columns=list(COLUMNS))
    made["hours"] = pd.to_numeric(made["hours"]).astype("Int64")
    place = {finding: number for number, finding in enumerate(FINDINGS)}
    return made.sort_values("finding", key=lambda kinds: kinds.map(place), kind="stable").reset_index(drop=True)


def sdpo_audit_views(table: pd.DataFrame) -> list[View]:
    """Return a view for each kind of finding."""
    views = []
    for finding, title in FINDINGS.items():
        rows = [
            Row(
                f"{row['model']}, {row['method']}",
                [
                    Cell(row["benchmark"]),
                    number_cell(row["hours"], ".0f"),
                    number_cell(row["percent"], ".1f"),
                    number_cell(row["against"], ".1f"),
                    Cell(row["note"]),
                    Cell(row["versions"]),
                ],
            )
            for row in table[table["finding"] == finding].to_dict("records")
        ]
        if rows:
            columns = ["Benchmark", "Hours", "Published", "Against", "Note", "Table"]
            views.append(View(f"{len(rows)} {title}", "Model and method", columns, rows))
    return views


def sdpo_audit_line(table: pd.DataFrame) -> str:
    """Return the findings in a sentence."""
    counts = [f"{n} {title}" for name, title in FINDINGS.items() if (n := int((table["finding"] == name).sum()))]
    return f"The paper's tables have {'; '.join(counts)}."


def _changed(old: _Cells, new: _Cells) -> Iterator[tuple[Any, ...]]:
    for (model, method, benchmark, hours), percent in new.items():
        before = old.get((model, method, benchmark, hours))
        if before not in (None, percent):
            note = f"{before:.1f} in {VERSIONS[0]}"
            yield ("changed", model, method, benchmark, hours, percent, before, note, VERSIONS[1])


def _winners(old: _Cells, new: _Cells) -> Iterator[tuple[Any, ...]]:
    columns = dict.fromkeys((model, benchmark, hours) for model, method, benchmark, hours in new if method != "base")
    for model, benchmark, hours in columns:

        def best(cells: _Cells, column: tuple[str, str, str] = (model, benchmark, hours)) -> str | None:
            of_column = {key[1]: value for key, value in cells.items() if (key[0], *key[2:]) == column}
            return max(of_column, key=of_column.__getitem__, default=None)

        before, now = best(old), best(new)
        if before not in (None, now):
            at = (model, now, benchmark, hours)
            yield ("winner", *at, new[at], old.get(at), f"{before} in {VERSIONS[0]}", VERSIONS[1])


def _later(cells: _Cells) -> Iterator[tuple[Any, ...]]:
    for (model, method, benchmark, hours), percent in cells.items():
        before = cells.get((model, method, benchmark, "1"))
        if hours == "5" and before is not None and percent < before:
            yield ("later", model, method, benchmark, hours, percent, before, f"{before:.1f} within 1 h")


def _chance(cells: _Cells) -> Iterator[tuple[Any, ...]]:
    for (model, method, benchmark, hours), percent in cells.items():
        chance = CHANCE.get(benchmark, 0.0)
        if percent < chance:
            note = f"guessing gives {chance:.1f}: formats that cannot be read count as wrong"
            yield ("chance", model, method, benchmark, hours, percent, chance, note)


def _repeated(cells: _Cells) -> Iterator[tuple[Any, ...]]:
    models = list(dict.fromkeys(model for model, *_ in cells))
    for method, benchmark in dict.fromkeys((method, benchmark) for _, method, benchmark, _ in cells):
        values = {cells.get((model, method, benchmark, hours)) for model in models for hours in ("1", "5")}
        if len(values) == 1 and None not in values and len(models) > 1:
            (value,) = values
            yield ("repeated", " and ".join(models), method, benchmark, "", value, value, "the same four times")


def _on_code(rows: Sequence[Mapping[str, str]]) -> Iterator[tuple[Any, ...]]:
    printed: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for row in rows:
        printed.setdefault((row["variant"], row["measure"]), []).append((float(row["percent"]), row["place"]))
    at = MODELS[CODE_MODEL]
    for (variant, measure), values in printed.items():
        (least, first), (most, second) = min(values), max(values)
        if least < most:
            note = f"{measure}: {least:.1f} in {first}, {most:.1f} in {second}"
            yield ("twice", at, variant, CODE_BENCHMARK, "", most, least, note, "paper")
        best = max((percent for percent, _ in printed.get((variant, "best"), [])), default=100.0)
        if measure.startswith("step_") and most > best:
            note = f"{most:.1f} at {measure.replace('_', ' ')} in {second}"
            yield ("beyond", at, variant, CODE_BENCHMARK, "", most, best, note, "paper")


def _ceiling(cells: _Cells) -> Iterator[tuple[Any, ...]]:
    for (model, method, benchmark, hours), percent in cells.items():
        most = CEILING.get(benchmark, 100.0)
        if percent > most:
            yield ("ceiling", model, method, benchmark, hours, percent, most, f"at most {most:.1f} can be reached")
