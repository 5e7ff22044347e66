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


@pytest.mark.parametrize(("steps", "line"), [([0, 1, 3], 3), ([0, 2, 1], 2), ([0, 1, 1], 3)])
def test_a_log_that_lacks_a_step_or_has_one_twice_is_not_gone_on_with(tmp_path, steps, line):
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps({"step": step}) + "\n" for step in steps))
    with pytest.raises(UserError, match=rf"metrics\.jsonl, line {line}: .*delete the folder"):
        MetricsLog(tmp_path)


def test_no_step_is_left_out_when_writing_or_resuming(tmp_path):
    log = MetricsLog(tmp_path)
    log.write(1, {"a": 1})
    with pytest.raises(UserError, match="ends with step 1, expected step 2"):
        log.write(3, {"a": 3})
    log.check_follows(1)
    with pytest.raises(UserError, match="ends with step 1, but there is a checkpoint after step 4"):
        log.check_follows(4)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:20],
        lambda text: text.replace("}", "{", 1),
        lambda text: text[:-9] + "\0" * 9,
    ],
    ids=["empty", "cut off", "flipped", "zeroed end"],
)
def test_a_spoilt_log_is_put_back_as_the_checkpoint_has_it(tmp_path, damage):
    log = MetricsLog(tmp_path)
    log.write(1, {"a": 1})
    log.write(2, {"a": 2})
    saved = log.text()
    log.write(3, {"a": 3})
    log.path.write_text(damage(log.text()))
    mended = MetricsLog(tmp_path, saved)
    assert mended.last == 2
    assert mended.text() == saved
    mended.write(3, {"a": 3})
    assert MetricsLog(tmp_path, saved).last == 3


def test_the_same_numbers_as_tensorboard_events(tmp_path):
    log = MetricsLog(tmp_path)
    log.write(1, {"reward/mean": 0.5})
    log.close()
    (events,) = (tmp_path / "events").glob("events.out.tfevents.*")
    assert b"reward/mean" in events.read_bytes()
