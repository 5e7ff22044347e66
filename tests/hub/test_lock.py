"""The lock file: what is written is read again, what is wrong is refused, and what it says decides the digests."""

import hashlib
from pathlib import Path

import pytest
import yaml

from selfdistill.errors import UserError
from selfdistill.hub.lock import fault, locked_file, locked_model, looks_like_html, merged, read_lock, write_lock
from selfdistill.study.study import load_study

HUB = {"id": "owner/name", "revision": "main"}
ENTRY = {"commit": "a" * 40, "files": {"x+y/val.parquet": {"size": 3, "sha256": "b" * 64}}}
LOCK = {"datasets": {"owner/name@main": ENTRY}, "models": {}}
ROOT = Path(__file__).parents[2]


def test_what_is_written_is_read_again_and_the_order_of_entries_changes_nothing(tmp_path):
    other = {**ENTRY, "commit": "c" * 40}
    texts = set()
    for names in (("a/a@v1", "b/b@v1"), ("b/b@v1", "a/a@v1")):
        lock = {"datasets": dict.fromkeys(names, other), "models": {}}
        write_lock(lock, tmp_path / "hub.lock.yaml")
        assert read_lock(tmp_path / "hub.lock.yaml") == lock
        texts.add((tmp_path / "hub.lock.yaml").read_text())
    assert len(texts) == 1


def test_without_a_file_nothing_is_locked(tmp_path):
    assert read_lock(tmp_path / "none.yaml") == {"datasets": {}, "models": {}}


FILES = f"{{models: {{}}, datasets: {{a/b@v: {{commit: {'a' * 40}, files: "


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("datasets: {", "not readable as YAML"),
        ("datasets: {}", "key 'models' is missing"),
        ("{datasets: {owner/name: {commit: x, files: {}}}, models: {}}", "owner/name@revision"),
        ("{datasets: {a/b@main: {commit: main, files: {x: {size: 1}}}}, models: {}}", "expected"),
        (FILES + "{../x: {size: 1}}}}}", "a path inside"),
        (FILES + "{/x: {size: 1}}}}}", "a path inside"),
        (FILES + "{x: {size: 1}}}}}", "hub.lock.yaml: "),
    ],
)
def test_a_file_that_is_none_is_refused_by_name(tmp_path, text, said):
    (tmp_path / "hub.lock.yaml").write_text(text)
    with pytest.raises(UserError, match=r"hub\.lock\.yaml") as error:
        read_lock(tmp_path / "hub.lock.yaml")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_is_known_by_commit_size_and_hash_where_they_are_locked():
    assert locked_file(LOCK, HUB, "x+y/val.parquet") == {
        "hub": {**HUB, "commit": "a" * 40},
        "file": "x+y/val.parquet",
        "size": 3,
        "sha256": "b" * 64,
    }
    for hub, file in ((HUB, "z/val.parquet"), ({**HUB, "revision": "v2"}, "x+y/val.parquet")):
        assert locked_file(LOCK, hub, file) == {"hub": hub, "file": file}
    assert locked_model(LOCK, HUB) == {"hub": HUB}  # a dataset's entry is none of a model


def test_merging_leaves_the_old_lock_as_it_was():
    more = merged(LOCK, "datasets", "owner/name@main", "a" * 40, {"z": {"size": 1, "git_sha1": "d" * 40}})
    assert more["datasets"]["owner/name@main"]["files"].keys() == {"x+y/val.parquet", "z"}
    assert LOCK["datasets"]["owner/name@main"]["files"].keys() == {"x+y/val.parquet"}


@pytest.mark.parametrize("kind", ["sha256", "git_sha1"])
def test_size_and_hash_are_compared(tmp_path, kind):
    content = b"some bytes"
    hashes = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "git_sha1": hashlib.sha1(b"blob 10\0" + content).hexdigest(),
    }
    path, expected = tmp_path / "file", {"size": 10, kind: hashes[kind]}
    path.write_bytes(content)
    assert fault(path, expected) is None
    path.write_bytes(b"some bytez")
    assert kind in fault(path, expected)
    path.write_bytes(b"some byte")
    assert "9 bytes, the lock has 10" in fault(path, expected)


def test_a_web_page_is_known(tmp_path):
    for text, is_page in (("\n <!doctype HTML><html>", True), ("<html lang=en>", True), ("PAR1 <html>", False)):
        (tmp_path / "file").write_text(text)
        assert looks_like_html(tmp_path / "file") is is_page


# --------------------------------------------------------------------------------------------------- in a configuration


def study(tmp_path, lock, matrix):
    files = [ROOT / f"config/{name}.yaml" for name in ("defaults", "models", "methods", "tasks")]
    config = {}
    for file in files:
        config |= yaml.safe_load(file.read_text())
    write_lock(lock, tmp_path / "hub.lock.yaml")
    config["matrix"] = {"seeds": [0], **matrix}
    return load_study(config, files, tmp_path / "hub.lock.yaml")


LOGIC = {"tasks": ["logic"], "models": ["qwen3_4b"], "variants": ["grpo"]}
TRAIN = "kk_4to8/train.parquet"


def locked(commit="a" * 40, sha256="b" * 64, model="c" * 40):
    return {
        "datasets": {"Leyiii/RLCSD@main": {"commit": commit, "files": {TRAIN: {"size": 1, "sha256": sha256}}}},
        "models": {
            "Qwen/Qwen3-4B@main": {"commit": model, "files": {"config.json": {"size": 2, "git_sha1": "d" * 40}}}
        },
    }


def digests(tmp_path, lock):
    settings = study(tmp_path, lock, LOGIC).resolve("logic", "qwen3_4b", "grpo", 0)
    return settings["data"]["digest"], settings["base_model"]["digest"]


def test_the_lock_decides_the_digests_of_data_and_model(tmp_path):
    none, first = digests(tmp_path, {"datasets": {}, "models": {}}), digests(tmp_path, locked())
    assert none[0] != first[0]
    assert none[1] != first[1]
    assert digests(tmp_path, locked()) == first
    other = digests(tmp_path, locked(sha256="e" * 64))
    assert (other[0] != first[0], other[1] == first[1]) == (True, True)
    other = digests(tmp_path, locked(model="e" * 40))
    assert (other[0] == first[0], other[1] != first[1]) == (True, True)


def test_what_others_take_from_the_hub_changes_nothing(tmp_path):
    more = locked()
    more["datasets"]["some/other@main"] = ENTRY
    more["models"]["some/model@main"] = ENTRY
    assert digests(tmp_path, more) == digests(tmp_path, locked())


def test_the_matrix_names_what_it_takes_and_an_untrained_model_takes_no_training_set(tmp_path):
    empty = {"datasets": {}, "models": {}}
    val = "kk_4to8_test+kk_9+kk_10+kk_11/val.parquet"
    found = study(tmp_path, empty, LOGIC).hub_files()
    assert found == {"datasets": {"Leyiii/RLCSD@main": [TRAIN, val]}, "models": {"Qwen/Qwen3-4B@main": []}}
    found = study(tmp_path, empty, {**LOGIC, "variants": ["base"]}).hub_files()
    assert found["datasets"] == {"Leyiii/RLCSD@main": [val]}
    toy = {"tasks": ["arithmetic"], "models": ["tiny_qwen3"], "variants": ["grpo"]}
    assert study(tmp_path, empty, toy).hub_files() == empty
