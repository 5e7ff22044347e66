"""Pages and passages that are made from the code are in step with it, and every metric that is named is declared."""

import importlib
import re
import sys
from pathlib import Path

import pytest

from selfdistill.runs.metrics import METRICS, undeclared
from selfdistill.signals.hints import REASONS

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "workflow/selfdistill"


MADE = [
    "config/README.md",
    "config/defaults.yaml",
    "docs/claims.md",
    "docs/figures/packages.svg",
    "docs/figures/rules.svg",
    "docs/findings.md",
    "docs/methods.md",
    "docs/metrics.md",
    "docs/outputs.md",
    "docs/papers/opd.md",
    "docs/papers/rlcsd.md",
    "docs/papers/rlsd.md",
    "docs/papers/sdpo.md",
    "docs/papers/tc_rlsd.md",
    "docs/papers/test_time.md",
    "workflow/schemas/objectives.schema.yaml",
    "workflow/schemas/run.schema.yaml",
]


@pytest.fixture(scope="module")
def pages():
    """Every page as it would be made now, by its path in the repository."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "docs"))
        patch.delitem(sys.modules, "generate", raising=False)  # a benchmark of that name may have been imported
        module = importlib.import_module("generate")
    return {str(path.relative_to(ROOT)): text for path, text in module.pages().items()}


def test_every_page_that_is_made_is_looked_at(pages):
    assert sorted(pages) == MADE


@pytest.mark.parametrize("name", MADE)
def test_what_is_made_from_the_code_is_in_step_with_it(pages, name):
    assert (ROOT / name).read_text(encoding="utf-8") == pages[name], "run `make docs`"


def test_every_metric_that_the_library_names_is_declared():
    """In loss, trainer, figure or claim alike: a name that nobody logs would draw an empty figure without a word."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in LIBRARY.rglob("*.py"))
    prefixes = sorted({metric.name.partition("/")[0] for metric in METRICS} - {"val", "tokens"})
    named = re.findall(rf'"((?:{"|".join(prefixes)}|tokens)/[a-z_0-9.]+)"', source)
    assert len(set(named)) > 40
    assert not undeclared(named)
    assert not undeclared([f"hints/{reason}_share" for reason in REASONS])


def test_names_that_vary_are_known_and_others_are_not():
    assert not undeclared(["val/chain-3/mean@12", "timing_s/teacher"])
    assert undeclared(["val/mean@12", "actor/entropy_", "signal/lams"]) == [
        "val/mean@12",
        "actor/entropy_",
        "signal/lams",
    ]
