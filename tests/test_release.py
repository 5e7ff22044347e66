"""The version is said alike where it is said, and what is cited are the papers of the shipped methods."""

import re
import tomllib

import yaml
from repository import ROOT

import selfdistill
from selfdistill.methods.catalogue import shipped

ARXIV = re.compile(r"\b\d{4}\.\d{5}\b")


def test_the_version_is_one():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "selfdistill.__version__"}
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == selfdistill.__version__
    released = re.findall(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert released[0] == selfdistill.__version__


def test_every_paper_of_a_method_is_cited():
    named = {number for kind in shipped().values() for paper in kind.papers for number in ARXIV.findall(paper)}
    assert len(named) > 5
    assert named <= set(ARXIV.findall((ROOT / "docs/citations.md").read_text()))
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())["references"]
    numbers = {ARXIV.search(each["identifiers"][0]["value"])[0] for each in cited}
    assert {"2606.11709", "2601.20802", "2604.03128", "2601.18734", "2604.02288", "2402.03300"} == numbers
