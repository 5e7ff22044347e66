"""Writes the first page: verdicts on claims, the main table beside the paper's, figures, and limits."""

import base64
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from selfdistill.reporting.claims.table import estimate_text, summaries
from selfdistill.reporting.claims.verdicts import CLAIM_VERDICTS, NOT_RUN
from selfdistill.reporting.pages.limits import limits
from selfdistill.reporting.read.accuracy import Tasks
from selfdistill.reporting.read.health import health_remarks
from selfdistill.reporting.read.provenance import check_same_base, machine, provenance_of
from selfdistill.reporting.read.runs import MissingRun, RunFiles, check_unique
from selfdistill.reporting.render.cells import main_views
from selfdistill.reporting.render.html import anchor, render
from selfdistill.reporting.render.table import Row, View, html_table
from selfdistill.reporting.tables.accuracy import main_lead
from selfdistill.reporting.tables.audit import audit_line, audit_views
from selfdistill.reporting.tables.costs import COLUMNS, cost_cell, cost_text, total_line, totals

#: Findings on data that are as they should be at zero.
_SHOULD_BE_ZERO = (
    "columns missing",
    "empty prompts",
    "empty solutions",
    "answers that the grader cannot read",
    "problems that repeat an earlier one",
)
_OVERLAP = ("problems also in ", "pictures also in ")
#: " (seed 1 not run: ..., seed 2 failed: ...)"
_SEEDS = re.compile(r" \(seed \d+ [^()]*\)")
#: Pixels, for an SVG that does not say how wide it is.
_FIGURE_WIDTH = 1100


@dataclass(frozen=True)
class Shown:
    """A figure of the page: its path under results/, a title, its width in CSS pixels, and its SVG as a data URL."""

    path: str
    title: str
    width: int
    source: str


def overview_page(
    runs: Sequence[RunFiles],
    missing: Sequence[MissingRun],
    tasks: Tasks,
    *,
    claims: pd.DataFrame,
    main: pd.DataFrame,
    audit: pd.DataFrame,
    costs: pd.DataFrame,
    findings: pd.DataFrame | None,
    figures: Sequence[str | os.PathLike],
    demonstration: bool,
) -> str:
    """Return the overview of a report.

    runs, missing: what was run and what of the matrix was not (with the reason);
    claims, main, audit, costs: those tables; findings: the data report's, None where no data is known; figures: paths
    of SVG files under results/, in the order in which they are shown; demonstration: whether all tasks are toy ones.

    Links to other pages stand as `data-href`, which does nothing; `site.py` makes links of them where those pages are.
    Raises UserError: a run listed twice, a file that cannot be read.
    """
    check_unique(runs)
    check_same_base(runs)
    shown = [_figure(Path(figure)) for figure in figures]
    told = _claims(claims, {figure.path for figure in shown})
    judged = [claim for claim in told if claim["verdict"] != NOT_RUN]
    return render(
        "overview.html",
        title="Overview",
        summary=_summary(runs, missing),
        limits=limits(runs, demonstration=demonstration),
        verdicts={word: sum(c["verdict"] == word for c in judged) for word in CLAIM_VERDICTS if word != NOT_RUN},
        claims=judged,
        not_run=[claim for claim in told if claim["verdict"] == NOT_RUN],
        lead=main_lead(main),
        # Without remarks: which runs are missing, and why, has a section of its own.
        tables=[(view.title, html_table(replace(view, remarks=()))) for view in main_views(main, missing, tasks)],
        figures=shown,
        missing=_missing(missing),
        audit=audit_line(audit),
        audit_tables=[(view.title, html_table(view)) for view in audit_views(audit)],
        costs=total_line(costs),
        costs_table=html_table(_costs(costs)) if len(costs) else None,
        data=None if findings is None else _data(findings),
        runs=[_run(run) for run in runs],
        remarks=health_remarks(runs),
    )


def _summary(runs: Sequence[RunFiles], missing: Sequence[MissingRun]) -> dict[str, Any]:
    def named(axis: str) -> list[str]:
        return list(dict.fromkeys(getattr(run, axis) for run in runs))

    return {
        "runs": len(runs),
        "missing": len(missing),
        "tasks": named("task"),
        "models": named("model"),
        "variants": named("variant"),
        "seeds": sorted(named("seed")),
    }


def _claims(table: pd.DataFrame, shown: set[str]) -> list[dict[str, Any]]:
    """Each claim with its one verdict, its judged parts, and what was not run of it, as the page takes them."""
    claims = summaries(table)
    for claim in claims:
        rows = [
            # Why a seed is missing is said once, further down.
            row | {"text": estimate_text(row), "why": _SEEDS.sub("", row["why"]), **_link(row, shown)}
            for row in claim["parts"]
        ]
        claim["why"] = _SEEDS.sub("", claim["why"])
        claim["judged"] = [row for row in rows if row["verdict"] != NOT_RUN]
        claim["not_run"] = [row for row in rows if row["verdict"] == NOT_RUN]
        claim["figure"] = next((row for row in claim["judged"] if row["here"]), None) or next(iter(claim["judged"]), {})
    return claims


def _link(row: Mapping[str, Any], shown: set[str]) -> dict[str, str]:
    """Says where a claim's figure is on the page (itself, or the same of the claim's model), and where it is at all."""
    path = row["figure"].removeprefix("results/")
    if not path:
        return {"here": "", "there": ""}
    name = Path(path).stem
    here = next((each for each in (path, f"figures/{name}/{row['model']}.svg") if each in shown), "")
    return {"here": here and anchor("figure", here), "there": path}


def _figure(path: Path) -> Shown:
    inside = Path(*path.parts[path.parts.index("figures") :]) if "figures" in path.parts else path
    svg = path.read_bytes()
    points = re.search(rb'<svg[^>]* width="([0-9.]+)pt"', svg)  # as matplotlib writes it
    width = round(float(points[1]) * 4 / 3) if points else _FIGURE_WIDTH
    return Shown(str(inside), _title(inside), width, f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}")


def _title(inside: Path) -> str:
    """figures/dynamics/qwen3_4b.svg and figures/math/contrast.svg: what is shown, and of what."""
    kinds = {
        "dynamics": "Training dynamics",
        "benchmarks": "Benchmarks",
        "contrast": "What the contrast of hints does",
        "signals": "What the teachers say",
        "tokens": "Tokens with the strongest signal",
        "token_means": "Signal of rollouts by class of token",
    }
    folder, name = inside.parent.name, inside.stem
    kind, of = (folder, name) if folder in kinds else (name, folder)
    return f"{kinds.get(kind, kind)}: {of}"


def _missing(missing: Sequence[MissingRun]) -> list[dict[str, Any]]:
    """Runs that are not there: those that share task, model, variant, status and reason in one line."""
    seeds: dict[tuple, list[int]] = {}
    for run in missing:
        seeds.setdefault((*run.cell, run.variant, run.status, run.why), []).append(run.seed)
    names = ("task", "model", "variant", "status", "why")
    return [dict(zip(names, key, strict=True)) | {"seeds": sorted(found)} for key, found in seeds.items()]


def _costs(table: pd.DataFrame) -> View:
    summed = totals(table)
    columns = [column for column in COLUMNS if column in summed and summed[column].notna().any()]
    rows = [
        Row(f"{row['task']}, {row['model']}: {row['job']}", [cost_cell(column, row[column]) for column in columns])
        for row in summed.to_dict("records")
    ]
    return View("What it cost", "Runs", [COLUMNS[column] for column in columns], rows)


def _data(findings: pd.DataFrame) -> list[dict[str, Any]]:
    """Each file: its rows, what should not be there and is, and how much of it is in a training set too."""
    files = []
    for (dataset, split), part in findings.groupby(["dataset", "split"], sort=False):
        whole = part[part["data_source"].fillna("") == ""]
        values = whole.dropna(subset=["value"]).set_index("finding")["value"].astype(int)
        odd = {name: n for name, n in values.items() if n and (name in _SHOULD_BE_ZERO or name.startswith(_OVERLAP))}
        notes = whole[whole["finding"] == "origin"]["note"]
        origin = "" if notes.empty else str(notes.iloc[0])
        files.append({"name": f"{dataset}/{split}", "rows": int(values["rows"]), "odd": odd, "origin": origin})
    return files


def _run(run: RunFiles) -> dict[str, Any]:
    facts = provenance_of(run) or {}
    return {
        "name": run.name,
        "results": anchor("run", run.task, run.model, run.variant, run.seed),
        "trained": run.metrics is not None,
        "commit": str(facts.get("git_commit") or "")[:10],
        "dirty": bool(facts.get("git_dirty")),
        "config": str(facts.get("config_hash") or "")[:10],
        "weights": str(facts.get("weights_sha256") or "")[:10],
        "wall": cost_text("wall_seconds", facts.get("wall_seconds")),
        "gpu_hours": cost_text("gpu_hours", facts.get("gpu_hours")),
        "hardware": (facts and machine(facts)) or "",
    }
