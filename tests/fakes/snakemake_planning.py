"""Snakemake in processes that have imported it already: importing it takes as long as planning."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

_LIMIT = 900  # seconds


def plan(folder: Path, words: list[str]) -> subprocess.CompletedProcess:
    """Run `snakemake WORDS` in a folder, where no job is to run; return its status and all that it says."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "snakemake.cli", "selfdistill.study.results", "selfdistill.planning"])
    with tempfile.NamedTemporaryFile("r", suffix=".log") as said:
        process = context.Process(target=_snakemake, args=(str(folder), words, said.name, dict(os.environ)))
        process.start()
        process.join(_LIMIT)
        if process.is_alive():
            process.kill()
            raise TimeoutError(f"snakemake {' '.join(words)}: not done after {_LIMIT} s")
        return subprocess.CompletedProcess(words, process.exitcode, stdout=said.read())


def _snakemake(folder: str, words: list[str], said: str, environment: dict[str, str]) -> None:
    from snakemake.cli import main

    with open(said, "a", buffering=1) as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
        sys.stdout = sys.stderr = file
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        sys.argv = ["snakemake", *words]
        main(words)  # ends with SystemExit, which is the process's own status
