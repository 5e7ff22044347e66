"""Drawings of graphs: all names and arrows are there, arrows point forwards, boxes stand apart."""

import re
import sys
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from repository import ROOT

NAMES = "abcdefgh"
#: Pairs in the order of the alphabet: no cycle.
GRAPHS = st.sets(st.sampled_from(list(combinations(NAMES, 2))), min_size=1)


@pytest.fixture(scope="module")
def layered():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "docs"))
        from from_code import layered

        yield layered
        for name in [name for name in sys.modules if name.partition(".")[0] == "from_code"]:
            del sys.modules[name]


def boxes(drawing: str) -> dict[str, tuple[float, ...]]:
    """Name -> x, y, width, height."""
    found = re.findall(
        r'<rect class="node" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)" rx="5"/><text[^>]*>(\w+)<',
        drawing,
    )
    return {name: tuple(map(float, numbers)) for *numbers, name in found}


def drawn_arrows(drawing: str) -> set[tuple[str, str]]:
    return set(re.findall(r"<title>(\w+) → (\w+)</title>", drawing))


def paths(arrows: set[tuple[str, str]], start: str) -> set[str]:
    """What can be reached, by trying all ways."""
    following = {b for a, b in arrows if a == start}
    return following.union(*(paths(arrows, each) for each in following))


@given(GRAPHS)
@settings(max_examples=60, deadline=None)
def test_implied_arrows_alone_are_left_out(layered, arrows):
    kept = set(layered.without_implied(arrows))
    assert kept <= arrows
    for name in NAMES:
        assert paths(kept, name) == paths(arrows, name)
    for arrow in kept:
        assert arrow[1] not in paths(kept - {arrow}, arrow[0])


@pytest.mark.parametrize("downwards", [True, False])
@given(GRAPHS)
@settings(max_examples=60, deadline=None)
def test_arrows_point_forwards_and_boxes_stand_apart(layered, downwards, arrows):
    drawing = layered.svg("drawn", sorted(arrows), downwards=downwards)
    place = boxes(drawing)
    assert set(place) == {name for arrow in arrows for name in arrow}
    assert drawn_arrows(drawing) == arrows
    along = 1 if downwards else 0
    assert all(place[a][along] + place[a][along + 2] < place[b][along] for a, b in arrows)
    for (x, y, w, h), (u, v, s, t) in combinations(place.values(), 2):
        assert x + w < u or u + s < x or y + h < v or v + t < y


def test_a_cycle_is_refused(layered):
    with pytest.raises(AssertionError, match="a cycle"):
        layered.svg("drawn", [("a", "b"), ("b", "a")], downwards=True)


def test_the_drawings_name_packages_and_rules_that_there_are():
    packages = {path.parent.name for path in (ROOT / "workflow/selfdistill").glob("*/__init__.py")}
    drawing = (ROOT / "docs/figures/packages.svg").read_text(encoding="utf-8")
    assert set(boxes(drawing)) == packages - {"cluster"}  # which imports no other package
    files = [ROOT / "workflow/Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]
    rules = set(
        re.findall(r"^\s*rule (\w+)", "\n".join(path.read_text(encoding="utf-8") for path in files), re.MULTILINE)
    )
    named = set(boxes((ROOT / "docs/figures/rules.svg").read_text(encoding="utf-8")))
    assert {"data", "train", "scores", "claims", "site"} <= named
    assert {re.sub(r"^evaluate_\w+$", "evaluate", name) for name in named} <= rules | {"evaluate"}
