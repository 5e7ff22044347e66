"""Data of the hub through the real rules, from a server on the loopback: the lock, the faults, and their end."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import hub_server
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from repository import ROOT, copy_repository

from selfdistill.tasks.schema import Problem, read_problems, write_problems

pytestmark = pytest.mark.slow

FILE = "arithmetic_3to8/train.parquet"
VAL = "chain-3+chain-5+chain-8+chain-10/val.parquet"
CONFIG = """
matrix: {tasks: [arithmetic], models: [tiny_qwen3, small], variants: [base, grpo], seeds: [0]}
tasks: {arithmetic: {data: {source: hub, hub: {id: owner/data, revision: main}}}}
models: {small: {parameters: 2.3e5, source: hub, hub: {id: owner/model, revision: main}}}
"""
WEIGHTS = "model.safetensors"
TOKEN = "hf_secretsecretsecret"
SHIPPED = ROOT / "resources" / "base_models" / "tiny_qwen3" / "arithmetic"


class Place:
    """A copy of the workflow that fetches from a hub of its own."""

    def __init__(self, folder: Path, endpoint: str):
        self.folder = folder
        copy_repository(folder)
        (folder / "mine.yaml").write_text(CONFIG)
        self.environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "cache"), "HF_TOKEN": TOKEN}
        self.environment |= {"HF_HUB_DOWNLOAD_TIMEOUT": "60", "HF_HUB_ETAG_TIMEOUT": "60"}
        for name in ("HF_HUB_OFFLINE", "SELFDISTILL_HUB_MIRROR", "HF_HUB_CACHE"):
            self.environment.pop(name, None)
        self.said = ""

    def snakemake(self, *targets: str, success: bool = True) -> str:
        command = [sys.executable, "-m", "snakemake", "--cores", "1", "--nocolor", "--keep-going"]
        command += ["--configfile", "mine.yaml"]
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        done = subprocess.run(
            [*command, "--", *targets], cwd=self.folder, env=self.environment, timeout=900, check=False, **output
        )
        assert (done.returncode == 0) == success, done.stdout + self.logs()
        self.said += done.stdout
        return done.stdout

    def logs(self) -> str:
        return "\n".join(file.read_text() for file in (self.folder / "results" / "logs").rglob("*.log"))


@pytest.fixture
def hub(tmp_path):
    path = tmp_path / "made.parquet"
    names = VAL.partition("/")[0].split("+")
    rows = [Problem(f"a/{i}", names[i % 4], f"question {i}", "1", "", "", i, "train") for i in range(2000)]
    write_problems(path, rows)
    data = {FILE: path.read_bytes(), VAL: path.read_bytes()}
    model = {file.name: file.read_bytes() for file in SHIPPED.iterdir()}
    files = {"datasets/owner/data": data, "models/owner/model": {**model, "modeling_own.py": b"raise SystemExit"}}
    with hub_server.serving(hub_server.Hub(files, needs=TOKEN)) as hub:
        yield hub


def test_data_and_model_are_locked_fetched_and_every_fault_is_one_line(hub, tmp_path):
    place = Place(tmp_path / "clone", hub.endpoint)
    target = f"results/data/{FILE}"
    # Without a lock: planned, but refused by the job.
    refused = place.snakemake(target, success=False)
    assert f"config/hub.lock.yaml: nothing for {FILE} of owner/data@main" in refused
    assert "make lock CONFIG=" in refused
    # The lock.
    place.snakemake("lock")
    lock = yaml.safe_load((place.folder / "config" / "hub.lock.yaml").read_text())
    assert lock["datasets"]["owner/data@main"]["files"].keys() == {FILE, VAL}
    assert "model.safetensors" in lock["models"]["owner/model@main"]["files"]
    assert "modeling_own.py" not in lock["models"]["owner/model@main"]["files"]
    written = (place.folder / "config" / "hub.lock.yaml").read_bytes()
    place.snakemake("lock")
    assert (place.folder / "config" / "hub.lock.yaml").read_bytes() == written
    # Each fault: one line on the terminal and in the log, nothing left; then all is well.
    logs = {name: f"data/{name.removesuffix('.parquet')}" for name in (FILE, VAL)} | {WEIGHTS: "base_model/small"}
    faults = {FILE: "404", VAL: "wrong bytes", WEIGHTS: "html"}
    causes = {
        FILE: "no such file (404)",
        VAL: "not what was locked (sha256 ",
        WEIGHTS: "a web page (HTML) came in place of the file",
    }
    targets = (target, f"results/data/{VAL}", "results/models/small")
    hub.faults |= faults
    said = place.snakemake(*targets, success=False)
    for name, cause in causes.items():
        [line] = [line for line in said.splitlines() if cause in line]
        assert name in line
        log = place.folder / f"results/logs/{logs[name]}.log"
        assert line in log.read_text()
        assert "Traceback" not in said + log.read_text()
    made = [path for part in ("data", "models") for path in (place.folder / "results" / part).rglob("*")]
    assert not [path for path in made if path.is_file()]
    assert not list((place.folder / "cache").rglob("*.incomplete"))
    shutil.rmtree(place.folder / "cache")
    del hub.faults[WEIGHTS]
    hub.faults |= {FILE: ["cut", 2], VAL: ["503", 2]}
    place.snakemake(*targets)
    assert len(read_problems(place.folder / target)) == 2000
    for name in (FILE, VAL):
        assert (place.folder / "results/data" / name).read_bytes() == hub.files["datasets/owner/data"][name]
    found = {path.name: path.read_bytes() for path in (place.folder / "results" / "models" / "small").iterdir()}
    found.pop(".snakemake_timestamp", None)
    assert found == {file.name: file.read_bytes() for file in SHIPPED.iterdir()}
    assert TOKEN not in place.said + place.logs()
    for file in (path for part in ("results", ".snakemake") for path in (place.folder / part).rglob("*")):
        assert not file.is_file() or TOKEN.encode() not in file.read_bytes(), file


def without_prompts(parquet: bytes) -> bytes:
    table = pq.read_table(pa.BufferReader(parquet))
    out = pa.BufferOutputStream()
    pq.write_table(table.drop_columns(["prompt"]), out)
    return out.getvalue().to_pybytes()


def test_a_file_that_is_broken_on_the_hub_itself_is_named_and_a_new_lock_takes_the_repaired_one(hub, tmp_path):
    """Size and hash are as locked, so only reading it tells."""
    place = Place(tmp_path / "clone", hub.endpoint)
    target = f"results/data/{FILE}"
    repaired = hub.files["datasets/owner/data"][FILE]
    hub.files["datasets/owner/data"][FILE] = without_prompts(repaired)
    place.snakemake("lock")
    said = place.snakemake(target, success=False)
    [line] = [line for line in said.splitlines() if FILE in line and "missing column prompt" in line]
    log = (place.folder / f"results/logs/data/{FILE.removesuffix('.parquet')}.log").read_text()
    assert line in log
    assert "Traceback" not in said + log
    assert not [path for path in (place.folder / "results" / "data").rglob("*") if path.is_file()]
    hub.files["datasets/owner/data"][FILE] = repaired
    (place.folder / "config" / "hub.lock.yaml").unlink()
    place.snakemake("lock")
    place.snakemake(target)
    assert len(read_problems(place.folder / target)) == 2000
