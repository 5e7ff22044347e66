"""Fetches files of the hub (huggingface.co, or HF_ENDPOINT), held to config/hub.lock.yaml.

A folder of the user's that mirrors the hub (SELFDISTILL_HUB_MIRROR: <folder>/<owner>/<name>/<path in the repository>)
comes first, then the hub's own cache (HF_HOME), then the network. Size and hash are checked whatever way a file came.
A token is taken from the environment, and with HF_HUB_OFFLINE=1 only what mirror and cache hold is used, as the hub's
client does everywhere. A cut transfer goes on where it ended while the job lives; whole files stay in the cache.
"""

import contextlib
import errno
import fnmatch
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from selfdistill.errors import UserError
from selfdistill.hub.lock import (
    DATASETS,
    MODELS,
    Lock,
    check_locked,
    entry_name,
    fault,
    hub_of,
    looks_like_html,
    merged,
    missing_files,
)
from selfdistill.texts import without_secrets

# Plain HTTP, which can be resumed, watched and mirrored; set it to 0 for the hub's own protocol.
os.environ.setdefault("HF_HUB_DISABLE_XET", "1")

#: What a model is made of, beside code: weights, configuration, chat template, tokenizer.
MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "tokenizer*", "*.txt", "*.model")
MIRROR = "SELFDISTILL_HUB_MIRROR"
#: Seconds before each further try of what may pass: 429, 5xx, cut or stalled connections.
WAITS: tuple[float, ...] = (1, 2, 5, 10, 20, 40)
#: A server that ignores ranges and cuts every transfer would be asked for ever.
_MOST_TRANSFERRED = 4
_LEAST_CAP = 1 << 20
_PROGRESS_SECONDS = 10
#: Of an unfinished file in the cache: older ones are left from a process that was killed, and no client resumes them.
_STALE_SECONDS = 3600
_TRANSIENT = (408, 429, 500, 502, 503, 504)
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
_Result = TypeVar("_Result")
Report = Callable[[str], None]


class _WebPageError(Exception):
    """A web page where a file was expected."""


def fetch_data(recipe: Mapping[str, Any], report: Report) -> Path:
    """Return a file of a dataset repository, in mirror or cache, as the lock has it.

    Args:
        recipe: hub (id, revision, commit), file (its path there), size, sha256 or git_sha1: see `hub_lock.locked_file`.
        report: takes one line of progress.

    Raises:
        UserError: where the lock has no such file, and where it cannot be had, or not as the lock has it.
    """
    check_locked(recipe["hub"], recipe["file"])
    return _fetched(recipe["hub"], "dataset", recipe["file"], recipe, report)


def fetch_model(settings: Mapping[str, Any], report: Report) -> dict[str, Path]:
    """Return a model's files in mirror or cache by their names: those of the lock, which never has any code.

    Args:
        settings: hub (id, revision, commit) and files (name -> size, sha256 or git_sha1): see `hub_lock.locked_model`.
        report: takes one line of progress.

    Raises:
        UserError: where the lock has no such model, and where it cannot be had, or not as the lock has it.
    """
    check_locked(settings["hub"], "the model")
    return {
        name: _fetched(settings["hub"], "model", name, expected, report) for name, expected in settings["files"].items()
    }


def resolve(needed: Mapping[str, Mapping[str, list[str]]], lock: Lock, report: Report) -> dict[str, dict[str, Any]]:
    """Return a lock with all that is needed: entries that are there are kept, what is missing is asked for at the hub.

    Files that an entry lacks are taken at the entry's commit.

    Args:
        needed: "datasets" and "models", each name of an entry -> its files; of a model all of MODEL_FILES are taken.
        lock: what is there.
        report: takes one line of progress.

    Raises:
        UserError: for a repository, revision or file that cannot be had.
    """
    lock = {kind: dict(lock[kind]) for kind in (DATASETS, MODELS)}
    for kind in (DATASETS, MODELS):
        for name, files in needed[kind].items():
            known = lock[kind].get(name)
            wanted = missing_files(lock, kind, name, files)
            if known and not wanted:
                report(f"{name}: kept, commit {known['commit']}, {len(known['files'])} files")
                continue
            commit, found = _ask(kind, name, wanted, known["commit"] if known else None, report)
            lock = merged(lock, kind, name, commit, found)
            size = sum(of["size"] for of in found.values())
            report(f"{name}: commit {commit}, {len(found)} files locked, {size / 1e9:.2f} GB")
    return lock


def _ask(
    kind: str, name: str, files: list[str], commit: str | None, report: Report
) -> tuple[str, dict[str, dict[str, Any]]]:
    """Commit of a repository, and size and hash of some of its files, or of MODEL_FILES at its top."""
    from huggingface_hub import HfApi, RepoFile

    hub, repo_type, api = hub_of(name), kind.removesuffix("s"), HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    what = f"{name} ({repo_type})"
    if commit is None:
        commit = _patiently(
            what, report, lambda: api.repo_info(hub["id"], revision=hub["revision"], repo_type=repo_type).sha
        )
    at = {"revision": commit, "repo_type": repo_type}
    if kind == DATASETS:
        listed = _patiently(what, report, lambda: api.get_paths_info(hub["id"], files, **at))
    else:
        listed = _patiently(what, report, lambda: list(api.list_repo_tree(hub["id"], **at)))
    there = {entry.path: entry for entry in listed if isinstance(entry, RepoFile)}
    if kind == MODELS:
        files = [path for path in there if any(fnmatch.fnmatchcase(path, pattern) for pattern in MODEL_FILES)]
    if absent := [file for file in files if file not in there]:
        raise UserError(
            f"{what}: no {', '.join(absent)} at commit {commit}; check the names of dataset and benchmarks, or the "
            "revision"
        )
    if not files:
        raise UserError(f"{what}: no weights, configuration or tokenizer at commit {commit}; check id and revision")
    return commit, {file: _recorded(there[file]) for file in sorted(files)}


def _recorded(entry: Any) -> dict[str, Any]:
    if entry.lfs is not None:
        return {"size": entry.lfs.size, "sha256": entry.lfs.sha256}
    return {"size": entry.size, "git_sha1": entry.blob_id}


def _fetched(hub: Mapping[str, str], repo_type: str, file: str, expected: Mapping[str, Any], report: Report) -> Path:
    what = f"{file} of {entry_name(hub)} (commit {hub['commit'][:10]})"
    if (mirror := os.environ.get(MIRROR)) and (mirrored := Path(mirror) / hub["id"] / file).is_file():
        if wrong := fault(mirrored, expected):
            raise UserError(
                f"{mirrored}: {_described(mirrored, wrong)}; replace it, or take it out of the mirror ({MIRROR})"
            )
        report(f"{what}: from the mirror, as locked")
        return mirrored
    for last in (False, True):  # a bad file of the cache is fetched anew, once
        path = _downloaded(hub, repo_type, file, what, expected["size"], report)
        wrong = fault(path, expected)
        if wrong is None:
            report(f"{what}: {expected['size'] / 1e6:.1f} MB, as locked")
            return path
        wrong = f"{what}: not what was locked ({_described(path, wrong)}), removed from the cache ({path})"
        _remove(path)
        if last or _offline():
            break
        report(f"{wrong}; once more")
    raise UserError(f"{wrong}; try again, and if it stays so ask whether HF_ENDPOINT serves the hub's files unchanged")


def _downloaded(hub: Mapping[str, str], repo_type: str, file: str, what: str, size: int, report: Report) -> Path:
    from huggingface_hub import hf_hub_download

    _remove_stale(hub, repo_type)
    options = {
        "repo_type": repo_type,
        "revision": hub["commit"],
        "endpoint": os.environ.get("HF_ENDPOINT"),
        "tqdm_class": _progress_class(what, size, report),
    }
    return Path(_patiently(what, report, lambda: hf_hub_download(hub["id"], file, **options)))


def _patiently(what: str, report: Report, call: Callable[[], _Result]) -> _Result:
    """Returns what a call of the hub's client gives; tried again, with WAITS between, after what may pass by itself.

    Raises UserError with the cause.
    """
    from httpx import HTTPError
    from huggingface_hub.errors import HfHubHTTPError

    waits = iter(WAITS)
    while True:
        _refuse_web_pages()  # at each try: after errors the client makes itself anew
        try:
            return call()
        except (HTTPError, HfHubHTTPError, OSError, ValueError, _WebPageError) as error:
            causes = list(_causes(error))
            wait = next(waits, None) if any(map(_passes, causes)) else None
            if wait is None:
                raise UserError(f"{what} cannot be had from the hub: {_cause(causes)}") from None
            report(f"{what}: {_first_line(causes[-1])}; again in {wait:g} s")
            time.sleep(wait)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it came from, the client's own before those of the connection."""
    while error is not None:
        yield error
        error = error.__cause__


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _passes(error: BaseException) -> bool:
    from httpx import TransportError, UnsupportedProtocol

    transport = isinstance(error, TransportError) and not isinstance(error, UnsupportedProtocol)
    return transport or _status(error) in _TRANSIENT


def _cause(causes: list[BaseException]) -> str:
    """Returns what went wrong, and what to do."""
    from huggingface_hub import errors

    def is_a(kind: type[BaseException]) -> bool:
        return any(isinstance(error, kind) for error in causes)

    status = next((code for error in causes if (code := _status(error)) is not None), None)
    if is_a(errors.GatedRepoError):
        return "it is gated; accept its terms on its page, and give a token of that account as HF_TOKEN"
    if is_a(errors.RevisionNotFoundError):
        return "no such revision (404); check `revision`, and the commit in config/hub.lock.yaml"
    if is_a(errors.EntryNotFoundError) and status == 404:
        return "no such file (404); check the names of dataset and benchmarks, or lock again"
    if is_a(errors.RepositoryNotFoundError) or status in (401, 403, 404):
        return f"no such repository, or no right to read it ({status}); check its id, and HF_TOKEN if it is private"
    if is_a(_WebPageError):
        return f"{_first_line(causes[-1])}; check HF_ENDPOINT, and whether a proxy or login page stands in between"
    if _offline():
        return f"it is neither in the mirror nor in the cache, and HF_HUB_OFFLINE is set; unset it, or fill {MIRROR}"
    if any(isinstance(error, OSError) and error.errno in _UNWRITABLE for error in causes):
        return f"{_first_line(causes[-1])}; make room in the cache, or set HF_HOME to a folder elsewhere"
    return f"{_first_line(causes[-1])}; check the connection and HF_ENDPOINT, then run again"


def _first_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind; without passwords and tokens."""
    return without_secrets(str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__)


def _offline() -> bool:
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def _described(path: Path, wrong: str) -> str:
    return f"a web page, {wrong}" if looks_like_html(path) else wrong


def _remove(path: Path) -> None:
    """Take a file out of the cache, and with it what its link leads to."""
    blob = path.resolve()
    path.unlink(missing_ok=True)
    blob.unlink(missing_ok=True)


def _remove_stale(hub: Mapping[str, str], repo_type: str) -> None:
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"{repo_type}s--{hub['id'].replace('/', '--')}" / "blobs"
    for path in folder.glob("*.incomplete"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                path.unlink()


def _refuse_web_pages() -> None:
    """Have the hub's client stop at a web page: none of the files that are asked for here is one."""
    from huggingface_hub.utils import get_session

    client = get_session()
    hooks = client.event_hooks
    if _refuse_web_page not in hooks["response"]:
        client.event_hooks = {**hooks, "response": [*hooks["response"], _refuse_web_page]}


def _refuse_web_page(response: Any) -> None:
    if response.status_code == 200 and response.headers.get("Content-Type", "").startswith("text/html"):
        raise _WebPageError("a web page (HTML) came in place of the file")


def _progress_class(what: str, size: int, report: Report) -> type:
    """A stand-in for tqdm's bar: a line in the log every _PROGRESS_SECONDS, and an end to transfers without end."""

    class Progress:
        def __init__(self, *_, total: int | None = None, initial: int = 0, **__) -> None:
            self.done, self.transferred, self.total = initial, 0, total or size
            self.said = time.monotonic()

        def __enter__(self) -> "Progress":
            return self

        def __exit__(self, *_) -> None:
            return None

        def update(self, count: float | None = 1) -> None:
            self.done += int(count or 0)
            self.transferred += max(0, int(count or 0))
            if self.transferred > _MOST_TRANSFERRED * max(self.total, _LEAST_CAP):
                raise OSError(f"{self.transferred} bytes came for a file of {self.total}: every transfer is cut")
            if time.monotonic() - self.said >= _PROGRESS_SECONDS:
                self.said = time.monotonic()
                report(f"{what}: {self.done / 1e6:.0f} of {self.total / 1e6:.0f} MB, {self.done / self.total:.0%}")

        def close(self) -> None:
            return None

    return Progress
