"""Writes the page of results, on which each number links to its draws, settings and weights."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from selfdistill.errors import UserError
from selfdistill.evaluation.draws import read_matrix
from selfdistill.files import sha256_file
from selfdistill.reporting.pages.descriptions import describe
from selfdistill.reporting.pages.limits import limits
from selfdistill.reporting.read.accuracy import AVERAGES
from selfdistill.reporting.read.provenance import check_same_base, provenance_of
from selfdistill.reporting.read.runs import RunFiles, check_unique
from selfdistill.reporting.render.html import render
from selfdistill.reporting.render.paper_shape import paper_tables
from selfdistill.reporting.tables.costs import cost_views, total_line
from selfdistill.texts import shortened
from selfdistill.yaml_files import mapping_of

#: Parts of a resolved config that say which run it is, not how it differs from its method.
_IDENTITY = ("task", "model", "variant", "method", "implementation", "seed", "data", "base_model")

#: Characters of a value of a resolved config, and of the file as the page shows it, at most.
_LONGEST_VALUE, _LONGEST_FILE = 2_000, 200_000

#: Name of a run -> its resolved config; None where it has none.
_Settings = Mapping[str, dict[str, Any] | None]


def results_page(
    runs: Sequence[RunFiles],
    main: pd.DataFrame,
    gains: pd.DataFrame,
    costs: pd.DataFrame,
    *,
    demonstration: bool,
    remake: str | None,
) -> str:
    """Return the main table and the gains, where every number links to its origin on the same page.

    An origin is a variant's section: for each benchmark the files of draws with their digests, sizes and the command
    that remakes them, for each seed the resolved config and the provenance. The page opens with what was run, what each
    variant is and how its settings differ from its method's, and with what the page does and does not show.

    main, gains, costs: `tables.main_table`, `tables.gains_table` and `costs.costs_table` of just these runs;
    demonstration: whether the tasks are the toy ones (the page then says what that means); remake: shell command with
    {path}.
    Raises UserError: a run listed twice, a file that cannot be read.
    """
    check_unique(runs)
    check_same_base(runs)
    variants: dict[tuple[str, str, str], list[RunFiles]] = {}
    for run in runs:
        variants.setdefault((run.task, run.model, run.variant), []).append(run)
    averages = {name: title for name, title, _ in AVERAGES}
    settings = {run.name: _settings(run) for run in runs}
    return render(
        "results.html",
        title="Results and where they come from",
        limits=limits(runs, demonstration=demonstration),
        summary=_summary(runs),
        variants=_variants(runs, settings),
        main=paper_tables(main),
        gains=paper_tables(gains),
        costs=cost_views(costs),
        total=total_line(costs),
        averages=averages,
        sections=[_section(members, runs, settings, main, averages, remake) for members in variants.values()],
    )


def _summary(runs: Sequence[RunFiles]) -> dict[str, Any]:
    """Returns what was run: per task its models, benchmarks and seeds, in the order given."""
    tasks: dict[str, dict[str, list]] = {}
    for run in runs:
        about = tasks.setdefault(run.task, {"models": [], "seeds": [], "benchmarks": []})
        names = {"models": [run.model], "seeds": [run.seed], "benchmarks": run.draws}
        for kind, found in names.items():
            about[kind] += [name for name in found if name not in about[kind]]
    return {"tasks": tasks, "runs": len(runs)}


def _variants(runs: Sequence[RunFiles], settings: _Settings) -> list[dict[str, Any]]:
    """Each variant in the order given: what it is, and its changes, once where all tasks and models have the same."""
    cells: dict[str, dict[tuple[str, str], RunFiles]] = {}
    for run in runs:
        cells.setdefault(run.variant, {}).setdefault((run.task, run.model), run)
    listed = []
    introduced = {run.method for run in runs if run.variant == run.method}  # described in a row of their own
    for variant, members in cells.items():
        first = next(iter(members.values()))
        changes = {", ".join(cell): _changes(run, runs, settings) for cell, run in members.items()}
        same = all(found == next(iter(changes.values())) for found in changes.values())
        listed.append(
            {
                "variant": variant,
                "method": first.method,
                "description": describe(str((settings[first.name] or {}).get("implementation", first.method))),
                "changes": {"": next(iter(changes.values()))} if same else changes,
                "introduces": first.method not in introduced,
            }
        )
        introduced.add(first.method)
    return listed


def _changes(run: RunFiles, runs: Sequence[RunFiles], settings: _Settings) -> dict[str, tuple[str, str | None]] | None:
    """Setting -> its value in this run and in its method's own.

    Where the method was not run as it is: setting -> its value and None, of the settings that tell this variant from
    the method's others on this task and model. None where neither can be known from these runs.
    """
    mine = settings[run.name]
    if mine is None:
        return None
    here = _flat(mine, ".")
    plain, others = None, []
    for other in runs:
        theirs = settings[other.name]
        if (other.task, other.model, other.method) == (run.task, run.model, run.method) and theirs is not None:
            if other.variant == run.method:
                plain = plain or _flat(theirs, ".")
            elif other.variant != run.variant:
                others.append(_flat(theirs, "."))

    def differs(key: str, there: Mapping[str, Any]) -> bool:
        return key.split(".")[0] not in _IDENTITY and here.get(key) != there.get(key)

    if plain is not None:
        keys = {**here, **plain}
        return {key: (_value(here.get(key)), _value(plain.get(key))) for key in keys if differs(key, plain)}
    if not others:
        return None
    return {key: (_value(here[key]), None) for key in here if any(differs(key, there) for there in others)}


def _settings(run: RunFiles) -> dict[str, Any] | None:
    """The resolved config, parsed. Raises UserError as `mapping_of` does."""
    text = _text(run.config)
    return None if text is None else mapping_of(text, str(run.config))


def _flat(settings: Mapping[str, Any], separator: str, prefix: str = "") -> dict[str, Any]:
    """Mappings in one another as one: {"a": {"b": 1}} becomes {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        flat |= _flat(value, separator, f"{name}{separator}") if isinstance(value, dict) else {name: value}
    return flat


def _value(value: Any) -> str:
    return shortened(value if isinstance(value, str) else json.dumps(value, default=str, skipkeys=True), _LONGEST_VALUE)


def _section(
    members: Sequence[RunFiles],
    runs: Sequence[RunFiles],
    settings: _Settings,
    main: pd.DataFrame,
    averages: dict[str, str],
    remake: str | None,
) -> dict[str, Any]:
    first = members[0]
    own = (main["task"] == first.task) & (main["model"] == first.model) & (main["variant"] == first.variant)
    names = list(main.loc[own, "benchmark"])
    counted = main[own & main["counted"]].set_index("benchmark")["distribution"]
    return {
        "task": first.task,
        "model": first.model,
        "variant": first.variant,
        "method": first.method,
        "changes": _changes(first, runs, settings),
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
                "config": (text := _text(run.config)) and shortened(text, _LONGEST_FILE),
                "config_path": run.config,
                "provenance": _provenance(run),
                "provenance_path": run.provenance,
            }
            for run in members
        ],
    }


def _source(run: RunFiles, benchmark: str, remake: str | None) -> dict[str, Any]:
    """One file of draws, behind one cell of the table."""
    path = run.draws[benchmark]
    matrix = read_matrix(path)
    problems, draws = matrix.correct.shape
    return {
        "seed": run.seed,
        "path": str(path),
        "problems": problems,
        "draws": draws,
        "correct": int(matrix.correct.sum()),
        "sha256": sha256_file(path),
        "command": remake and remake.replace("{path}", shlex.quote(str(path))),
    }


def _text(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read it ({error}); the results page shows it: make this run again") from None


def _provenance(run: RunFiles) -> dict[str, str] | None:
    """The provenance as flat names and texts: {"data": {"train_sha256": x}} becomes {"data train_sha256": x}."""
    content = provenance_of(run)
    return None if content is None else {name: _fact(value) for name, value in _flat(content, " ").items()}


def _fact(value: Any) -> str:
    text = shlex.join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)
    return shortened(text, _LONGEST_VALUE)
