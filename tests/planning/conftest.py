"""Studies of the shipped configuration, in a folder without results."""

import json
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from selfdistill.planning import estimates, measured, requests
from selfdistill.study.study import Study, load_study

ROOT = Path(__file__).parents[2]


def a_study(name: str, *texts: str) -> Study:
    """The study of config/<name>.yaml, with more YAML over it."""
    config: dict = {}
    for file in ("defaults", "models", "methods", "tasks", name):
        update_config(config, yaml.safe_load((ROOT / f"config/{file}.yaml").read_text()))
    for text in texts:
        update_config(config, yaml.safe_load(text))
    return load_study(config)


def leave_run(study: Study, task: str, model: str, variant: str, seed=0, *, wall: float, gpus: int, **changes) -> None:
    """What planning reads of a finished training run, under the current folder."""
    folder = Path(f"results/runs/{task}/{model}/{variant}/seed{seed}")
    folder.mkdir(parents=True)
    settings = study.resolve(task, model, variant, seed) | changes
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    facts = {"wall_seconds": wall, "gpu_hours": gpus * wall / 3600}
    (folder / "provenance.json").write_text(json.dumps(facts))


def leave_draws(study: Study, task: str, model: str, variant: str, seed=0, *, wall: float, gpus: int) -> None:
    """What planning reads of an evaluation."""
    folder = Path(f"results/draws/{task}/{model}/{variant}/seed{seed}")
    folder.mkdir(parents=True)
    for benchmark in study.config["tasks"][task]["benchmarks"]:
        (folder / f"{benchmark}.parquet").write_text("draws")
    facts = {"engine": "vllm", "wall_seconds": wall, "gpus": gpus}
    (folder / "evaluation.json").write_text(json.dumps(facts))


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    """Nothing has been run; what another test read is forgotten."""
    (tmp_path / "resources").symlink_to(ROOT / "resources")
    monkeypatch.chdir(tmp_path)
    for known in (
        *(measured.trainings, measured.evaluations, estimates.training, estimates.evaluation),
        *(requests.training_request, requests.evaluation_request),
    ):
        known.cache_clear()


@pytest.fixture(scope="session")
def paper(tmp_path_factory) -> Study:
    return a_study("paper")


@pytest.fixture
def demo() -> Study:
    return a_study("demo")


@pytest.fixture
def study_with():
    """`a_study`, for tests that change something."""
    return a_study


@pytest.fixture
def left_run():
    """`leave_run`."""
    return leave_run


@pytest.fixture
def left_draws():
    """`leave_draws`."""
    return leave_draws
