"""Fetching and locking through the real client of the hub, from a server on the loopback, and every fault."""

import errno
import hashlib
import os
import re
import subprocess
import time
from pathlib import Path

import hub_server
import pytest
from huggingface_hub import constants, file_download
from waiting import SECONDS

from selfdistill.errors import UserError
from selfdistill.hub import client as hub_module
from selfdistill.hub.client import MIRROR, fetch_data, fetch_model, resolve
from selfdistill.hub.lock import locked_file, locked_model
from selfdistill.tasks.datasets import import_from_hub
from selfdistill.tasks.schema import Problem, write_problems

DATA, MODEL = {"id": "owner/data", "revision": "main"}, {"id": "owner/model", "revision": "main"}
FILE = "kk/train.parquet"
NEEDED = {"datasets": {"owner/data@main": [FILE]}, "models": {"owner/model@main": []}}
EMPTY = {"datasets": {}, "models": {}}
OF_A_MODEL = ["config.json", "generation_config.json", "model-00001-of-00002.safetensors", "chat_template.jinja"]
OF_A_MODEL += ["model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"]
OF_NO_USE = ["modeling_own.py", "pytorch_model.bin", "model.gguf", "README.md", ".gitattributes", "training_args.pt"]
OF_NO_USE += ["onnx/config.json", "original/params.json", "original/model.safetensors"]
TOKEN = "hf_secretsecretsecret"


def nothing(line: str) -> None:
    pass


@pytest.fixture
def parquet(tmp_path) -> bytes:
    path = tmp_path / "made" / "train.parquet"
    texts = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(300)]
    write_problems(path, [Problem(f"kk/{i}", "kk", text, "1", "", "", i, "train") for i, text in enumerate(texts)])
    return path.read_bytes()


@pytest.fixture
def hub(parquet, tmp_path, monkeypatch):
    """A hub with a dataset and a model, and the real client turned to it: cache of its own, little patience."""
    model = {name: f"{name} of the model".encode() * (100 if "safetensors" in name else 1) for name in OF_A_MODEL}
    others = dict.fromkeys(OF_NO_USE, b"nothing that anybody asked for")
    files = {"datasets/owner/data": {FILE: parquet}, "models/owner/model": {**model, **others}}
    with hub_server.serving(hub_server.Hub(files)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", SECONDS)  # a busy machine is not a stall
        monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", SECONDS)
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # in place of 10 MB
        monkeypatch.setattr(hub_module, "WAITS", (0.01, 0.01))
        monkeypatch.setattr(file_download.time, "sleep", lambda seconds: None)
        for name in (MIRROR, "HF_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        yield hub


@pytest.fixture
def lock(hub):
    return resolve(NEEDED, EMPTY, nothing)


@pytest.fixture
def recipe(lock, hub):
    hub.asked.clear()
    return locked_file(lock, DATA, FILE)


def refusal(call, *args) -> str:
    with pytest.raises(UserError) as said:
        call(*args)
    assert "\n" not in str(said.value)
    return str(said.value)


def partial(tmp_path) -> list[Path]:
    """Files of the cache that are neither whole nor of use."""
    return [path for path in (tmp_path / "cache").rglob("*") if path.name.endswith(".incomplete")]


def sound(recipe, parquet, tmp_path) -> None:
    """A fault has left nothing, and the next try succeeds."""
    assert not partial(tmp_path)
    assert fetch_data(recipe, nothing).read_bytes() == parquet


# -------------------------------------------------------------------------------------------------------------- locking


def test_a_lock_has_commit_size_and_the_hubs_own_hash(hub, lock, parquet):
    data, model = lock["datasets"]["owner/data@main"], lock["models"]["owner/model@main"]
    assert data["commit"] == model["commit"] == hub_server.COMMIT
    assert data["files"] == {FILE: {"size": len(parquet), "sha256": hashlib.sha256(parquet).hexdigest()}}
    config = b"config.json of the model"
    blob = hashlib.sha1(b"blob %d\0" % len(config) + config).hexdigest()
    assert model["files"]["config.json"] == {"size": len(config), "git_sha1": blob}


def test_of_a_model_nothing_is_locked_but_weights_tokenizer_and_configuration(lock):
    assert sorted(lock["models"]["owner/model@main"]["files"]) == sorted(OF_A_MODEL)


def test_entries_are_kept_and_files_that_they_lack_come_from_their_commit(hub, lock):
    hub.files["datasets/owner/data"]["kk/val.parquet"] = b"other"
    hub.faults["api/revision"] = "404"  # so the commit can only be the recorded one
    more = {"datasets": {"owner/data@main": [FILE, "kk/val.parquet"]}, "models": {"owner/model@main": []}}
    said = []
    again = resolve(more, lock, said.append)
    assert "owner/model@main: kept" in "\n".join(said)
    assert again["datasets"]["owner/data@main"]["files"].keys() == {FILE, "kk/val.parquet"}
    assert again["models"] == lock["models"]
    assert lock["datasets"]["owner/data@main"]["files"].keys() == {FILE}


@pytest.mark.parametrize(
    ("needed", "said"),
    [
        ({"datasets": {"owner/none@main": ["a"]}, "models": {}}, r"owner/none@main .*no such repository"),
        ({"datasets": {"owner/data@v7": [FILE]}, "models": {}}, r"owner/data@v7 .*no such revision"),
        (
            {"datasets": {"owner/data@main": ["no.parquet"]}, "models": {}},
            r"owner/data@main .*no no\.parquet at commit",
        ),
    ],
)
def test_what_the_hub_does_not_have_cannot_be_locked(hub, needed, said):
    with pytest.raises(UserError, match=said):
        resolve(needed, EMPTY, nothing)


def test_without_an_entry_nothing_is_fetched(hub):
    said = refusal(fetch_data, locked_file(EMPTY, DATA, FILE), nothing)
    assert FILE in said
    assert "make lock CONFIG=" in said
    assert "make lock CONFIG=" in refusal(fetch_model, locked_model(EMPTY, MODEL), nothing)
    assert not hub.asked


# ------------------------------------------------------------------------------------------------------------- fetching


def test_a_file_comes_as_it_was_locked_and_then_from_the_cache(hub, recipe, parquet):
    said = []
    assert fetch_data(recipe, said.append).read_bytes() == parquet
    assert "as locked" in said[-1]
    hub.asked.clear()
    assert fetch_data(recipe, said.append).read_bytes() == parquet
    assert not hub.asked


def test_a_model_comes_file_by_file_without_code(hub, lock):
    files = fetch_model(locked_model(lock, MODEL), nothing)
    assert {name: path.read_bytes() for name, path in files.items()} == {
        name: content for name, content in hub.files["models/owner/model"].items() if name in OF_A_MODEL
    }
    assert not {path for _, path, _ in hub.asked} & set(OF_NO_USE)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("404", "no such file"),
        ("401", r"no right to read it \(401\)"),
        ("gated", "it is gated; accept its terms"),
        ("html", r"web page \(HTML\) came in place"),
        ("page", r"a web page, sha256 .* the lock has"),
        ("wrong bytes", r"sha256 \w+, the lock has"),
        ("wrong size", "should be of size"),
    ],
)
def test_every_fault_is_one_message_and_leaves_nothing_behind(hub, recipe, parquet, tmp_path, fault, said):
    hub.faults[FILE] = fault
    target, report = tmp_path / "out" / "train.parquet", []
    message = refusal(import_from_hub, recipe, target, report.append)
    assert FILE in message
    assert re.search(said, message), message
    assert not target.exists()
    if fault in ("404", "401", "gated", "html"):
        assert not any("again in" in line for line in report)  # patience helps nothing here
    del hub.faults[FILE]
    sound(recipe, parquet, tmp_path)


def test_a_busy_server_is_asked_again(hub, recipe, parquet):
    hub.faults[FILE] = ["503", 2]  # what the client asks before it fetches; it asks again by itself
    assert fetch_data(recipe, nothing).read_bytes() == parquet
    assert hub.count("HEAD", FILE) >= 3


def test_a_server_that_is_too_busy_to_send_a_file_is_asked_again(hub, recipe, parquet):
    hub.faults[FILE], said = ["503 GET", 2], []
    assert fetch_data(recipe, said.append).read_bytes() == parquet
    assert sum("503" in line and "again in" in line for line in said) == 2


def test_but_not_for_ever(hub, recipe, parquet, tmp_path):
    hub.faults[FILE] = ["503", 1000]
    assert "503" in refusal(fetch_data, recipe, nothing)
    assert hub.count("HEAD", FILE) < 50
    del hub.faults[FILE]
    sound(recipe, parquet, tmp_path)


def test_a_cut_transfer_goes_on_where_it_ended(hub, recipe, parquet):
    hub.faults[FILE] = ["cut", 2]
    assert fetch_data(recipe, nothing).read_bytes() == parquet
    starts = [part for method, _, part in hub.asked if method == "GET" and part]
    assert len(starts) == 2
    assert all(part.startswith("bytes=") and part != "bytes=0-" for part in starts)


def test_a_server_that_cuts_every_transfer_and_knows_no_ranges_is_given_up(hub, recipe, parquet, tmp_path, monkeypatch):
    monkeypatch.setattr(hub_module, "_LEAST_CAP", 1)
    hub.ranges, hub.faults[FILE] = False, ["cut", 10_000]
    assert "every transfer is cut" in refusal(fetch_data, recipe, nothing)
    assert hub.count("GET", FILE) < 50
    hub.faults.clear()
    sound(recipe, parquet, tmp_path)


def test_a_stall_ends(hub, recipe, parquet, tmp_path, monkeypatch):
    monkeypatch.setattr(hub_module, "WAITS", ())
    hub.ranges, hub.faults[FILE] = True, "stall"  # the server holds on for longer than this test may take
    hub.files["datasets/owner/data"][FILE] = parquet[:1]  # half of it is nothing: no byte ever comes
    with monkeypatch.context() as patch:
        patch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.05)
        refusal(fetch_data, recipe, nothing)
    hub.files["datasets/owner/data"][FILE] = parquet
    hub.faults.clear()
    sound(recipe, parquet, tmp_path)


def test_a_server_that_is_not_there_is_one_message(hub, recipe, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "check the connection and HF_ENDPOINT" in refusal(fetch_data, recipe, nothing)


def test_a_full_disk_is_named_and_leaves_nothing(hub, recipe, parquet, tmp_path, monkeypatch):
    def full(url, temp_file, **_):
        temp_file.write(parquet[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(file_download, "http_get", full)
        assert "No space left on device" in refusal(fetch_data, recipe, nothing)
    sound(recipe, parquet, tmp_path)


def test_a_disk_that_is_really_full(hub, recipe, parquet, tmp_path, monkeypatch):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(small)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a small file system here")
    try:
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(small))
        assert "No space left on device" in refusal(fetch_data, recipe, nothing)
        assert not [path for path in small.rglob("*") if path.name.endswith(".incomplete")]
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        fetch_data(recipe, nothing)
        with pytest.raises(UserError, match=r"cannot be written .*No space left"):
            import_from_hub(recipe, small / "out" / "train.parquet", nothing)
        assert not list((small / "out").iterdir())
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_bad_file_of_the_cache_is_named_removed_and_fetched_anew(hub, recipe, parquet):
    path = fetch_data(recipe, nothing)
    path.resolve().write_bytes(b"rotten")
    said = []
    assert fetch_data(recipe, said.append).read_bytes() == parquet
    assert any("not what was locked (6 bytes" in line and str(path) in line for line in said)


def test_remains_of_a_killed_process_go_and_those_of_a_living_one_stay(hub, recipe, tmp_path):
    blobs = tmp_path / "cache" / "datasets--owner--data" / "blobs"
    blobs.mkdir(parents=True)
    old, new = blobs / "a.1.incomplete", blobs / "a.2.incomplete"
    for path, age in ((old, 10_000), (new, 0)):
        path.touch()
        os.utime(path, (time.time() - age,) * 2)
    fetch_data(recipe, nothing)
    assert partial(tmp_path) == [new]


# ------------------------------------------------------------------------------------- mirror, offline, token, progress


def test_the_mirror_comes_first_and_is_checked_like_the_hub(hub, recipe, parquet, tmp_path, monkeypatch):
    mirrored = tmp_path / "mirror" / "owner" / "data" / FILE
    mirrored.parent.mkdir(parents=True)
    mirrored.write_bytes(parquet)
    monkeypatch.setenv(MIRROR, str(tmp_path / "mirror"))
    assert fetch_data(recipe, nothing) == mirrored
    mirrored.write_bytes(parquet[:-1] + b"x")
    assert str(mirrored) in refusal(fetch_data, recipe, nothing)
    assert mirrored.exists()  # the user's: named, never removed
    assert not hub.asked
    mirrored.unlink()
    assert fetch_data(recipe, nothing).read_bytes() == parquet
    assert hub.asked


def test_offline_only_mirror_and_cache_are_used(hub, recipe, parquet, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refusal(fetch_data, recipe, nothing)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    fetch_data(recipe, nothing)
    hub.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch_data(recipe, nothing).read_bytes() == parquet
    assert not hub.asked


def test_a_token_opens_what_is_gated_and_is_never_said(hub, recipe, parquet, monkeypatch, capfd):
    hub.needs, said = TOKEN, []
    assert "HF_TOKEN" in refusal(fetch_data, recipe, said.append)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert fetch_data(recipe, said.append).read_bytes() == parquet
    hub.faults["kk/val.parquet"] = "401"
    said.append(refusal(fetch_data, {**recipe, "file": "kk/val.parquet"}, said.append))
    assert TOKEN not in "\n".join(said) + "".join(capfd.readouterr())


def test_progress_is_lines(hub, recipe, monkeypatch):
    monkeypatch.setattr(hub_module, "_PROGRESS_SECONDS", 0)
    said = []
    fetch_data(recipe, said.append)
    assert any(line.endswith("100%") for line in said)
