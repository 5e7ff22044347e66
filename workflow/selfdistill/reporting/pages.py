"""HTML pages: one file each, nothing loaded from elsewhere, fit for a phone, light or dark."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from selfdistill.errors import UserError
from selfdistill.evaluation.draws import read_draws, to_matrix
from selfdistill.files import sha256_file
from selfdistill.reporting.runs import RunFiles, check_unique
from selfdistill.reporting.tables import AVERAGES, blocks

#: Remakes one file; the path of the file takes the place of {path}.
REMAKE = "snakemake --profile profiles/local --force {path}"


@dataclass(frozen=True)
class _Source:
    """One file of draws, behind one cell of the table."""

    seed: int
    path: str
    problems: int
    draws: int
    correct: int
    sha256: str
    command: str


def results_page(
    runs: Sequence[RunFiles],
    main: pd.DataFrame,
    gains: pd.DataFrame,
    *,
    demonstration: bool,
    remake: str = REMAKE,
) -> str:
    """The main table and the gains, where every number links to its origin on the same page.

    An origin is a variant's section: for each benchmark the files of draws with their digests, sizes and the command
    that remakes them, for each seed the resolved config and the provenance. The page opens with what was run, and with
    what it does and does not show.

    main, gains: `tables.main_table` and `tables.gains_table` of just these runs; demonstration: whether the tasks are
    the toy ones (the page then says what that means); remake: shell command with {path}.
    Raises UserError: a run listed twice, a file that cannot be read.
    """
    check_unique(runs)
    variants: dict[tuple[str, str, str], list[RunFiles]] = {}
    for run in runs:
        variants.setdefault((run.task, run.model, run.variant), []).append(run)
    averages = {name: title for name, title, _ in AVERAGES}
    return (
        _environment()
        .get_template("results.html")
        .render(
            title="Results and where they come from",
            demonstration=demonstration,
            summary=_summary(runs),
            main=blocks(main),
            gains=blocks(gains),
            averages=averages,
            sections=[_section(members, main, averages, remake) for members in variants.values()],
        )
    )


def anchor(*parts: object) -> str:
    """An element id from names. Names are parts of paths, so no two lists of names give one id."""
    return "/".join(map(str, parts))


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("selfdistill.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["anchor"] = anchor
    return environment


def _summary(runs: Sequence[RunFiles]) -> dict[str, Any]:
    """What was run: per task its models, variants, benchmarks and seeds, in the order given."""
    tasks: dict[str, dict[str, list]] = {}
    for run in runs:
        about = tasks.setdefault(run.task, {"models": [], "variants": [], "seeds": [], "benchmarks": []})
        names = {"models": [run.model], "variants": [run.variant], "seeds": [run.seed], "benchmarks": run.draws}
        for kind, found in names.items():
            about[kind] += [name for name in found if name not in about[kind]]
    return {"tasks": tasks, "runs": len(runs), "most_seeds": max(len(about["seeds"]) for about in tasks.values())}


def _section(members: Sequence[RunFiles], main: pd.DataFrame, averages: dict[str, str], remake: str) -> dict[str, Any]:
    first = members[0]
    own = (main["task"] == first.task) & (main["model"] == first.model) & (main["variant"] == first.variant)
    names = list(main.loc[own, "benchmark"])
    counted = main[own & main["counted"]].set_index("benchmark")["distribution"]
    return {
        "task": first.task,
        "model": first.model,
        "variant": first.variant,
        "benchmarks": {name: [_source(run, name, remake) for run in members] for name in names if name not in averages},
        "averages": {
            name: [b for b, where in counted.items() if b not in averages and where in distributions]
            for name, _, distributions in AVERAGES
            if name in names
        },
        "runs": [
            {
                "seed": run.seed,
                "name": run.name,
                "config": _text(run.config),
                "config_path": run.config,
                "provenance": _provenance(run),
                "provenance_path": run.provenance,
            }
            for run in members
        ],
    }


def _source(run: RunFiles, benchmark: str, remake: str) -> _Source:
    path = run.draws[benchmark]
    matrix = to_matrix(read_draws(path))
    problems, draws = matrix.correct.shape
    return _Source(
        seed=run.seed,
        path=str(path),
        problems=problems,
        draws=draws,
        correct=int(matrix.correct.sum()),
        sha256=sha256_file(path),
        command=remake.format(path=shlex.quote(str(path))),
    )


def _text(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read it ({error}); the results page shows it: make this run again") from None


def _provenance(run: RunFiles) -> dict[str, str] | None:
    """The provenance as flat names and texts: {"data": {"train_sha256": x}} becomes {"data train_sha256": x}."""
    text = _text(run.provenance)
    if text is None:
        return None
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{run.provenance}: not JSON ({error.msg}); make this run again") from None
    return _flatten(content)


def _flatten(content: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key} ")
        elif isinstance(value, list):
            flat[f"{prefix}{key}"] = shlex.join(map(str, value))
        else:
            flat[f"{prefix}{key}"] = "none" if value is None else str(value)
    return flat
