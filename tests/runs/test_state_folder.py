"""What of a run's state counts: nothing that is empty, cut off, zeroed or changed."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from selfdistill.errors import UserError
from selfdistill.runs.digests import DIGESTS
from selfdistill.runs.state_folder import RESULTS, StateFolder

FACTS = {"wall_seconds": 1.0, "started": 2.0}


def tensors(step):
    return {
        "weights": {"a": torch.full((4, 64), float(step)), "b": torch.ones(3)},
        "optimizer": {"a.step": torch.ones(1)},
    }


def flip(path: Path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


#: What a crash or a disk makes of a file.
DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "flipped": flip,
    "missing": Path.unlink,
}
#: Without the digests a flipped bit is a number like any other.
VISIBLE = [name for name in DAMAGES if name != "flipped"]


@pytest.fixture
def state(tmp_path):
    """A state with the checkpoints after steps 2 and 3; there was one after step 1."""
    state = StateFolder(tmp_path / "0abc")
    for step in (1, 2, 3):
        state.save_checkpoint(step, tensors(step), FACTS)
    return state


def checkpoints(state):
    return sorted(folder.name for folder in (state.path / "checkpoints").iterdir())


def test_two_checkpoints_are_kept_and_the_latest_is_loaded(state):
    assert checkpoints(state) == ["step_000002", "step_000003"]
    said = []
    found, facts = state.load_checkpoint(said.append)
    assert facts == {"step": 3, **FACTS}
    assert {name: set(part) for name, part in found.items()} == {"weights": {"a", "b"}, "optimizer": {"a.step"}}
    assert torch.equal(found["weights"]["a"], tensors(3)["weights"]["a"])
    assert not said


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "facts.json"])
def test_of_a_spoilt_checkpoint_the_one_before_is_taken(state, name, damage):
    DAMAGES[damage](state.path / "checkpoints" / "step_000003" / name)
    said = []
    _, facts = state.load_checkpoint(said.append)
    assert facts["step"] == 2
    [line] = said
    assert "step_000003" in line
    assert name in line
    assert "going on from step_000002" in line
    assert checkpoints(state) == ["step_000002"]  # the next one is not written beside a spoilt one


@pytest.mark.parametrize("damage", [name for name in VISIBLE if name != "missing"])
@pytest.mark.parametrize("name", ["weights.safetensors", "facts.json", DIGESTS])
def test_a_checkpoint_of_an_older_version_has_no_digests_and_is_checked_by_looking(state, name, damage):
    for folder in (state.path / "checkpoints").iterdir():
        if name != DIGESTS:
            (folder / DIGESTS).unlink()
    assert state.load_checkpoint(print)[1]["step"] == 3
    DAMAGES[damage](state.path / "checkpoints" / "step_000003" / name)
    assert state.load_checkpoint(print)[1]["step"] == 2


def test_where_no_checkpoint_can_be_read_the_folder_to_delete_is_named(state):
    for folder in (state.path / "checkpoints").iterdir():
        DAMAGES["zeroed"](folder / "weights.safetensors")
    with pytest.raises(UserError, match=rf"none of the checkpoints can be read .*; delete {state.path} and run again"):
        state.load_checkpoint(print)
    assert len(checkpoints(state)) == 2


def finish(state):
    with state.finishing() as folder:
        (folder / "model").mkdir()
        (folder / "model" / "model.safetensors").write_bytes(save({"a": torch.ones(8)}))
        (folder / "model" / "merges.txt").write_bytes(b"")  # some tokenizers have none
        (folder / "config.yaml").write_text("seed: 0\n")
        (folder / "metrics.jsonl").write_text('{"step": 0}\n')
        (folder / "provenance.json").write_text('{"steps": 4}')
        (folder / "records.parquet").write_bytes(b"PAR1 and so on PAR1")


FINAL = ["config.yaml", "metrics.jsonl", "provenance.json", "records.parquet", "model/model.safetensors"]


@pytest.mark.parametrize("digests", [True, False])
def test_a_finished_run_counts(state, digests):
    assert not state.is_complete(print)
    finish(state)
    if not digests:
        (state.final / DIGESTS).unlink()
    assert state.is_complete(print)
    assert {path.name for path in state.final.iterdir()} - {DIGESTS} == set(RESULTS.values())


@pytest.mark.parametrize("name", FINAL)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_spoilt_result_does_not_count(state, name, damage):
    finish(state)
    DAMAGES[damage](state.final / name)
    said = []
    assert not state.is_complete(said.append)  # the checkpoint brings it back
    assert Path(name).name in said[0]
    state.drop_checkpoints()
    with pytest.raises(UserError, match=rf"spoilt \(.*{Path(name).name}.*; delete {state.path} and run again"):
        state.is_complete(print)


@pytest.mark.parametrize("damage", ["empty", "zeroed"])
@pytest.mark.parametrize("name", FINAL)
def test_nor_does_one_of_an_older_version(state, name, damage):
    finish(state)
    (state.final / DIGESTS).unlink()
    DAMAGES[damage](state.final / name)
    assert not state.is_complete(print)


def test_what_does_not_read_back_is_no_result(state):
    def finish_badly():
        with state.finishing() as folder:
            (folder / "model.safetensors").write_bytes(save({"a": torch.ones(8)})[:-1])

    with pytest.raises(UserError, match=r"model\.safetensors is cut off or overwritten just after it was written"):
        finish_badly()
    assert not state.final.exists()


def test_what_a_killed_trainer_was_writing_goes_at_the_next_start(state):
    """Of whatever machine and age: who holds the folder is alone in it."""
    for place, owner in (("checkpoints", "ffffffff-1"), (".", f"ffffffff-{os.getpid()}")):
        left = state.path / place / f".step_000004.{owner}-abcd1234"
        (left / "step_000004").mkdir(parents=True)
        (left / "step_000004" / "weights.safetensors").write_bytes(b"x" * 100)
    (state.path / "events" / ".hidden").mkdir(parents=True)
    with state.locked(print):
        assert checkpoints(state) == ["step_000002", "step_000003"]
        assert {path.name for path in state.path.iterdir()} == {"checkpoints", "events", "lock"}
        assert (state.path / "events" / ".hidden").exists()


def test_a_lock_that_leads_elsewhere_is_refused(state, tmp_path):
    (tmp_path / "precious").write_text("text")
    (state.path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(UserError, match="lock: expected a file, found a link"), state.locked(print):
        pass
    assert (tmp_path / "precious").read_text() == "text"
