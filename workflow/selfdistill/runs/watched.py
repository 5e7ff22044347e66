"""Reads from a state how its run is doing, from any machine, while others write in it."""

import errno
import fcntl
import functools
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from selfdistill.files import sha256_file
from selfdistill.runs.metrics import SKIPPED
from selfdistill.runs.run_file import EVALUATION, PROGRESS_FILE, RUN_FILE, SEARCH, TRAINING
from selfdistill.runs.tails import failure, last_lines
from selfdistill.study.discovery import ATTEMPTS_FILE, BASE_DRAWS_FILE
from selfdistill.study.matrix import BASE
from selfdistill.study.paths import ACCOUNT, DRAWS_FOLDER, PUBLISHED_FILE, RUN_FILES, RUN_FOLDER
from selfdistill.texts import one_line, shortened

#: What a state can be in, in the order of a table. stopped: begun, and no process is at work in it.
AT_WORK, FAILED, STOPPED, WAITING, FINISHED, PUBLISHED = (
    "at work",
    "failed",
    "stopped",
    "waiting",
    "finished",
    "published",
)
STATES = (AT_WORK, FAILED, STOPPED, WAITING, FINISHED, PUBLISHED)
#: Of metrics.jsonl so much is read: some dozens of steps.
_TAIL_BYTES = 1 << 16
#: Steps that a rate is the mean of.
_RECENT = 10
_SIGNS_OF_LIFE = ("log.txt", RUN_FILES["metrics"], PROGRESS_FILE, "clock.json", RUN_FILE)
_LONGEST_NAME = 200
_KEYS = ("task", "model", "variant", "seed")
_AT_WORK_IN = {TRAINING: "training", EVALUATION: "evaluating", SEARCH: "searching"}
_KINDS = tuple(_AT_WORK_IN)


@dataclass(frozen=True)
class Watched:
    """One state.

    Attributes:
        name: task/model/variant/seed, of a search task/model/search/seed and its part where there are several; the
            state's own name where nothing says whose it is.
        kind: TRAINING, EVALUATION, SEARCH or nothing, where it is not known yet.
        state: one of STATES.
        done, total: steps of a training run, draws of an evaluation, questions of a search; None: not known.
        reward, length, entropy: of the last step.
        validation: mean of its benchmarks, the last one that the end of the log has.
        skipped: updates that the last steps skipped.
        rate: seconds a step, validation included.
        attempts, passed, hold: of a search: attempts so far, questions with a pass, and those whose first pass holds.
        speed: attempts a second, of the process that made the last ones.
        left: seconds; of a search the most that there may be.
        host: where it is, or was last, at work; with the number of a Slurm job.
        seen: seconds since its last sign of life.
        why: the reason of a failure.
    """

    name: str
    kind: str = ""
    state: str = WAITING
    done: int | None = None
    total: int | None = None
    reward: float | None = None
    length: float | None = None
    entropy: float | None = None
    validation: float | None = None
    skipped: int | None = None
    rate: float | None = None
    attempts: int | None = None
    passed: int | None = None
    hold: int | None = None
    speed: float | None = None
    left: float | None = None
    host: str = ""
    seen: float | None = None
    why: str = ""

    @property
    def word(self) -> str:
        """Returns its state as a reader calls it."""
        return _AT_WORK_IN.get(self.kind, "training") if self.state == AT_WORK else self.state


class States:
    """All states of a folder of results, looked at again and again; what is published is read once."""

    def __init__(self, results: Path):
        self._results = Path(results)
        self._settled: dict[Path, tuple[Any, Watched, Path | None]] = {}

    def look(self) -> list[Watched]:
        """Return all of them: those at work first, published ones last."""
        self._logs: dict[tuple[int, int], Mapping[str, str]] | None = None
        found = [seen for folder in self._folders() if (seen := self._one(folder)) is not None]
        order = {kind: place for place, kind in enumerate(_KINDS)}
        return sorted(found, key=lambda each: (order.get(each.kind, 0), STATES.index(each.state), each.name))

    def _folders(self) -> Iterator[Path]:
        try:
            with os.scandir(self._results / "state") as entries:
                names = [each.path for each in entries if each.is_dir() and not each.name.startswith(".")]
        except OSError:  # nothing has run yet
            return
        yield from map(Path, names)

    def _one(self, folder: Path) -> Watched | None:
        """A state; None where a folder vanished or is none of ours."""
        files = {entry.name: entry for entry in _scan(folder)}
        if not files.keys() & {*_SIGNS_OF_LIFE, "lock", "final"}:
            return None
        last = max((_changed(files[name]) for name in _SIGNS_OF_LIFE if name in files), default=None)
        seen = None if last is None else max(0.0, time.time() - last)  # clocks of two machines may differ
        if "final" in files:
            return replace(self._finished(folder), seen=seen)
        facts = _mapping(folder / RUN_FILE) or self._of_log(folder / "log.txt")
        if facts.get("kind") == SEARCH:
            return self._search(folder, facts, seen)
        kind = EVALUATION if facts.get("kind") == EVALUATION or PROGRESS_FILE in files else TRAINING
        about = Watched(_name(facts) or folder.name[:8], kind, host=_host(facts), seen=seen)
        about = _evaluation(folder, facts, about) if kind == EVALUATION else _training(folder, facts, about)
        return _unfinished(folder, about)

    def _search(self, folder: Path, facts: Mapping[str, Any], seen: float | None) -> Watched:
        """A search, finished or not. It is published where its file is the one that it wrote."""
        part = facts.get("part")
        name = _name(facts) and _name(facts) + ("" if part is None else one_line(f", part {part}"))
        about = _searched(folder, facts, Watched(name or folder.name[:8], SEARCH, host=_host(facts), seen=seen))
        wrote = _mapping(folder / PUBLISHED_FILE).get("sha256")
        if wrote is None or _is_held(folder):
            return _unfinished(folder, about)
        pattern = BASE_DRAWS_FILE if facts.get("variant") == BASE else ATTEMPTS_FILE
        about = replace(about, state=FINISHED, left=None)
        if not _name(facts):
            return about
        of = {"search": facts["variant"], "part": part or 0, **facts}
        place = self._results / pattern.removeprefix("results/").format(**of)
        return replace(about, state=PUBLISHED) if _digest(place, _stamp(place)) == wrote else about

    def _finished(self, folder: Path) -> Watched:
        """A state with results. It is published where the files of its path are these very results."""
        final = folder / "final"
        evaluation = (final / ACCOUNT).exists()
        source = final / (ACCOUNT if evaluation else RUN_FILES["config"])
        stamp = _stamp(source)
        known = self._settled.get(folder)
        if known is None or known[0] != stamp:
            about = _mapping(source)
            run = about.get("run") if evaluation else about
            run = run if isinstance(run, dict) else {}
            facts = _mapping(folder / RUN_FILE)
            base = Watched(_name(run) or folder.name[:8], EVALUATION if evaluation else TRAINING, host=_host(facts))
            if evaluation:
                found = _evaluation(folder, facts, base)
                found = replace(found, done=found.total)
            else:
                found = _training(folder, {"steps": run.get("steps")}, base)
            pattern = (DRAWS_FOLDER if evaluation else RUN_FOLDER).removeprefix("results/")
            place = pattern.format(**{key: run[key] for key in _KEYS}) if _name(run) else None
            known = stamp, replace(found, left=None), place and self._results / place / source.name
            self._settled[folder] = known
        _, found, place = known
        published = place is not None and stamp is not None and _same(source, stamp, place, _stamp(place))
        return replace(found, state=PUBLISHED if published else FINISHED)

    def _of_log(self, log: Path) -> Mapping[str, str]:
        """Whose a state is that does not say it (yet), by its log, which has two names (scripts/job.py)."""
        if self._logs is None:
            self._logs = {}
            for stage, kind in (("train", TRAINING), ("evaluate", EVALUATION)):
                for file in (self._results / "logs" / stage).glob("*/*/*/seed*.log"):
                    if (found := _file_number(file)) is not None:
                        task, model, variant = file.parts[-4:-1]
                        seed = file.stem.removeprefix("seed")
                        self._logs[found] = dict(zip(_KEYS, (task, model, variant, seed), strict=True), kind=kind)
        found = _file_number(log)
        return {} if found is None else self._logs.get(found, {})


def _unfinished(folder: Path, about: Watched) -> Watched:
    if _is_held(folder):
        return replace(about, state=AT_WORK)
    why = failure(folder / "log.txt")
    if why is not None:
        return replace(about, state=FAILED, why=why, left=None)
    return replace(about, state=STOPPED if about.done is not None else WAITING, left=None)


_METRICS = RUN_FILES["metrics"]


def _training(folder: Path, facts: Mapping[str, Any], about: Watched) -> Watched:
    steps = _last_steps(folder / _METRICS, _stamp(folder / _METRICS))
    total = facts.get("steps")
    total = total if isinstance(total, int) else None
    if not steps:
        return replace(about, total=total)
    last, recent = steps[-1], [step for step in steps[-_RECENT:] if "timing_s/step" in step]
    timed = [_number(step, "timing_s/step") or 0.0 for step in recent]
    extra = [_number(step, "timing_s/validation") or 0.0 for step in recent]
    rate = (sum(timed) + sum(extra)) / len(recent) if recent else None
    validated = next((found for step in reversed(steps) if (found := _validation(step)) is not None), None)
    return replace(
        about,
        done=last["step"],
        total=total,
        reward=_number(last, "reward/mean"),
        length=_number(last, "response/length_mean"),
        entropy=_number(last, "actor/entropy"),
        validation=validated,
        skipped=int(sum(_number(step, SKIPPED) or 0 for step in steps[-_RECENT:])),
        rate=rate,
        left=None if rate is None or total is None else rate * max(0, total - last["step"]),
    )


def _evaluation(folder: Path, facts: Mapping[str, Any], about: Watched) -> Watched:
    """Draws are counted by whole benchmarks, as they are written."""
    planned = facts.get("draws")
    planned = {k: v for k, v in planned.items() if isinstance(v, int)} if isinstance(planned, dict) else {}
    drawn = {Path(entry.name).stem for entry in _scan(folder / "draws") if entry.name.endswith(".parquet")}
    done, total = sum(planned[name] for name in drawn & planned.keys()), sum(planned.values()) or None
    seconds = _number(_mapping(folder / PROGRESS_FILE), "seconds")
    left = seconds / done * (total - done) if seconds and done and total else None
    return replace(about, done=done if total else None, total=total, left=left)


@functools.lru_cache(maxsize=1024)
def _last_steps(metrics: Path, _changed: tuple[int, int] | None) -> list[dict[str, Any]]:
    """The steps at the end of a metrics file, read once for each time of change that it has."""
    return [step for line in last_lines(metrics, _TAIL_BYTES) if (step := _step(line)) is not None]


def _step(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("step"), int) else None


def _number(facts: Mapping[str, Any], name: str) -> float | None:
    """A finite number; null stands for what is none."""
    found = facts.get(name)
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    return float(found) if abs(found) < 1e300 and math.isfinite(found) else None


def _searched(folder: Path, facts: Mapping[str, Any], about: Watched) -> Watched:
    """Returns how far a search is, by the numbers that it notes (training.discovery.search)."""
    found = _mapping(folder / PROGRESS_FILE)
    number = {key: _number(found, key) for key in ("attempts", "questions", "passed", "hold", "made", "seconds")}
    total, budget = facts.get("questions"), facts.get("budget")
    total = total if isinstance(total, int) else None
    counted = {
        key: None if (n := number[key]) is None else int(n) for key in ("attempts", "questions", "passed", "hold")
    }
    about = replace(about, done=counted.pop("questions"), total=total, **counted)
    if not number["made"] or not number["seconds"]:
        return about
    about = replace(about, speed=number["made"] / number["seconds"])
    if total is None or not isinstance(budget, int) or about.done is None or about.attempts is None:
        return about
    return replace(about, left=max(0, total * budget - about.attempts) / about.speed)


def _validation(step: Mapping[str, Any]) -> float | None:
    values = [value for name in step if name.startswith("val/") and (value := _number(step, name)) is not None]
    return sum(values) / len(values) if values else None


def _name(run: Mapping[str, Any]) -> str:
    if any(run.get(key) is None for key in _KEYS):
        return ""
    return shortened(one_line("/".join(str(run[key]) for key in _KEYS)), _LONGEST_NAME)


def _host(facts: Mapping[str, Any]) -> str:
    job = facts.get("slurm_job")
    return shortened(one_line(f"{facts.get('host') or ''}{f' ({job})' if job else ''}"), _LONGEST_NAME)


def _mapping(file: Path) -> dict[str, Any]:
    """Returns what a small JSON or YAML file says; nothing where it vanished, or is none."""
    try:
        text = file.read_text(encoding="utf-8")
        found = json.loads(text) if file.suffix == ".json" else yaml.load(text, Loader=_YAML)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _scan(folder: Path) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _changed(entry: os.DirEntry) -> float:
    try:
        return entry.stat().st_mtime
    except OSError:
        return 0.0


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _file_number(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@functools.lru_cache(maxsize=8192)
def _digest(file: Path, stamp: tuple[int, int] | None) -> str | None:
    """Hash of a file, read once for each time of change that it has."""
    try:
        return None if stamp is None else sha256_file(file)
    except OSError:
        return None


@functools.lru_cache(maxsize=8192)
def _same(one: Path, stamp: tuple[int, int], other: Path, other_stamp: tuple[int, int] | None) -> bool:
    """Returns whether two files are alike, read once for each time of change that they have."""
    try:
        return other_stamp is not None and stamp[1] == other_stamp[1] and one.read_bytes() == other.read_bytes()
    except OSError:
        return False


def _is_held(folder: Path) -> bool:
    """Finds out whether a process holds a state now, with a handle that only reads, so without the right to write.

    A job that takes the lock in this very moment asks again a second later (`folder_lock`).
    """
    try:
        handle = os.open(folder / "lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EACCES)
    finally:
        os.close(handle)
    return False
