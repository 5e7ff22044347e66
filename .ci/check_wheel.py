"""Checks a built wheel: installed into a fresh environment, the library works there, and so does the plug-in for verl.

    python .ci/check_wheel.py dist/selfdistill-*.whl [environment that has verl]

The fresh environment has nothing but the wheel; what it depends on is borrowed from the environment that runs this, or
from the one named, so that no package is installed twice. The repository is not on the path of anything that is run.
"""

import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

LIBRARY = """
import pkgutil, importlib, sys
from pathlib import Path
import selfdistill, snakemake_logger_plugin_selfdistill
home = Path(selfdistill.__file__).parent
assert home.is_relative_to(sys.prefix), home
names = [m.name for m in pkgutil.walk_packages(selfdistill.__path__, "selfdistill.") if ".verl" not in m.name]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
from selfdistill.objectives.methods import METHODS, build_method
from selfdistill.study.training_settings import published_run
for name in METHODS:
    assert build_method(name, {}).needs is not None
    assert published_run(name).implementation == name
from selfdistill.reporting.render.html import environment
environment().get_template("sortable_table.html")
print(f"{selfdistill.__version__}: {len(names)} modules, {len(METHODS)} methods, from {home}")
"""
PLUGIN = "+selfdistill.implementation=grop"
SAID = "unknown method 'grop'"


def main(wheel: Path, with_verl: Path | None) -> None:
    """Install the wheel twice, beside each environment's packages, and try it."""
    said = run_beside(Path(sysconfig.get_path("purelib")), wheel, ["-c", LIBRARY])
    print(said.strip().splitlines()[-1])
    if with_verl is not None:
        [packages] = (with_verl.resolve() / "lib").glob("python*/site-packages")
        said = run_beside(packages, wheel, ["-m", "selfdistill.training.verl", PLUGIN], status=1)
        assert SAID in said, said
        print(f"the plug-in for verl answers: {said.strip().splitlines()[-1]}")


def run_beside(packages: Path, wheel: Path, words: list[str], status: int = 0) -> str:
    """Run Python in a fresh environment that has the wheel, and borrows these packages; return what it says."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
        subprocess.run([*pip, wheel.resolve()], check=True, cwd=folder)
        [own] = (Path(folder) / "lib").glob("python*/site-packages")
        (own / "borrowed.pth").write_text(f"{packages}\n")  # what is in it is found; its own .pth files are not read
        done = subprocess.run(
            [python, *words], cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900
        )
        assert done.returncode == status, done.stdout
        return done.stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
