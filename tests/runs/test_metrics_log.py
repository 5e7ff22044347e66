"""metrics.jsonl after kills."""

import json

import pytest

from selfdistill.errors import UserError
from selfdistill.runs.metrics_log import MetricsLog


def steps_in(path):
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_no_step_twice_after_a_resume(tmp_path):
    log = MetricsLog(tmp_path)
    for step in range(4):
        log.write(step, {"a": step})
    log.close()
    resumed = MetricsLog(tmp_path)
    for step in range(2, 6):  # resumed from a checkpoint at step 1
        resumed.write(step, {"a": step})
    resumed.close()
    assert steps_in(resumed.path) == [0, 1, 2, 3, 4, 5]


def test_a_torn_line_is_cut_off_and_written_again(tmp_path):
    log = MetricsLog(tmp_path)
    log.write(0, {"a": 0})
    log.write(1, {"a": 1})
    log.close()
    log.path.write_text(log.path.read_text()[:-5])
    mended = MetricsLog(tmp_path)
    mended.write(1, {"a": 1})
    mended.close()
    assert steps_in(mended.path) == [0, 1]


def test_numbers_that_json_lacks_become_null(tmp_path):
    log = MetricsLog(tmp_path)
    log.write(0, {"a": float("nan"), "b": float("inf"), "c": 1.5})
    log.close()
    assert json.loads(log.path.read_text()) == {"step": 0, "a": None, "b": None, "c": 1.5}


def test_a_foreign_file_is_refused(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("hello\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl"):
        MetricsLog(tmp_path)


def test_the_same_numbers_as_tensorboard_events(tmp_path):
    log = MetricsLog(tmp_path)
    log.write(3, {"reward/mean": 0.5})
    log.close()
    (events,) = (tmp_path / "events").glob("events.out.tfevents.*")
    assert b"reward/mean" in events.read_bytes()
