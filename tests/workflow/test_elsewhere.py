"""Snakemake's usual ways to run a workflow from outside of its clone: -s, --directory, and a module."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from configurations import DEMO, REGISTRIES, merged
from repository import ROOT
from snakemake_planning import plan
from waiting import SECONDS

TINY = {"matrix": {"tasks": ["knights"], "models": ["tiny_qwen3"], "variants": ["base", "grpo"], "seeds": [0]}}
SNAKEFILE = f"{ROOT}/workflow/Snakefile"
TRAINED = "results/runs/knights/tiny_qwen3/grpo/seed0/config.yaml"
DATA = "results/data/knights_3/train.parquet"
MODULE = """
configfile: "mine.yaml"

module paper:
    snakefile: {snakefile!r}
    config: config
{prefix}

use rule * from paper as paper_*
"""


def of(said: str, rule: str) -> dict[str, list[str]]:
    """What a dry run says of a job: key -> its words."""
    block = re.search(rf"^rule {rule}:\n((?:    .*\n)+)", said, re.MULTILINE).group(1)
    lines = (line.strip().split(": ", 1) for line in block.splitlines())
    return {line[0]: line[1].split(", ") for line in lines if len(line) == 2}


def dry_run(folder: Path, *words: str) -> str:
    done = plan(folder, ["--cores", "1", "--nocolor", "--dry-run", *words])
    assert done.returncode == 0, done.stdout
    return done.stdout


def as_module(folder: Path, config: dict, prefix: str = "") -> None:
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))
    more = f"    prefix: {prefix!r}" if prefix else ""
    (folder / "Snakefile").write_text(MODULE.format(snakefile=SNAKEFILE, prefix=more))


@pytest.mark.parametrize("how", ["in the folder", "--directory"])
def test_the_workflow_is_planned_from_any_folder_with_its_registries_and_resources(tmp_path, how):
    (tmp_path / "work").mkdir()
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(TINY))
    words = ["--snakefile", SNAKEFILE, "--configfile", str(tmp_path / "mine.yaml")]
    folder = tmp_path / "work" if how == "in the folder" else tmp_path
    said = dry_run(folder, *words, *(["--directory", "work"] if how == "--directory" else []))
    assert of(said, "base_model")["input"] == [f"{ROOT}/resources/base_models/tiny_qwen3/knights/model.safetensors"]
    assert f"{ROOT}/resources/published/main_results.csv" in of(said, "tables")["input"]
    assert of(said, "departures")["input"] == [f"{ROOT}/docs/departures.md"]
    assert TRAINED in of(said, "train")["output"]
    assert f"workflow specific profile {ROOT}/workflow/profiles/default" in said


@pytest.mark.parametrize("whole", [False, True], ids=["a matrix", "whole"])
@pytest.mark.parametrize("prefix", ["", "sub/place"], ids=["", "prefix"])
def test_it_is_a_module_with_a_matrix_or_a_whole_configuration_with_and_without_a_prefix(tmp_path, whole, prefix):
    as_module(tmp_path, merged(yaml.safe_dump(TINY), files=(*REGISTRIES, DEMO)) if whole else TINY, prefix)
    placed = f"{prefix}/" if prefix else ""
    said = dry_run(tmp_path, f"{placed}results/site")
    assert of(said, "paper_base_model")["input"] == [
        f"{ROOT}/resources/base_models/tiny_qwen3/knights/model.safetensors"
    ]
    assert f"{placed}{TRAINED}" in of(said, "paper_train")["output"]
    outputs = re.findall(r"^    output: (.*)$", said, re.MULTILINE)
    assert all(file.startswith(f"{placed}results/") for files in outputs for file in files.split(", "))


def test_as_a_module_it_leaves_the_default_target_to_the_rules_before_it(tmp_path):
    as_module(tmp_path, TINY)
    snakefile = tmp_path / "Snakefile"
    assert "\nrule paper_all:\n" in dry_run(tmp_path)
    own = 'rule all:\n    output: "own.txt"\n    shell: "touch {output}"\n'
    snakefile.write_text(own + snakefile.read_text())
    assert re.findall(r"^rule (.*):$", dry_run(tmp_path), re.MULTILINE) == ["all"]


def test_data_of_ones_own_are_relative_to_the_working_directory_also_under_a_prefix(tmp_path):
    for dataset, split in (("knights_3", "train"), ("knights-2+knights-3+knights-4+knights-5", "val")):
        file = tmp_path / "own" / dataset / f"{split}.parquet"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"rows")
    as_module(tmp_path, TINY | {"tasks": {"knights": {"data": {"source": "own"}}}}, "sub")
    said = dry_run(tmp_path, f"sub/{DATA}")
    assert of(said, "paper_data")["input"] == [f"{tmp_path}/own/knights_3/train.parquet"]


def test_jobs_under_a_prefix_find_what_is_handed_to_them(tmp_path):
    """The real rules of data: the report reads the files that it is told of."""
    small = {"train": {"problems": 4}, "seed": 1}
    few = {f"knights-{n}": {"problems": 2} for n in (2, 3, 4, 5)}
    as_module(tmp_path, TINY | {"tasks": {"knights": {"data": {"generator": small}, "benchmarks": few}}}, "sub")
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--nocolor", "sub/results/data/report.csv"]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"sub/{DATA}" in {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.parquet")}
    assert {path.name for path in tmp_path.iterdir()} == {"Snakefile", "mine.yaml", "sub", ".snakemake"}


def test_state_lies_under_the_prefix(tmp_path):
    as_module(tmp_path, TINY, "sub")
    with (tmp_path / "Snakefile").open("a") as file:
        file.write(
            "\nfrom snakemake.iocontainers import Wildcards\n\n"
            "cell = Wildcards(fromdict=dict(task='knights', model='tiny_qwen3', variant='grpo', seed='0'))\n"
            "for name in ('train', 'evaluate_knights'):\n"
            "    print('state', dict(workflow.get_rule(f'paper_{name}').params.items())['state'](cell))\n"
        )
    said = dry_run(tmp_path, f"sub/{DATA}")
    assert len(re.findall(r"^state sub/results/state/[0-9a-f]{64}$", said, re.MULTILINE)) == 2


def test_a_registry_that_is_missing_is_named(tmp_path):
    (tmp_path / "workflow").symlink_to(ROOT / "workflow")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(TINY))
    done = plan(tmp_path, ["--cores", "1", "--dry-run", "--configfile", "mine.yaml"])
    assert done.returncode != 0
    assert "config/defaults.yaml: no such file; this registry belongs to the workflow" in done.stdout
    assert "Traceback" not in done.stdout
