"""What jobs ask of a cluster under profiles/slurm, and which value wins where profiles, rules, command line differ."""

import re
from pathlib import Path

import pytest
import yaml
from snakemake.cli import parse_args

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def asked(furnished):
    """(rule, model, variant) -> resources of the jobs of config/paper.yaml under profiles/slurm."""
    done = furnished.dry_run("--profile", "profiles/slurm", "--configfile", "config/paper.yaml")
    assert done.returncode == 0, done.stdout
    return resources(done.stdout)


def resources(text: str) -> dict[tuple[str, str, str], dict[str, str]]:
    found = {}
    for block in re.split(r"\n(?=(?:local)?rule )", text)[1:]:
        rule = re.match(r"(?:local)?rule (\w+):", block).group(1)
        names = dict(re.findall(r"(model|variant|task)=([^,\n]+)", block))
        line = re.search(r"^    resources: (.*)$", block, re.MULTILINE)
        values = dict(pair.split("=", 1) for pair in line.group(1).split(", ")) if line else {}
        found[rule, names.get("model", ""), names.get("variant", "")] = values
    return found


def test_training_asks_for_gpus_memory_time_and_cores_by_model_size(asked):
    small, large = (asked["train", f"qwen3_{size}", "rlcsd"] for size in ("1_7b", "8b"))
    for each in (small, large):
        assert each["gres"] == "gpu:8"
        assert each["nodes"] == "1"
        assert each["cpus_per_task"] == "64"
        assert each["runtime"] == "1440"  # no partition is asked for more than a day; the run goes on by requeueing
    assert int(small["mem_mb"]) < int(large["mem_mb"])


def test_evaluation_asks_for_one_gpu_and_other_jobs_for_none(asked):
    evaluation = asked["evaluate_math", "qwen3_4b", "base"]
    assert (evaluation["gres"], evaluation["nodes"]) == ("gpu:1", "1")
    for (rule, *_), values in asked.items():
        if rule != "train" and not rule.startswith("evaluate_"):
            assert "gres" not in values, rule
            if rule != "all":
                assert values["mem_mb"] == "4000", rule


def test_requests_grow_with_attempts_and_a_profile_may_ask_for_something_else(furnished):
    more = ["--set-resources", "train:gres='gpu:h100:4'", "train:mem_mb=1234"]
    words = ["--profile", "profiles/slurm", "--configfile", "config/paper.yaml"]
    done = furnished.dry_run(*words, *more)
    found = resources(done.stdout)["train", "qwen3_4b", "grpo"]
    assert (found["gres"], found["mem_mb"]) == ("gpu:h100:4", "1234")


def test_the_slurm_profile_is_merged_with_the_default_one_and_gives_way_to_the_command_line(monkeypatch):
    monkeypatch.chdir(ROOT)
    _, args = parse_args(["--profile", "profiles/slurm", "--jobs", "5"])
    assert args.executor == "slurm"
    assert args.jobs == 5
    assert args.retries == 2
    assert args.rerun_incomplete
    assert args.keep_going
    assert sorted(map(str, args.rerun_triggers)) == ["input", "mtime", "params"]
    _, args = parse_args(["--profile", "profiles/slurm"])
    assert args.jobs == 64


def test_every_setting_of_the_profiles_is_one_that_snakemake_or_the_executor_knows():
    """A misspelt key is passed over without a word."""
    from snakemake.cli import get_argument_parser

    parser = get_argument_parser()
    known = {option.lstrip("-") for action in parser._actions for option in action.option_strings}
    for file in (ROOT / "profiles").glob("*/config.yaml"):
        assert set(yaml.safe_load(file.read_text())) <= known, file


def test_jobs_with_and_without_gpus_find_their_partition():
    partitions = yaml.safe_load((ROOT / "profiles/slurm/partitions.yaml").read_text())["partitions"]
    assert sorted(bool(limits.get("max_gpu")) for limits in partitions.values()) == [False, True]
