"""Adds up jobs, GPU-hours, wall time and disk by rule, model and block, as text and as rows."""

import csv
import io
import shutil
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from selfdistill.planning import estimates
from selfdistill.planning.dry_run import Job
from selfdistill.planning.estimates import Estimate
from selfdistill.planning.requests import LONGEST
from selfdistill.study.data import GENERATED, HUB
from selfdistill.study.matrix import BASE, Run
from selfdistill.study.models import PACKAGE, TRAINED
from selfdistill.study.paths import RUN_FILES
from selfdistill.study.study import Study
from selfdistill.texts import spreadsheet_cell, visible

TRAIN, EVALUATE = "train", "evaluate"
_WARM_STARTS = ("warm_started_model", "trained_model_to_warm_start")
_MODEL_RULES = ("pretrained_model", "model_to_warm_start", "trained_model", *_WARM_STARTS)
#: Weights on the hub are bfloat16; a rule copies them out of the hub client's cache. Those made here are float32.
_HUB_BYTES, _MADE_BYTES = 2, 4
_GB = 1e9
_UNKNOWN = (
    "Not known: time in the queue, and how many jobs run at a time; what other GPUs make of the paper's seconds; how "
    "long responses will be. Count on a factor of two, until there are measured runs: the next plan takes them."
)


@dataclass(frozen=True)
class Item:
    """A job of the plan that takes time: a training run or an evaluation, and whether it is to do or done."""

    rule: str
    run: Run
    estimate: Estimate
    planned: bool


@dataclass(frozen=True)
class Plan:
    """items: training runs and evaluations, done and to do; jobs: all that would run, by rule; fetched_bytes: base
    models and data that would be made or fetched; unsized: of those, what has a size that nobody knows.
    """

    study: Study
    items: Sequence[Item]
    jobs: Counter
    fetched_bytes: float
    unsized: Sequence[str]

    @property
    def to_do(self) -> list[Item]:
        """Items that would run."""
        return [item for item in self.items if item.planned]

    @property
    def longest_chain(self) -> tuple[float, str]:
        """Hours of the longest chain of jobs (a run is trained, then evaluated), and whose it is."""
        chains: Counter = Counter()
        for item in self.to_do:
            chains[item.run.folder.removeprefix("results/runs/")] += item.estimate.hours
        return max(((hours, name) for name, hours in chains.items()), default=(0.0, ""))

    @property
    def final_bytes(self) -> float:
        """Returns what stays on disk of all that would run."""
        return self.fetched_bytes + sum(item.estimate.disk_bytes for item in self.to_do)

    @property
    def running_bytes(self) -> tuple[float, float]:
        """Returns what is needed on top: by the largest run alone, and by all at once."""
        each = [item.estimate.running_bytes for item in self.to_do]
        return max(each, default=0.0), sum(each)


def make_plan(study: Study, jobs: Iterable[Job]) -> Plan:
    """Return the plan of a study.

    jobs: those of Snakemake's dry run; they say what is stale. What of the matrix is not among them is done where its
    files are there, and else was not asked for.
    """
    jobs = list(jobs)
    planned = {(_kind(job.rule), cell) for job in jobs if (cell := _cell(job)) is not None}
    matrix = {(run.task, run.model, run.variant, run.seed): run for run in study.runs()}
    cells = dict.fromkeys([*matrix, *(cell for _, cell in sorted(planned) if cell not in matrix)])
    runs = [matrix.get(cell) or Run(*cell, study.variants[cell[2]]) for cell in cells]
    items = []
    for kind, run in [*((TRAIN, run) for run in runs if run.variant != BASE), *((EVALUATE, run) for run in runs)]:
        to_do = (kind, (run.task, run.model, run.variant, run.seed)) in planned
        if to_do or _is_there(study, kind, run):
            rule = TRAIN if kind == TRAIN else f"{EVALUATE}_{run.task}"
            items.append(Item(rule, run, _estimate(study, kind, run), to_do))
    fetched, unsized = _fetched(study, jobs)
    return Plan(study, items, Counter(job.rule for job in jobs), fetched, unsized)


def as_text(plan: Plan, folder: Path = Path()) -> str:
    """Return the plan for people. folder: whose file system's free space is told."""
    trainings = [item for item in plan.items if item.rule == TRAIN]
    evaluations = [item for item in plan.items if item.rule != TRAIN]
    asked = plan.study.runs()
    said = (
        f"{sum(plan.jobs.values())} jobs would run. Done already: "
        f"{sum(not item.planned for item in trainings)} of {sum(run.variant != BASE for run in asked)} training runs, "
        f"{sum(not item.planned for item in evaluations)} of {len(asked)} evaluations."
    )
    parts = [said]
    others = {rule: n for rule, n in plan.jobs.items() if _kind(rule) is None}
    if plan.to_do:
        parts.append(_table("By rule", _summed(plan.items, lambda item: [item.rule]), "rule"))
        parts.append(_table("By model", _summed(plan.items, lambda item: [item.run.model]), "model"))
        if len(plan.study.blocks) > 1:
            blocks = _table("By block (a run in several is counted in each)", _by_block(plan), "block")
            parts.append(blocks)
    if others:
        listed = ", ".join(f"{rule} {n}" for rule, n in others.items())
        parts.append(f"Beside them, of minutes each: {listed}.")
    if plan.to_do:
        parts += [_totals(plan, folder), _sources(plan), textwrap.fill(_UNKNOWN, 120)]
    return "\n\n".join(parts) + "\n"


def as_csv(plan: Plan) -> str:
    """Return the plan for machines: a row for each training run and evaluation of the matrix, done or to do."""
    file = io.StringIO()
    columns = ("rule", "task", "model", "variant", "seed", "planned", "hours", "gpus", "gpu_hours")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow((*columns, "disk_bytes", "running_bytes", "source", "basis"))
    for item in plan.items:
        run, each = item.run, item.estimate
        numbers = (f"{each.hours:.4f}", each.gpus, f"{each.gpu_hours:.4f}", round(each.disk_bytes))
        identity = (item.rule, run.task, run.model, run.variant, run.seed, str(item.planned).lower())
        basis = (spreadsheet_cell(visible(text)) for text in (each.source, each.basis))
        writer.writerow((*identity, *numbers, round(each.running_bytes), *basis))
    return file.getvalue()


def _kind(rule: str) -> str | None:
    return TRAIN if rule == TRAIN else EVALUATE if rule.startswith(f"{EVALUATE}_") else None


def _cell(job: Job) -> tuple[str, str, str, int] | None:
    if _kind(job.rule) is None:
        return None
    named = job.wildcards
    return named["task"], named["model"], named["variant"], int(named["seed"])


def _is_there(study: Study, kind: str, run: Run) -> bool:
    if kind == TRAIN:
        return Path(run.folder, RUN_FILES["provenance"]).exists()
    return all(Path(run.draws_folder, f"{name}.parquet").exists() for name in study.benchmarks(run.task))


def _estimate(study: Study, kind: str, run: Run) -> Estimate:
    if kind == TRAIN:
        return estimates.training(study, run.task, run.model, run.variant)
    return estimates.evaluation(study, run.task, run.model)


def _fetched(study: Study, jobs: Iterable[Job]) -> tuple[float, list[str]]:
    """Bytes of the base models and of the data that would be made or fetched, and the data without a known size."""
    total, unsized, datasets = 0.0, [], study.datasets()
    for job in jobs:
        if job.rule in _MODEL_RULES:
            entry = study.config["models"][job.wildcards["model"]]
            made = job.rule in _WARM_STARTS or entry["source"] in (PACKAGE, TRAINED)
            total += (_MADE_BYTES if made else _HUB_BYTES) * float(entry["parameters"])
        elif job.rule == "data":
            dataset, split = job.wildcards["dataset"], job.wildcards["split"]
            task, model = datasets[dataset, split]
            if study.config["tasks"][task]["data"]["source"] == GENERATED:
                continue
            recipe, sources = study.split(task, split, model), study.source_files(task, split, model)
            files = recipe.get("files", [recipe])
            if sources:
                sizes = [Path(file).stat().st_size for file in sources if Path(file).is_file()]
            else:
                sizes = [file["size"] for file in files if "size" in file]  # of the hub: once it is locked
            total += sum(sizes)
            unsized += [] if sizes or HUB not in files[0] else [f"{dataset}/{split}.parquet"]
    return total, unsized


def _summed(items: Iterable[Item], keys: Callable[[Item], Iterable[str]]) -> dict[str, list[float]]:
    """Key -> jobs to do, done, GPU-hours, longest hours, GB that stay, GB of all that run at once."""
    rows: dict[str, list[float]] = {}
    for item in items:
        for key in keys(item):
            row = rows.setdefault(key, [0, 0, 0.0, 0.0, 0.0, 0.0])
            if not item.planned:
                row[1] += 1
                continue
            each = item.estimate
            row[0] += 1
            row[2] += each.gpu_hours
            row[3] = max(row[3], each.hours)
            row[4] += each.disk_bytes / _GB
            row[5] = max(row[5], each.running_bytes / _GB)
    return rows


def _by_block(plan: Plan) -> dict[str, list[float]]:
    axes = {
        name.rpartition(".")[2]: {axis: set(values) for axis, values in block.items()}
        for name, block in plan.study.blocks.items()
    }

    def blocks(item: Item) -> list[str]:
        run = item.run
        cell = {"tasks": run.task, "models": run.model, "variants": run.variant, "seeds": run.seed}
        return [name for name, held in axes.items() if all(value in held[axis] for axis, value in cell.items())]

    return _summed(plan.items, blocks)


def _table(title: str, rows: Mapping[str, Sequence[float]], first: str) -> str:
    head = (first, "to do", "done", "GPU-hours", "longest h", "stays GB", "and while one runs GB")
    body = [
        (name, f"{row[0]:.0f}", f"{row[1]:.0f}", _number(row[2]), _number(row[3]), _number(row[4]), _number(row[5]))
        for name, row in rows.items()
    ]
    widths = [max(len(line[column]) for line in (head, *body)) for column in range(len(head))]
    lines = [
        "  ".join(
            [line[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in (head, *body)
    ]
    return "\n".join([title, *(f"  {line}".rstrip() for line in lines)])


def _totals(plan: Plan, folder: Path) -> str:
    (hours, name), (one, every) = plan.longest_chain, plan.running_bytes
    gpu_hours = sum(item.estimate.gpu_hours for item in plan.to_do)
    final, free = plan.final_bytes, shutil.disk_usage(folder).free
    lines = [
        f"GPU-hours      {_number(gpu_hours)}",
        f"Longest chain  {_number(hours)} hours of wall time ({name}), if nothing waits",
    ]
    if hours * 60 > LONGEST:
        lines.append(
            f"               A job asks for {LONGEST // 60} hours at most; a longer run goes on in the next job."
        )
    lines += [
        f"Disk           {_number(final / _GB)} GB stay",
        f"               {_number((final + one) / _GB)} GB at the peak with one run at a time, "
        f"{_number((final + every) / _GB)} GB with all at once",
        f"               {_number(free / _GB)} GB are free here" + ("" if free > final + one else ": too little"),
    ]
    if plan.unsized:
        lines.append(f"               without {len(plan.unsized)} data sets of the hub, of a size that make lock tells")
    return "\n".join(lines)


def _sources(plan: Plan) -> str:
    counted: Counter = Counter()
    bases: dict[tuple[str, str], list[str]] = {}
    for item in plan.to_do:
        key = (TRAIN if item.rule == TRAIN else EVALUATE, item.estimate.source)
        counted[key] += 1
        bases.setdefault(key, []).append(item.estimate.basis)
    lines = ["Where the hours come from"]
    for (kind, source), number in counted.items():
        lines += textwrap.wrap(f"{number} x {kind}: {source}", 116, initial_indent="  ", subsequent_indent="      ")
        known = list(dict.fromkeys(bases[kind, source]))
        shown = "; ".join(known[:2]) + (f"; ... ({len(known)} different ones, all in --csv)" if len(known) > 2 else "")
        lines.append(f"      {shown}")
    return "\n".join(lines)


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 0.05 else f"{value:.2g}"
