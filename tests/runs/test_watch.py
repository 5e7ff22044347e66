"""The table of all runs: every kind of state, files that are torn, foreign or gone, and what it may not do."""

import hashlib
import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from waiting import SECONDS

from selfdistill.runs.folder_lock import folder_lock
from selfdistill.runs.run_file import EVALUATION, SEARCH, TRAINING, write_attempt
from selfdistill.runs.watch import main, view
from selfdistill.runs.watched import States, Watched

STEP = {
    "reward/mean": 0.5,
    "response/length_mean": 20.5,
    "actor/entropy": 0.125,
    "actor/skipped_updates": 1,
    "timing_s/step": 3.0,
}


def cell(variant: str) -> dict:
    return {"task": "arithmetic", "model": "tiny", "variant": variant, "seed": 0}


def begun(results: Path, name: str, variant: str, **amount) -> Path:
    folder = results / "state" / name
    folder.mkdir(parents=True)
    (folder / "lock").touch()
    write_attempt(folder, cell(variant), EVALUATION if "draws" in amount else TRAINING, **amount)
    return folder


def logged(folder: Path, steps: int, tail: str = "") -> None:
    lines = [{"step": 0, "val/a/mean@1": 0.2, "val/b/mean@1": 0.4}, *({"step": i, **STEP} for i in range(1, steps + 1))]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + tail)


def finished(results: Path, name: str, variant: str) -> Path:
    folder = results / "state" / name
    (folder / "final").mkdir(parents=True)
    (folder / "final" / "config.yaml").write_text(yaml.safe_dump(cell(variant) | {"steps": 4}))
    logged(folder, 4)
    return folder


def look(results: Path) -> dict[str, Watched]:
    return {each.name.removeprefix("arithmetic/tiny/").removesuffix("/0"): each for each in States(results).look()}


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A state of every kind; the lock of the first is held."""
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    logged(begun(tmp_path, "0a", "training", steps=10), 4, tail='{"step": 5, "rew')
    logged(begun(tmp_path, "0b", "stopped", steps=10), 4)
    begun(tmp_path, "0c", "waiting", steps=10)
    failed = begun(tmp_path, "0d", "failed", steps=10)
    (failed / "log.txt").write_text("step 1/10\nfailed: data.parquet, row 3: no prompt\n")
    finished(tmp_path, "0e", "finished")
    published = finished(tmp_path, "0f", "published")
    place = tmp_path / "runs/arithmetic/tiny/published/seed0"
    place.mkdir(parents=True)
    (place / "config.yaml").write_bytes((published / "final" / "config.yaml").read_bytes())
    evaluation = begun(tmp_path, "1a", "drawing", draws={"a": 30, "b": 10})
    (evaluation / "draws").mkdir()
    (evaluation / "draws" / "a.parquet").touch()
    (evaluation / "progress.json").write_text('{"seconds": 60.0}')
    with folder_lock(tmp_path / "state" / "0a", print, "training this run"):
        yield tmp_path


def test_every_state_says_how_its_run_stands(results):
    found = look(results)
    assert {name: each.state for name, each in found.items()} == {
        "training": "at work",
        "failed": "failed",
        "stopped": "stopped",
        "waiting": "waiting",
        "finished": "finished",
        "published": "published",
        "drawing": "stopped",
    }
    run = found["training"]
    assert (run.done, run.total, run.reward, run.length, run.entropy) == (4, 10, 0.5, 20.5, 0.125)
    assert run.validation == pytest.approx(0.3)
    assert (run.skipped, run.rate, run.left) == (4, 3.0, 18.0)
    assert run.host == f"{os.uname().nodename} (77)"
    assert 0 <= run.seen < SECONDS
    assert found["failed"].why == "data.parquet, row 3: no prompt"
    assert (found["drawing"].done, found["drawing"].total) == (30, 40)


def test_an_evaluation_at_work_says_what_is_left(results):
    with folder_lock(results / "state" / "1a", print, "evaluating this run"):
        run = look(results)["drawing"]
    assert (run.word, run.left) == ("evaluating", 20.0)


def test_what_is_published_is_so_until_it_has_results_of_other_settings(results):
    states = States(results)
    config = results / "runs/arithmetic/tiny/published/seed0/config.yaml"
    for text, state in ((config.read_text(), "published"), ("steps: 5\n", "finished")):
        config.write_text(text)
        assert {each.name: each.state for each in states.look()}["arithmetic/tiny/published/0"] == state


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("metrics.jsonl", b""),
        ("metrics.jsonl", b"\x00\xff\n[1]\n{}\n7\n" + b'{"step": "x"}\n'),
        ("metrics.jsonl", b'{"step": 3, "reward/mean": NaN, "actor/skipped_updates": 1e999, "timing_s/step": null}\n'),
        ("run.json", b'{"task": "arithm'),
        ("run.json", b'{"kind": ["x"], "steps": "many", "draws": 3, "host": {}}'),
        ("progress.json", b"[]"),
        ("log.txt", b"\xff\xfe"),
        ("final/config.yaml", b"{"),
        ("final/config.yaml", b"- a list"),
        ("final/evaluation.json", b'{"run": 3}'),
    ],
)
def test_a_torn_or_foreign_file_spoils_no_table(results, file, content):
    folder = results / "state" / ("0e" if file.startswith("final") else "0a")
    (folder / file).write_bytes(content)
    runs = States(results).look()
    assert len(runs) == 7
    assert shown(runs, 150)


def test_folders_that_are_no_states_and_empty_ones_are_passed_over(results):
    (results / "state" / "empty").mkdir()
    (results / "state" / ".tmp.1").mkdir()
    (results / "state" / "a file").touch()
    (results / "state" / "nowhere").symlink_to("gone")
    assert len(look(results)) == 7


def test_a_state_that_says_nothing_is_named_by_its_log(results):
    folder, log = results / "state" / "2a", results / "logs/train/arithmetic/tiny/early/seed0.log"
    folder.mkdir()
    log.parent.mkdir(parents=True)
    log.write_text("failed: no such column\n")
    os.link(log, folder / "log.txt")
    assert look(results)["early"].why == "no such column"


def test_a_long_log_of_metrics_is_read_at_its_end_only(results, monkeypatch):
    logged(results / "state" / "0b", 20_000)
    size = (results / "state" / "0b" / "metrics.jsonl").stat().st_size
    count, opened = 0, open

    def counting(file, *args):
        nonlocal count
        handle = opened(file, *args)
        if str(file).endswith("0b/metrics.jsonl"):
            read = handle.read

            class Counted:
                __enter__ = lambda self: self  # noqa: E731
                __exit__ = lambda self, *_: handle.close()  # noqa: E731
                seek = handle.seek

                def read(self, most):
                    nonlocal count
                    count += most
                    return read(most)

            return Counted()
        return handle

    monkeypatch.setattr("builtins.open", counting)
    states = States(results)
    runs = [each for _ in range(3) for each in states.look() if "stopped" in each.name]
    assert [run.done for run in runs] == [20_000] * 3
    assert 0 < count < size / 10


def shown(runs: list[Watched], width: int, most_rows: int | None = None) -> str:
    console = Console(width=width, record=True, file=StringIO())
    console.print(view(runs, width, most_rows))
    return console.export_text()


def test_the_table_fits_80_columns_and_says_more_where_there_is_room(results):
    runs = States(results).look()
    narrow, wide = shown(runs, 80), shown(runs, 150)
    assert all(len(line.rstrip()) <= 80 for line in narrow.splitlines())
    for text in (narrow, wide):
        assert "training: 1 training, 1 failed, 1 stopped, 1 waiting, 1 finished, 1 published" in text
        assert "arithmetic/tiny/training/0" in text
        assert "4/10" in text
        assert "30/40" in text
        assert "failed/0: data.parquet, row 3: no prompt" in text
    assert "entropy" in wide
    assert "entropy" not in narrow
    assert "(77)" in wide


def test_of_more_runs_than_a_terminal_has_lines_those_at_work_stay(results):
    text = shown(States(results).look(), 80, most_rows=2)
    assert "arithmetic/tiny/training/0" in text
    assert "published/0" not in text
    assert "... and 4 more" in text


def test_once_prints_and_writes_nothing(results, capsys):
    def everything() -> dict:
        return {path: (path.lstat().st_mtime_ns, path.lstat().st_size) for path in results.rglob("*")}

    before = everything()
    main([str(results), "--once"])
    assert "arithmetic/tiny/stopped/0" in capsys.readouterr().out
    assert everything() == before


def test_without_a_terminal_it_ends_by_itself(tmp_path):
    command = [sys.executable, "-m", "selfdistill.runs.watch", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    assert done.stdout == "no run has a state yet\n"


def searching(results: Path, name: str, search: str, progress: dict, **amount) -> Path:
    folder = results / "state" / name
    folder.mkdir(parents=True)
    (folder / "lock").touch()
    write_attempt(folder, cell(search), SEARCH, questions=9, budget=320, **amount)
    if progress:
        (folder / "progress.json").write_text(json.dumps(progress))
    return folder


PROGRESS = {"attempts": 1200, "questions": 3, "passed": 2, "hold": 1, "made": 600, "seconds": 20.0}


def test_a_search_says_how_far_it_is_and_what_passes(tmp_path):
    at_work = searching(tmp_path, "3a", "best_of", PROGRESS)
    searching(tmp_path, "3b", "multi_turn", {}, part=2)
    failed = searching(tmp_path, "3c", "self_distillation", PROGRESS)
    (failed / "log.txt").write_text("failed: no question 12\n")
    with folder_lock(at_work, print, "searching these questions"):
        found = look(tmp_path)
        text, narrow = (shown(States(tmp_path).look(), width) for width in (150, 80))
    run = found["best_of"]
    assert (run.word, run.done, run.total) == ("searching", 3, 9)
    assert (run.attempts, run.passed, run.hold, run.speed) == (1200, 2, 1, 30.0)
    assert run.left == (9 * 320 - 1200) / 30
    waiting = found["multi_turn/0, part 2"]
    assert (waiting.state, waiting.done, waiting.attempts, waiting.left) == ("waiting", None, None, None)
    assert (found["self_distillation"].state, found["self_distillation"].left) == ("failed", None)
    assert "search: 1 searching, 1 failed, 1 waiting" in text
    assert all(len(line.rstrip()) <= 80 for line in narrow.splitlines())
    for each in (text, narrow):
        assert "3/9" in each
        assert "1,200" in each
        assert "self_distillation/0: no question 12" in each
        assert "reward" not in each
    assert "30.0" in text


@pytest.mark.parametrize(
    ("search", "file", "amount"),
    [
        ("best_of", "discovery/arithmetic/tiny/best_of/seed0/part1.parquet", {"part": 1}),
        ("base", "discovery/arithmetic/tiny/base/part0.parquet", {}),
    ],
)
def test_a_search_is_published_where_its_file_is_what_it_wrote(tmp_path, search, file, amount):
    folder = searching(tmp_path, "3d", search, PROGRESS | {"questions": 9}, **amount)
    (folder / "published.json").write_text(json.dumps({"sha256": hashlib.sha256(b"attempts").hexdigest()}))
    states, place = States(tmp_path), tmp_path / file
    assert [each.state for each in states.look()] == ["finished"]
    place.parent.mkdir(parents=True)
    for content, state in ((b"attempts", "published"), (b"of other settings", "finished")):
        place.write_bytes(content)
        assert [each.state for each in states.look()] == [state]


@pytest.mark.parametrize("content", ["[]", '{"attempts": "many", "questions": NaN, "made": null}', '{"attempts'])
def test_a_torn_count_of_a_search_spoils_no_table(tmp_path, content):
    folder = searching(tmp_path, "3e", "best_of", PROGRESS)
    (folder / "progress.json").write_text(content)
    (run,) = States(tmp_path).look()
    assert (run.state, run.attempts, run.done, run.speed) == ("waiting", None, None, None)
    assert shown([run], 150)
