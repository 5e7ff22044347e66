"""Configurations as Snakemake merges them, out of the shipped files and more YAML on top."""

import copy
import functools
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from selfdistill.errors import UserError
from selfdistill.study.layer_order import Layer
from selfdistill.study.study import Study, load_study

ROOT = Path(__file__).parents[2]
REGISTRIES = [ROOT / "config" / f"{name}.yaml" for name in ("defaults", "models", "methods", "tasks")]
DEMO = ROOT / "config" / "demo.yaml"
VERL = "overrides: {all: {trainer: verl, rollout: {engine: vllm, old_logprobs: recompute}}}"
#: What stands for the file of a configuration that is in none.
NO_FILE = "no-file.yaml"
#: Of a run whose layers are asked for.
NAMES = {
    "task": "arithmetic",
    "model": "tiny_qwen3",
    "variant": "probe",
    "method": "rlcsd",
    "implementation": "rlcsd",
    "preset": "corrected",
}


def merged(*texts: str, files=(*REGISTRIES, DEMO)) -> dict:
    """The config as Snakemake merges it: files, then more YAML on top."""
    config = {}
    for text in [*(Path(file).read_text() for file in files), *texts]:
        update_config(config, copy.deepcopy(_parsed(text)))
    return config


@functools.cache
def _parsed(text: str) -> dict:
    return yaml.safe_load(text)


@functools.cache
def study_of(*texts: str, files=(*REGISTRIES, DEMO)) -> Study:
    """The study of files and more YAML on top: one for equal texts, so of what nobody changes on the disk."""
    return load_study(merged(*texts, files=files))


def shipped(*names: str) -> tuple[Path, ...]:
    """The registries, and configurations of config/ on top."""
    return (*REGISTRIES, *(ROOT / "config" / f"{name}.yaml" for name in names))


def resolved(*texts: str, variant="rlcsd", task="arithmetic", seed=0) -> dict:
    """The settings of a run of the demo."""
    study = load_study(merged(*texts)) if "/" in "".join(texts) else study_of(*texts)  # what a path leads to may change
    return copy.deepcopy(study.resolve(task, "tiny_qwen3", variant, seed))


def refusal(*texts: str) -> str:
    """What is said of a demo that is refused, behind the place where the value was given, which every message names."""
    with pytest.raises(UserError) as caught:
        load_study(merged(*texts), elsewhere=NO_FILE)
    said = str(caught.value)
    assert said.startswith(f"{NO_FILE}: "), said
    return said.removeprefix(f"{NO_FILE}: ")


def flat(settings: dict, prefix: str = "") -> dict:
    """Dotted key -> value."""
    result = {}
    for key, value in settings.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return result


def in_layer(layer: Layer, optimizer: dict) -> str:
    """A layer of that run as YAML, with these settings of the optimizer in it."""
    node: dict = {"optimizer": optimizer}
    for key in reversed(layer.path(NAMES)):
        node = {key: node}
    return yaml.safe_dump(node)
