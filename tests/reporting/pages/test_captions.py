"""Captions are templates that only `snakemake --report` fills in: here each is rendered, with the shipped config."""

import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from docutils import nodes
from docutils.core import publish_doctree
from jinja2 import Environment, StrictUndefined
from snakemake.iocontainers import Wildcards

from selfdistill.reporting.render.texts import SHOWN_AS_THEY_ARE, TABLES, demonstration

ROOT = Path(__file__).parents[3]
CAPTIONS = sorted((ROOT / "workflow/report").glob("*.rst"))
KNIGHTS = {"task": "knights"}
TOY = "not evidence for the paper's ranking of methods"


def merged(weaker, stronger):
    both = {key: merged(weaker[key], value) for key, value in stronger.items() if isinstance(weaker.get(key), dict)}
    return {**weaker, **stronger, **both}


@pytest.fixture(scope="module")
def config():
    return read("demo")


def read(name: str):
    """The shipped config of this name, over the defaults and the registries."""
    found = {}
    for file in ("defaults", "models", "methods", "tasks", name):
        found = merged(found, yaml.safe_load((ROOT / f"config/{file}.yaml").read_text(encoding="utf-8")))
    return found


def rendered(caption: Path, config, wildcards=KNIGHTS) -> str:
    """The caption's text, as Snakemake's templates have it; a warning of docutils fails."""
    return " ".join(source_of(caption, config, wildcards).split())


def source_of(file: Path, config, wildcards=KNIGHTS, caption="") -> str:
    toys = [name for name in config["tasks"] if config["tasks"][name]["data"]["source"] == "generated"]
    config = {**config, "report": {"demonstration": demonstration(toys), "as_they_are": SHOWN_AS_THEY_ARE}}
    params = SimpleNamespace(caption=caption)
    snakemake = SimpleNamespace(config=config, wildcards=Wildcards(fromdict=wildcards), params=params)
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = environment.from_string(file.read_text(encoding="utf-8")).render(snakemake=snakemake)
    publish_doctree(text, settings_overrides={"halt_level": 2, "report_level": 2})
    return text


@pytest.mark.parametrize("caption", CAPTIONS, ids=lambda path: path.stem)
def test_every_caption_ends_with_what_is_said_of_toy_tasks(caption, config):
    assert rendered(caption, config).count(f"**{TOY}**") == 1
    real = copy.deepcopy(config)
    for task in real["tasks"].values():
        task["data"]["source"] = "my/data"
    assert "paper's ranking" not in rendered(caption, real)


@pytest.mark.parametrize("name", TABLES)
def test_what_is_said_of_a_table_is_restructured_text(name, config):
    text = source_of(ROOT / "workflow/report/table.rst", config, caption=TABLES[name].caption)
    assert TABLES[name].lead in text


def test_benchmarks_of_other_tasks_are_named_as_such(config):
    also = merged(config, {"tasks": {"arithmetic": {"also": {"math": {"problems": 10}, "logic": {}}}}})
    text = rendered(ROOT / "workflow/report/workflow.rst", also)
    assert "Also those of math, the first 10 problems of each (shown, never counted): amc23, aime24, aime25." in text
    assert "Also those of logic (shown, never counted): kk_4to8_test, kk_9, kk_10, kk_11. * Task **knights**" in text


def test_the_demo_says_which_methods_are_shown_as_they_are(config):
    text = rendered(ROOT / "workflow/report/workflow.rst", config)
    assert "opsd, sdpo, opsd_ectr, rlsd_ectr: shown as they are" in text
    few = merged(config, {"matrix": {"variants": ["base", "grpo", "rlcsd"]}})
    text = rendered(ROOT / "workflow/report/workflow.rst", few)
    assert "shown as they are" not in text
    assert "Changes to their methods" not in text


def test_variants_stand_with_their_changes(config):
    changed = merged(
        config,
        {
            "matrix": {"variants": ["base", "rlcsd", "rlcsd-x", "rlcsd-y"], "seeds": [0, 1, 2]},
            "variants": {
                "rlcsd-x": {"method": "rlcsd", "set": {"objective": {"anchor": False, "tau": 0.05}, "steps": 7}},
                "rlcsd-y": {"method": "rlcsd", "set": {"hints": {"source": "gt_cot"}}},
            },
        },
    )
    text = rendered(ROOT / "workflow/report/workflow.rst", changed)
    assert "* rlcsd-x: rlcsd with ``objective.anchor: false``, ``objective.tau: 0.05``, ``steps: 7`` *" in text
    assert "* rlcsd-y: rlcsd with ``hints.source: gt_cot`` **What it shows.**" in text
    assert "24 runs" in text
    lists = publish_doctree(source_of(ROOT / "workflow/report/workflow.rst", changed)).findall(nodes.bullet_list)
    assert [len(each) for each in lists if "rlcsd-x: rlcsd" in each[0].astext().partition("\n")[0]] == [2]


def test_what_a_warm_start_builds_in_is_told_of_each_toy_as_it_is(config):
    text = rendered(ROOT / "workflow/report/workflow.rst", config)
    assert "* The base models of arithmetic and knights were shown direct answers on purpose" in text
    both = merged(config, {"matrix": {"tasks": ["arithmetic", "cells"]}})
    text = rendered(ROOT / "workflow/report/workflow.rst", both)
    assert "* The base models of arithmetic were shown direct answers on purpose" in text
    assert "* cells: The base model of cells was warm-started to read a row of the picture aloud" in text
    assert "direct answers" not in rendered(
        ROOT / "workflow/report/workflow.rst", merged(config, {"matrix": {"tasks": ["cells"]}})
    )


@pytest.mark.parametrize(("name", "runs"), [("paper", 92), ("verl_cpu", 3)])
def test_other_configs_have_the_page_too(config, name, runs):
    """Blocks whose union is run, variants that are a method under another name."""
    registries = {key: value for key, value in config.items() if key not in ("matrix", "overrides")}
    alone = merged(registries, yaml.safe_load((ROOT / f"config/{name}.yaml").read_text(encoding="utf-8")))
    text = rendered(ROOT / "workflow/report/workflow.rst", alone)
    assert f"{runs} runs" in text
    if name == "paper":
        assert "Task **math**" in text
        assert "Task **logic**" in text
        assert "* rlcsd-no_anchor: rlcsd with ``objective.anchor: false``" in text
    else:
        assert "* grpo-verl: grpo under a name of its own" in text
