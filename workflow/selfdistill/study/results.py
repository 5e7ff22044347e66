"""Selects the runs that the report shows, and maps each run to its files."""

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from selfdistill.errors import UserError
from selfdistill.json_files import parsed, read_object
from selfdistill.study.discovery import QUESTIONS_FILE, Searched
from selfdistill.study.matrix import BASE, Run
from selfdistill.study.paths import ACCOUNT, PUBLISHED_FILE, RUN_FILES, run_log, state_of
from selfdistill.study.study import Study, config_hash
from selfdistill.texts import one_line, shortened, visible, without_secrets
from selfdistill.yaml_files import mapping_of

_Cell = TypeVar("_Cell")
#: Why a run has no results. Not finished: it was begun, and neither ended nor failed by an error of its own.
NOT_RUN, NOT_FINISHED, FAILED = "not run", "not finished", "failed"
#: Begins the last line of the log of a job that ended by an error.
FAILED_LINE = "failed: "
#: Characters of a reason that a report gives, at most: the last line of a log may be of megabytes.
_LONGEST_REASON = 600


@dataclass(frozen=True)
class Files:
    """Paths of a run's files. draws: benchmark -> parquet; None: there is none (a base model is not trained).

    account is what the evaluation cost; the others are what training leaves.
    """

    draws: dict[str, str]
    metrics: str | None = None
    config: str | None = None
    provenance: str | None = None
    records: str | None = None
    account: str | None = None


class Reported:
    """The runs that a report shows.

    With `aggregate: all` those of the matrix; whatever is not there yet is made. With `aggregate: available` those that
    are complete, and of their present settings, when this is made; the others are `missing`.

    With `draws.source: <folder>` nothing is trained or evaluated: files are read where they are, as
    <folder>/<task>/<model>/<variant>/seed<seed>/<benchmark>.parquet, beside them what there is of RUN_FILES and
    ACCOUNT. Raises UserError where draws are not there, or files beside them are another run's, and neither is said to
    be optional by `aggregate: available`.
    """

    def __init__(self, study: Study):
        self._study = study
        self._available = available = study.config.get("aggregate", "all") == "available"
        lacking = {run: self._lacks(run) for run in study.runs()} if available or self.source else {}
        if not available:
            for lack in filter(None, lacking.values()):
                raise UserError(
                    f"draws.source {self.source}: {lack['why']}; add it, leave the run out of the matrix, or set "
                    "aggregate: available"
                )
        self.runs = [run for run in study.runs() if not lacking.get(run)]
        self.missing = [{**asdict(run), **lack} for run, lack in lacking.items() if lack]
        if not self.runs:
            raise UserError(
                f"aggregate: available: none of the {len(self.missing)} runs of the matrix is complete; nothing to "
                "report: run some first (aggregate: all)"
            )

    @property
    def source(self) -> str | None:
        """Returns the folder that draws are taken from; None: they are made."""
        return self._study.config.get("draws", {}).get("source")

    @property
    def trained(self) -> list[Run]:
        """Returns those that have metrics of their training."""
        return [run for run in self.runs if self.files(run).metrics]

    def there(self, cells: Iterable[_Cell], file: Callable[[_Cell], str]) -> list[_Cell]:
        """Return what is shown of measurements that have jobs of their own (pre-flights, diagnoses, controls).

        Args:
            cells: what the matrix asks for.
            file: where what was measured lies; with `aggregate: available` it must be there already.
        """
        if self.source:
            return []
        placed = self._study.placed
        return [each for each in cells if not self._available or os.path.isfile(placed(file(each)))]

    @functools.cached_property
    def files(self):
        """Run -> Files."""
        return functools.cache(self._files)

    def cells(self, runs: list[Run]) -> list[dict[str, Any]]:
        """Return runs with their files, where these lie, as JSON."""
        return [{**asdict(run), "files": asdict(self._placed(self.files(run)))} for run in runs]

    def data(self) -> list[dict[str, Any]]:
        """What is known of each file of data that they are trained or evaluated on, each once: dataset, split, path,
        grader, recipe. Several tasks and models may share one.
        """
        if self.source:
            return []
        study, found = self._study, {}
        for run in self.trained:
            found.setdefault((study.dataset(run.task, "train", run.model), "train"), (run.task, run.model))
        for run in self.runs:
            for task in (run.task, *study.also(run.task)):
                found.setdefault((study.dataset(task, "val"), "val"), (task, None))
        return [
            {
                "dataset": dataset,
                "split": split,
                "path": study.data_file(task, split, model),
                "grader": study.config["tasks"][task]["grader"],
                "recipe": study.split(task, split, model),
            }
            for (dataset, split), (task, model) in found.items()
        ]

    def data_pairs(self) -> list[list[str]]:
        """Dataset that a run is trained on, and the one that it is evaluated on, each pair once."""
        study = self._study
        pairs = [
            (study.dataset(run.task, "train", run.model), study.dataset(task, "val"))
            for run in self.trained
            for task in (run.task, *study.also(run.task))
        ]
        return [list(pair) for pair in dict.fromkeys(pairs)]

    def _files(self, run: Run) -> Files:
        benchmarks = self._study.benchmarks(run.task)
        if self.source:
            folder = Path(self._study.given(self.source), *run.draws_folder.split("/")[2:])
            found = {name: str(folder / file) for name, file in {**RUN_FILES, "account": ACCOUNT}.items()}
            beside = {name: file for name, file in found.items() if os.path.isfile(file)}
            return Files({name: str(folder / f"{name}.parquet") for name in benchmarks}, **beside)
        trained = {} if run.variant == BASE else {name: f"{run.folder}/{file}" for name, file in RUN_FILES.items()}
        draws = {name: f"{run.draws_folder}/{name}.parquet" for name in benchmarks}
        return Files(draws, **trained, account=f"{run.draws_folder}/{ACCOUNT}")

    def _placed(self, files: Files) -> Files:
        """Returns the files where they lie: Snakemake moves what rules declare under a module's `prefix`."""
        placed = self._study.placed
        others = {name: placed(file) for name, file in vars(files).items() if name != "draws" and file}
        return Files({name: placed(file) for name, file in files.draws.items()}, **others)

    def _lacks(self, run: Run) -> dict[str, str] | None:
        """Status and reason of a run that is not complete."""
        files = self._placed(self.files(run))
        if self.source:
            absent = [file for file in files.draws.values() if not os.path.isfile(file)]
            why = f"{absent[0]} is not there" if absent else _misplaced(run, files)
            return {"status": NOT_RUN, "why": why} if why else None
        for stage, wanted in self._stages(run, files):
            if not all(map(os.path.isfile, wanted)):
                return _told_by(self._study.placed(run_log(stage, run.task, run.model, run.variant, run.seed)))
        cell = (run.task, run.model, run.variant, run.seed)
        if files.provenance and _fact(files.provenance, "config_hash") != config_hash(self._study.resolve(*cell)):
            return {"status": NOT_RUN, "why": f"{run.folder} is of other settings"}
        if _fact(files.account, "state") != self._study.evaluation_hash(*cell):
            return {"status": NOT_RUN, "why": f"{run.draws_folder} is of other settings"}
        return None

    def _stages(self, run: Run, files: Files) -> Iterator[tuple[str, list[Any]]]:
        if run.variant != BASE:
            yield "train", [getattr(files, name) for name in RUN_FILES]
        yield "evaluate", [*files.draws.values(), files.account]


class ReportedSearches:
    """The searches at test time that a report shows: all, or with `aggregate: available` those that are complete.

    A seed of a search is complete when all of its jobs are, with their present settings, and so are the questions of
    its task and model, and the untrained model's draws. `cells` are the jobs, `missing` the others, as of `Reported`.
    """

    def __init__(self, study: Study, *, made_here: bool = True):
        """study: a checked configuration; made_here: False for draws from elsewhere, beside which no search is."""
        self._study, discoveries = study, study.discoveries
        asked = discoveries.cells() if made_here else []
        lacking: dict[tuple[str, str, str, int], dict[str, str]] = {}
        if study.config.get("aggregate", "all") == "available":
            for job in asked:
                if lack := self._lacks(job):
                    lacking.setdefault((job.task, job.model, job.search, job.seed), lack)
        self.cells = [job for job in asked if (job.task, job.model, job.search, job.seed) not in lacking]
        self.models = list(dict.fromkeys((job.task, job.model) for job in self.cells))
        self.missing = [
            {"task": task, "model": model, "variant": f"search {search}", "seed": seed, "method": search, **lack}
            for (task, model, search, seed), lack in lacking.items()
        ]

    def _lacks(self, job: Searched) -> dict[str, str] | None:
        discoveries, logs = self._study.discoveries, f"results/logs/discovery/{job.task}/{job.model}"
        draws = discoveries.base_draws(job.task, job.model)
        of_base = discoveries.of_base(job.task, job.model)
        stages: list[tuple[str, str, dict[str, Any] | None, int]] = [
            (f"base/part{part}", file, of_base, part) for part, file in enumerate(draws)
        ]
        stages.append(("questions", QUESTIONS_FILE.format(task=job.task, model=job.model), None, 0))
        settings = discoveries.of(job.task, job.model, job.search, job.seed)
        stages.append((f"{job.search}/seed{job.seed}/part{job.part}", job.file, settings, job.part))
        for name, file, settings, part in stages:
            if not os.path.isfile(self._study.placed(file)):
                return _told_by(self._study.placed(f"{logs}/{name}.log"))
            if settings is None:
                continue
            state = self._study.placed(state_of(discoveries.state(settings, part)))
            if not os.path.isfile(os.path.join(state, PUBLISHED_FILE)):
                return {"status": NOT_RUN, "why": f"{file} is of other settings, or {state} was removed"}
        return None


def _misplaced(run: Run, files: Files) -> str | None:
    """Returns what shows that files at a run's path are another run's; None: nothing does.

    A file that cannot be read says nothing here: it is refused where it is used.
    """
    expected = {key: getattr(run, key) for key in ("task", "model", "variant", "seed")}
    provenance, account, config = (_mapping(file) for file in (files.provenance, files.account, files.config))
    told = {files.provenance: provenance.get("run"), files.account: account.get("run"), files.config: config}
    for file, found in told.items():
        for key, value in expected.items() if isinstance(found, dict) else ():
            if key in found and found[key] != value:
                told_as = shortened(visible(repr(found[key])), _LONGEST_REASON)
                return f"{file} is of another run: its {key} is {told_as}, its path says {value!r}"
    if config and None not in (known := (provenance.get("config_hash"), _hash(config))) and known[0] != known[1]:
        return f"{files.provenance} is not of {files.config}: its config_hash is that of other settings"
    return None


def _mapping(file: str | None) -> dict[str, Any]:
    """Returns what a file of JSON or YAML says; nothing, where there is none or none that can be read as a mapping."""
    try:
        text = Path(file).read_text(encoding="utf-8") if file else "{}"
        where = file or ""
        found = parsed(text, where, "") if text.startswith("{") else mapping_of(text, where)
    except (OSError, UnicodeDecodeError, UserError):
        return {}
    return found if isinstance(found, dict) else {}


def _hash(config: dict[str, Any]) -> str | None:
    """The hash of a config from elsewhere; None where it has something that no config of ours has, such as a date."""
    try:
        return config_hash(config)
    except (TypeError, ValueError):
        return None


def _fact(file: str | None, name: str) -> str:
    """Returns what a JSON file of a run says of its settings."""
    assert file is not None  # of a run whose files are asked for, there is one
    facts = read_object(file)
    if name not in facts:
        raise UserError(f"{file}: has no {name!r}; make this run again")
    return facts[name]


def _told_by(log: str) -> dict[str, str]:
    """Returns what a job's log says of a job that left no results."""
    try:
        lines = Path(log).read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return {"status": NOT_RUN, "why": ""}
    last = one_line(next((line.strip() for line in reversed(lines) if line.strip()), ""))
    said = shortened(without_secrets(last.removeprefix(FAILED_LINE)), _LONGEST_REASON)
    if last.startswith(FAILED_LINE):
        return {"status": FAILED, "why": said}
    return {"status": NOT_FINISHED, "why": f"{log} ends with: {said}" if last else ""}
