"""Files: whole or not at all, of the right modes, nobody else's."""

import os
import time
from pathlib import Path

import pytest

from selfdistill import files
from selfdistill.errors import UserError
from selfdistill.files import atomic_path, copy_file, own_file, remove_left_overs, sampled_sha256


@pytest.fixture(params=[0o022, 0o002, 0o077])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path):
    return path.stat().st_mode & 0o777


def test_modes_are_the_umasks_whatever_wrote_it(tmp_path, umask):
    """safetensors writes 0600, a copied tree has the modes of the other."""
    with atomic_path(tmp_path / "file") as path:
        path.write_text("x")
        path.chmod(0o600)
    with atomic_path(tmp_path / "folder") as path:
        (path / "inner").mkdir(parents=True)
        (path / "inner" / "weights").write_text("x")
        (path / "inner" / "weights").chmod(0o600)
        (path / "inner").chmod(0o700)
    written = [tmp_path / "file", tmp_path / "folder" / "inner" / "weights"]
    assert {mode(path) for path in written} == {0o666 & ~umask}
    assert {mode(path) for path in (tmp_path / "folder", tmp_path / "folder" / "inner")} == {0o777 & ~umask}


def test_all_is_on_the_disk_before_it_has_its_name_and_the_name_after(tmp_path, monkeypatch):
    said, fsync, replace = [], os.fsync, Path.replace

    def note(handle):
        said.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        fsync(handle)

    def named(path, target):
        said.append("named")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(Path, "replace", named)
    with atomic_path(tmp_path / "new" / "model") as path:
        (path / "inner").mkdir(parents=True)
        (path / "inner" / "weights").write_text("x")
        (path / "config").write_text("x")
    assert said[0] == tmp_path.name  # that there is a folder `new`
    assert set(said[1:-2]) == {"weights", "config", "inner", "model"}
    assert said.index("weights") < said.index("inner") < said.index("model")
    assert said[-2:] == ["named", "new"]


#: A number that no process has: above the most that Linux gives. One that has just ended may be another's by now.
DEAD = (1 << 22) + 1


def holder(folder, name, machine, process, age=0.0):
    made = folder / f".{name}.{machine}-{process}-abcd1234"
    (made / name).mkdir(parents=True)
    then = time.time() - age
    for path in (made / name, made):
        os.utime(path, (then, then))
    return made


HERE, ELSEWHERE = files._this_machine(), "0" * 8
DAY = 24 * 3600


@pytest.mark.parametrize(
    ("here", "alive", "age", "goes"),
    [
        (True, False, 0, True),
        (True, True, 2 * DAY, False),
        (False, True, 3600, False),
        (False, False, 3600, False),
        (False, True, 2 * DAY, True),
    ],
)
def test_what_a_dead_process_left_goes_with_the_next_write(tmp_path, here, alive, age, goes):
    machine, process = HERE if here else ELSEWHERE, os.getpid() if alive else DEAD
    left = holder(tmp_path, "model", machine, process, age)
    other = holder(tmp_path, "other", HERE, DEAD)
    with atomic_path(tmp_path / "model") as path:
        path.write_text("x")
    assert left.exists() is not goes
    assert other.exists()  # somebody else's business, while nobody holds the folder


@pytest.mark.parametrize("new", [True, False])
def test_a_kill_while_a_folder_is_replaced_leaves_the_new_or_the_old_one(tmp_path, new):
    left = holder(tmp_path, "model", HERE, DEAD)
    (left / "model" / "which").write_text("new")
    (left / "replaced").mkdir()
    (left / "replaced" / "which").write_text("old")
    if not new:
        (left / "model" / "which").unlink()
        (left / "model").rmdir()
    remove_left_overs(tmp_path, "model")
    assert (tmp_path / "model" / "which").read_text() == ("new" if new else "old")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_copy_shares_nothing(tmp_path):
    (tmp_path / "one").write_bytes(b"x" * 5000)
    copy_file(tmp_path / "one", tmp_path / "two")
    with open(tmp_path / "two", "r+b") as file:
        file.write(b"y")
    assert (tmp_path / "one").read_bytes() == b"x" * 5000
    assert (tmp_path / "two").read_bytes() == b"y" + b"x" * 4999


@pytest.mark.parametrize("size", [10, 5 << 20])
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_other_weights_of_the_same_size_have_another_digest(tmp_path, size, place):
    path = tmp_path / "weights"
    path.write_bytes(bytes(size))
    before = sampled_sha256(path)
    with open(path, "r+b") as file:
        file.seek(min(int(place * size), size - 1))
        file.write(b"x" * (1 << 16 if size > 10 else 1))
        file.truncate(size)
    assert sampled_sha256(path) != before
    path.write_bytes(bytes(size))
    assert sampled_sha256(path) == before


def test_only_files_of_the_folder_and_of_the_hubs_cache_are_its_own(tmp_path):
    cache = tmp_path / "models--a--b"
    snapshot = cache / "snapshots" / "0abc"
    for folder in (snapshot, cache / "blobs", cache / "other"):
        folder.mkdir(parents=True)
    for file in (cache / "blobs" / "1", cache / "other" / "1", snapshot / "plain", tmp_path / "secret"):
        file.write_text("x")
    links = {"blob": "../../blobs/1", "inner": "plain", "out": "../../other/1", "far": str(tmp_path / "secret")}
    for name, target in links.items():
        (snapshot / name).symlink_to(target)
    assert own_file(snapshot, snapshot / "blob") == (cache / "blobs" / "1").resolve()
    assert own_file(snapshot, snapshot / "inner") == own_file(snapshot, snapshot / "plain")
    for name in ("out", "far"):
        with pytest.raises(UserError, match=rf"{name}: a link to .* outside of the model's folder"):
            own_file(snapshot, snapshot / name)
    os.mkfifo(snapshot / "pipe")
    with pytest.raises(UserError, match="pipe: expected a file"):
        own_file(snapshot, snapshot / "pipe")
    assert own_file(tmp_path, tmp_path / "secret")  # a folder may itself be reached by any way
