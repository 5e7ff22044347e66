"""The order of the layers, which is data."""

import re
from pathlib import Path

from selfdistill.study.layers import LAYERS

ROOT = Path(__file__).parents[2]


def test_the_readme_lists_the_layers_in_their_order():
    readme = (ROOT / "config" / "README.md").read_text()
    passage = readme.split("## A run's settings and their layers")[1].split("\nThe result")[0]
    listed = re.findall(r"`((?:defaults|(?:presets|methods|tasks|models|overrides|variants)\.)[^`]*)`", passage)
    names = {name: f"<{name}>" for name in ("task", "model", "variant", "method", "preset")}
    names["implementation"] = "<implementation of the method>"
    assert listed == [".".join(layer.path(names)) for layer in LAYERS]
