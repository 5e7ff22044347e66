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


def test_every_pattern_says_in_words_what_it_expects():
    def untold(node: object) -> list[object]:
        parts = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        own = [node] if isinstance(node, dict) and isinstance(node.get("pattern"), str) and "title" not in node else []
        return own + [each for part in parts for each in untold(part)]

    names = [path.name.removesuffix(".schema.yaml") for path in (ROOT / "workflow" / "schemas").glob("*.schema.yaml")]
    assert {name: found for name in names if (found := untold(schema(name)))} == {}
