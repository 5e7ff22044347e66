"""README.md and the documents beside it: the lines of Python run, and what commands name is there."""

import re
from importlib.util import find_spec

import pytest
from repository import ROOT

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [
        *ROOT.glob("*.md"),
        *ROOT.glob("[b-r]*/README.md"),
        *ROOT.glob("resources/*/README.md"),
        *(ROOT / "docs").rglob("*.md"),
    ]
)


def words_of_code(page: str) -> str:
    """What a page has in code spans and blocks, a command a line."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return "\n".join([*blocks, *re.findall(r"`([^`]+)`", rest)])


def test_the_lines_of_python_print_what_the_readme_says(capsys):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code, printed = re.search(r"```python\n(.*?)```\n+```text\n(.*?)```", text, flags=re.DOTALL).groups()
    exec(code, {})
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize("page", PAGES)
def test_what_commands_name_is_there(page):
    code = words_of_code(page)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    named = {
        name for line in re.findall(r"^make ((?:[a-z][a-z-]*(?: |$))+)", code, re.MULTILINE) for name in line.split()
    }
    assert named <= targets
    files = re.findall(
        r"(?<![\w./])((?:config|profiles|envs|examples|benchmarks|docs)/[\w./-]+\.(?:yaml|py|md|txt|csv))", code
    )
    assert not [name for name in files if not (ROOT / name).exists() and name not in MADE_BY_A_COMMAND]
    modules = re.findall(r"python -m (selfdistill[\w.]*)", code)
    assert not [name for name in modules if find_spec(name) is None]


#: Files that a user makes, or that a command of this project writes.
MADE_BY_A_COMMAND = {"config/hub.lock.yaml"}


def test_the_readme_names_commands():
    code = words_of_code("README.md")
    assert "make demo" in code
    assert len(re.findall(r"config/\w+\.yaml", code)) > 8
