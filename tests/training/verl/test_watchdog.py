"""A dead helper ends the run with a reason, a busy one does not; a buffer that nothing fills gives up."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("verl")

import ray
from ray.exceptions import GetTimeoutError, RayActorError

from selfdistill.errors import UserError
from selfdistill.training.verl import rollouts, watchdog
from selfdistill.training.verl.rollouts import ImpatientBuffer
from selfdistill.training.verl.watchdog import REASON_FILE, Watchdog, _engine_error, leave_reason

pytestmark = pytest.mark.verl


class Actor:
    """Answers as a handle of Ray does, with promises that `ray.get` below keeps."""

    def __init__(self, answer=True, engine=None):
        self.instance = SimpleNamespace(engine=engine)
        self.__ray_ready__ = SimpleNamespace(remote=lambda: answer)
        self.__ray_call__ = SimpleNamespace(remote=lambda fn: fn(self.instance))


@pytest.fixture
def kept(monkeypatch):
    """ray.get that returns promised values, or raises promised errors."""

    def get(promises, timeout):
        assert timeout > 0
        for promise in promises:
            if isinstance(promise, Exception):
                raise promise
        return promises

    monkeypatch.setattr(ray, "get", get)


def test_what_it_sees(kept):
    well, broken = SimpleNamespace(errored=False), SimpleNamespace(errored=True)
    assert Watchdog([Actor()], [Actor(engine=well), Actor()], give_up=None).look() is None
    assert "EngineCore" in Watchdog([Actor()], [Actor(engine=well), Actor(engine=broken)], give_up=None).look()
    assert "a worker died" in Watchdog([Actor(), Actor(RayActorError())], [], give_up=None).look()
    assert Watchdog([Actor(GetTimeoutError())], [], give_up=None).look() is None
    assert _engine_error(SimpleNamespace()) is None


def test_on_a_death_it_leaves_the_reason_and_gives_up(kept, tmp_path, monkeypatch, capsys):
    file = tmp_path / "reason.txt"
    monkeypatch.setenv(REASON_FILE, str(file))
    monkeypatch.setattr(watchdog, "_EVERY_SECONDS", 0.01)
    engine, given_up = SimpleNamespace(errored=False), []
    dog = Watchdog([], [Actor(engine=engine)], give_up=given_up.append)
    dog.start()
    assert not file.exists()
    engine.errored = True
    dog.join(timeout=600)
    assert given_up == [1]
    assert "a rollout engine died" in file.read_text()
    assert "a rollout engine died" in capsys.readouterr().err


def test_the_first_reason_counts(tmp_path, monkeypatch):
    """What ends the process afterwards has less to say, also where two look for the file at once."""
    file = tmp_path / "reason.txt"
    monkeypatch.setenv(REASON_FILE, str(file))
    leave_reason("the cause")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", lambda path: False)
        leave_reason("a consequence")
    assert file.read_text() == "the cause"
    monkeypatch.delenv(REASON_FILE)
    leave_reason("nowhere to put it")
    assert os.listdir(tmp_path) == ["reason.txt"]


def test_a_buffer_that_nothing_fills_gives_up(monkeypatch):
    buffer, clock = ImpatientBuffer(stall_seconds=100), [0.0]
    monkeypatch.setattr(rollouts.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(rollouts.ReplayBuffer, "_wait_for_next_poll", lambda self, partition, before: before)
    monkeypatch.setattr(rollouts.ReplayBuffer, "sample", lambda self: None)
    buffer.sample()
    for clock[0], finished in ((90.0, {"a"}), (180.0, {"a", "b"}), (279.0, {"a", "b"})):
        buffer.finished_keys["train"] = finished
        buffer._wait_for_next_poll("train", 0.0)
    clock[0] = 281.0
    with pytest.raises(UserError, match="no prompt was finished for 100 s"):
        buffer._wait_for_next_poll("train", 0.0)


def test_where_not_one_response_came_the_message_says_where_to_look(monkeypatch):
    def nothing(self):
        raise RuntimeError("No trajectories. Enable something of verl's.")

    monkeypatch.setattr(rollouts.ReplayBuffer, "sample", nothing)
    with pytest.raises(UserError, match=r"no response could be drawn \(No trajectories\); .*Error in _run_prompt"):
        ImpatientBuffer(stall_seconds=100).sample()


def test_failed_prompts_are_not_replaced():
    with pytest.raises(UserError, match="responses to 3 prompts could not be drawn"):
        ImpatientBuffer(stall_seconds=100).refill_fn(3)
