"""A report and a site as the workflow makes them, of made-up runs, and a browser to open them in."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from made_up_study import make_study
from repository import ROOT, copy_repository
from tab import FLAGS, Tab, executable, install
from token_records import record, words

from selfdistill.runs.records import write_records

SCREENSHOTS = Path(__file__).parent / "screenshots"
#: Of one recorded response.
LONG = 16_000
VARIANTS = ["base", "grpo", "opsd", "rlcsd", "opsd_ectr"]


@pytest.fixture(scope="session")
def browser():
    """A browser with settings of its own, which go with it. A test that needs it fails where there is none."""
    if reason := install():
        pytest.fail(reason, pytrace=False)
    from playwright.sync_api import sync_playwright  # not in verl's environment, which collects these tests too

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable(), args=FLAGS, timeout=300_000)
        yield opened
        opened.close()


@pytest.fixture
def tab(browser):
    tab = Tab(browser)
    yield tab
    tab.close()


@pytest.fixture(scope="session")
def results(tmp_path_factory) -> Path:
    """The folder results/ of a matrix of which one variant is missing, site and report.html made by Snakemake."""
    folder = tmp_path_factory.mktemp("browser")
    copy_repository(folder)
    (folder / "docs").mkdir()
    shutil.copy(ROOT / "docs/departures.md", folder / "docs")
    _write_source(folder / "draws", folder / "study")
    matrix = f"matrix={{variants: [{', '.join([*VARIANTS, 'sdpo'])}], seeds: [0, 1]}}"
    config = ["--config", "draws={source: draws}", "aggregate=available", matrix, "--"]
    for more in ([], ["--report", "results/report.html"]):
        command = [sys.executable, "-m", "snakemake", "--cores", "2", "--nocolor", *more, *config, "results/site"]
        done = subprocess.run(command, cwd=folder, text=True, capture_output=True, timeout=1500)
        assert done.returncode == 0, done.stderr[-4000:]
    return folder / "results"


def _write_source(source: Path, study: Path) -> None:
    """Draws, metrics and provenance of made-up runs as `draws.source` has them; token by token, two of them."""
    for run in make_study(study, VARIANTS, seeds=(0, 1), models=("tiny_qwen3",)).runs:
        folder = source / run.name
        folder.mkdir(parents=True)
        for path in (*run.draws.values(), *filter(None, (run.metrics, run.config, run.provenance))):
            shutil.copy(path, folder)
        if run.task == "knights" and run.seed == 0 and run.method in ("opsd", "rlcsd"):
            distils = run.method == "opsd"
            rows = [record(words(40), step=1, distilled=distils, hints=0 if distils else 2)]
            if not distils:
                rows.append(record(words(LONG), step=10))
            write_records(folder / "records.parquet", rows)
