"""Slurm's clients as scripts on the PATH that say what a test wants, and write down how they were called."""

import os
from pathlib import Path

import pytest


class Clients:
    def __init__(self, folder: Path):
        self._folder = folder
        folder.mkdir()

    def say(self, name: str, text: str, status: int = 0) -> None:
        """From now on the client prints this text; on standard error where its status is not 0."""
        (self._folder / f"{name}.said").write_text(text)
        script = self._folder / name
        stream = " >&2" if status else ""
        here = self._folder / name
        script.write_text(f'#!/bin/sh\necho "$@" >> {here}.calls\ncat {here}.said{stream}\nexit {status}\n')
        script.chmod(0o755)

    def calls(self, name: str) -> list[str]:
        file = self._folder / f"{name}.calls"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def clients(tmp_path, monkeypatch):
    clients = Clients(tmp_path / "clients")
    monkeypatch.setenv("PATH", f"{tmp_path / 'clients'}{os.pathsep}{os.environ['PATH']}")
    return clients
