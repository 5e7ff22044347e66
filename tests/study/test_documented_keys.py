"""config/README.md explains every key."""

import re

from configurations import ROOT

from selfdistill.schemas import schema


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
