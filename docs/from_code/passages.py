"""How what is made gets into a page, and how a value and a number of a departure are written."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "workflow" / "selfdistill"
NOTE = "<!-- Made by `make docs`; do not edit. -->"


def plain(value: object) -> str:
    """Returns a value as YAML has it."""
    if isinstance(value, str):
        return f"`{value}`"
    if isinstance(value, list):
        return f"`{value}`"
    if type(value) in (int, float):
        return f"{value:g}" if 0 < abs(value) < 1e-3 else repr(value)
    return {None: "null", True: "true", False: "false"}[value]


def linked(meaning: str) -> str:
    """Returns a sentence whose numbers of departures are links."""
    return re.sub(r"\b(D\d+)\b", r"[\1](../docs/departures.md#by-number)", meaning)


def with_passage(page: str, name: str, text: str) -> str:
    """Returns a page whose passage between the marks `<!-- <name> -->` and `<!-- /<name> -->` is `text`."""
    begin, end = f"<!-- {name}: made by `make docs` -->", f"<!-- /{name} -->"
    assert begin in page, f"no mark {begin}"
    assert end in page, f"no mark {end}"
    return re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n{text}\n{end}", page, flags=re.DOTALL)
