"""Schemas, classes and config/README.md name the same keys."""

import dataclasses
import re

from configurations import ROOT

from selfdistill.schemas import schema


def test_objective_schemas_name_the_settings_of_the_implemented_methods():
    from selfdistill.objectives.methods import METHODS

    fields = {name: [field.name for field in dataclasses.fields(kind)] for name, kind in METHODS.items()}
    listed = {name: list(part["properties"]) for name, part in schema("objectives")["properties"].items()}
    assert {name: sorted(keys) for name, keys in listed.items()} == {
        name: sorted(keys) for name, keys in fields.items()
    }


def test_every_key_is_explained_in_the_readme():
    readme = (ROOT / "config" / "README.md").read_text()

    def keys(node: dict) -> set[str]:
        own = node.get("properties", {})
        inner = [*own.values(), node.get("additionalProperties"), node.get("items")]
        return set(own).union(*(keys(sub) for sub in inner if isinstance(sub, dict)))

    names = set().union(*(keys(schema(name)) for name in ("config", "run", "objectives", "tasks", "models", "methods")))
    assert sorted(name for name in names if not re.search(rf"[`.]{name}[`.]", readme)) == []
    for section, part in schema("run")["properties"].items():
        for key in part.get("properties", {}):
            assert f"`{section}.{key}`" in readme


def test_every_objective_key_is_explained_for_each_method_that_has_it():
    readme = (ROOT / "config" / "README.md").read_text()
    table = readme.split("| `objective` of |")[1].split("\n\n")[0]
    explained = set()
    for row in table.splitlines()[2:]:
        methods, keys = (re.findall(r"`(\w+)`", cell) for cell in row.split("|")[1:3])
        explained |= {(method, key) for method in methods for key in keys}
    parts = schema("objectives")["properties"]
    assert explained == {(method, key) for method, part in parts.items() for key in part["properties"]}
