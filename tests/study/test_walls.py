"""Which part of the library may import which (pyproject.toml, import-linter), and what planning loads."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import SECONDS

ROOT = Path(__file__).parents[2]
WALLED = sorted(path.stem for path in (ROOT / "workflow/selfdistill/study").glob("[!_]*.py"))


def lint(library: Path) -> subprocess.CompletedProcess:
    """Check the contracts of pyproject.toml on a library of its own place."""
    command = [shutil.which("lint-imports", path=Path(sys.executable).parent), "--no-cache"]
    command += ["--config", str(ROOT / "pyproject.toml")]
    return subprocess.run(
        command,
        cwd=library,
        env=os.environ | {"PYTHONPATH": str(library), "COLUMNS": "200"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=SECONDS,
    )


@pytest.mark.parametrize(
    ("module", "imported", "broken"),
    [
        (None, None, None),
        ("study/paths.py", "import numpy", "selfdistill.study.paths -> numpy"),
        ("planning/measured.py", "from selfdistill.runs import metrics_log", "selfdistill.planning.measured"),
        ("tasks/schema.py", "import selfdistill.models.chat", "selfdistill.tasks.schema -> selfdistill.models.chat"),
        ("newcomer/__init__.py", "", "newcomer"),
    ],
    ids=["as it is", "heavy", "heavy by way of another", "upwards", "a part without a place"],
)
def test_the_walls_stand_and_an_import_through_one_is_found(tmp_path, module, imported, broken):
    shutil.copytree(ROOT / "workflow/selfdistill", tmp_path / "selfdistill", ignore=lambda *_: ["__pycache__"])
    if module is not None:
        (tmp_path / "selfdistill" / module).parent.mkdir(exist_ok=True)
        with (tmp_path / "selfdistill" / module).open("a") as file:
            file.write(f"\n{imported}\n")
    done = lint(tmp_path)
    assert (done.returncode == 0) == (broken is None), done.stdout
    assert broken is None or broken in done.stdout


def test_no_module_of_planning_loads_anything_heavy():
    """By importing them: the contracts see no import that a library of others makes."""
    heavy = {"torch", "transformers", "numpy", "pandas", "pyarrow", "scipy", "verl", "hydra", "ray"}
    names = [f"selfdistill.study.{name}" for name in WALLED] + ["selfdistill.planning.plan", "selfdistill.hub.lock"]
    code = f"import sys, {', '.join(names)}; print(*({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""
    assert len(WALLED) > 10
