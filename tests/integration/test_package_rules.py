"""A model out of a package through the real rules: fetched by pip, converted, warmed up for a task."""

import json
import os
import subprocess
import sys

import pytest
import tiny_package
import torch
import yaml
from repository import copy_repository

from selfdistill.models.loading import load_model

pytestmark = pytest.mark.slow

CONFIG = """
matrix: {tasks: [sums], models: [tiny, plain], variants: [base], seeds: [0]}
"""


@pytest.fixture
def place(tmp_path):
    """A copy of the workflow in which two models are the tiny package's, one of them with a warm start."""
    copy_repository(tmp_path / "clone")
    package = tiny_package.write_wheel(tmp_path / "index")
    recipe = yaml.safe_load((tmp_path / "clone/config/models.yaml").read_text())["models"]["smollm2_135m"]["warm_start"]
    recipe["sums"]["training"] |= {"steps": 3, "batch_size": 2}
    entry = {"parameters": 1e5, "source": "package", "package": package}
    models = {"tiny": {**entry, "warm_start": {"sums": recipe["sums"]}}, "plain": entry}
    (tmp_path / "clone/mine.yaml").write_text(CONFIG + yaml.safe_dump({"models": models}))
    return tmp_path / "clone"


def snakemake(place, *targets, **environment):
    pip = {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(place.parent / "index")}
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--nocolor", "--configfile", "mine.yaml", "--"]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    environment = {**os.environ, **pip, **environment}
    return subprocess.run([*command, *targets], cwd=place, env=environment, timeout=900, check=False, **output)


def test_one_package_makes_the_model_for_all_tasks_and_the_one_that_is_warmed_up(place):
    # Nothing to fetch it from: one line, and nothing left.
    refused = snakemake(place, "results/models/plain", PIP_FIND_LINKS=str(place))
    assert refused.returncode != 0
    [line] = [line for line in refused.stdout.splitlines() if "package tiny-llm 0.1 cannot be had" in line]
    log = (place / "results/logs/base_model/plain.log").read_text()
    assert line in log
    assert "Traceback" not in refused.stdout + log
    assert not [path for path in (place / "results/models").rglob("*") if path.is_file()]
    done = snakemake(place, "results/models/plain", "results/models/tiny/sums")
    assert done.returncode == 0, done.stdout
    folders = [place / "results" / name for name in ("models/plain", "pretrained/tiny", "models/tiny/sums")]
    plain, pretrained, warmed = (load_model(folder, torch.device("cpu"))[0].state_dict() for folder in folders)
    assert all(torch.equal(plain[name], pretrained[name]) for name in plain)
    assert not torch.equal(plain["model.norm.weight"], warmed["model.norm.weight"])
    for folder in folders:
        assert (folder / "LICENSE").read_text() == "A licence.\n"
    assert json.loads((folders[2] / "origin.json").read_text())["warm_start"]["sums"]["training"]["steps"] == 3
    assert "warm start step 3/3" in (place / "results/logs/base_model/tiny/sums.log").read_text()
