"""The files of envs/: complete pins, the same for pip and conda, and what they must and must not hold."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
VERL = ("verl_cpu", "verl_gpu")


def pins(name: str) -> dict[str, str]:
    """Version of each package of a lock, by its normalised name."""
    assert all(re.fullmatch(r"[\w.-]+==[\w.+]+", line) for line in lines(name))
    found = {normal(line.split("==")[0]): line.split("==")[1] for line in lines(name)}
    assert len(found) == len(lines(name))
    return found


def lines(name: str) -> list[str]:
    return [line for line in text(name).splitlines() if not line.startswith("#")]


def text(name: str) -> str:
    return (ROOT / "envs" / f"{name}.lock.txt").read_text()


def normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


@pytest.mark.parametrize("name", ["local", *VERL])
def test_conda_installs_the_lock(name):
    environment = yaml.safe_load((ROOT / "envs" / f"{name}.yaml").read_text())
    assert environment["dependencies"][-1]["pip"] == lines(name)


@pytest.mark.parametrize("name", VERL)
def test_a_lock_says_how_it_is_installed_and_its_script_removes_what_it_leaves_out(name):
    assert f"pip install --no-deps --requirement envs/{name}.lock.txt" in text(name)
    [removed] = re.findall(r"pip uninstall --yes (.+)", (ROOT / "envs" / f"{name}.post-deploy.sh").read_text())
    assert not pins(name).keys() & set(removed.split())


@pytest.mark.parametrize("name", VERL)
def test_a_lock_has_all_that_the_package_asks_for_at_versions_that_it_allows(name):
    """Extras included: what pyproject.toml pins and what the lock pins must not drift apart."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = (
        project["dependencies"]
        + extras["workflow"]
        + extras["verl"]
        + extras["verl-cpu" if name == "verl_cpu" else "gpu"]
    )
    found = pins(name)
    for requirement in asked:
        package, exact = re.fullmatch(r"([\w-]+)(?:\[[\w,]+\])?(?:==(\S+)|>=\S+)?", requirement).groups()
        if package == "selfdistill":
            continue
        assert normal(package) in found, requirement
        assert exact is None or found[normal(package)].split("+")[0] == exact, requirement


def test_the_stack_that_was_not_run_differs_from_the_one_that_was_only_where_it_must():
    """A resolver once went back to hydra-core 0.11 without a word."""
    cpu, gpu = map(pins, VERL)
    differing = {package for package in cpu.keys() & gpu.keys() if cpu[package] != gpu[package]}
    assert differing <= {"torch", "transformers", "triton", "xgrammar", "apache-tvm-ffi", "setuptools"}


def test_the_locks_agree_on_what_makes_numbers_and_reports():
    """One workflow writes its files with either: the same Snakemake, grader and tables."""
    local = pins("local")
    assert not {line.split("==")[0] for line in lines("dev")} & {line.split("==")[0] for line in lines("local")}
    for package in ("snakemake", "math-verify", "sympy", "latex2sympy2-extended"):
        assert {pins(name)[package] for name in VERL} == {local[package]}, package
