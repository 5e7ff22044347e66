"""The drawing of the workflow's rules: every box and edge, in order from left to right, none upon another."""

import re
import xml.etree.ElementTree as ET

import pytest

from selfdistill.reporting.pages.rule_graph import rule_graph

READS = {
    "data": [],
    "train": ["data"],
    "evaluate": ["data", "train"],
    "tables": ["evaluate"],
    "figures": ["train"],
    "costs": ["train", "evaluate"],
    "audit": [],
    "overview": ["tables", "figures", "costs", "audit", "data"],
    "site": ["tables", "figures", "costs", "audit", "overview"],
}


@pytest.fixture(scope="module")
def drawn():
    return ET.fromstring(rule_graph(READS))


def boxes(svg):
    """Rule -> left, top, right, bottom."""
    found = {}
    for group in svg.iter("g"):
        left, top, width, height = (float(group.find("rect").get(k)) for k in ("x", "y", "width", "height"))
        found[group.find("text").text] = left, top, left + width, top + height
    return found


def edges(svg):
    """(what it reads, rule) -> the edge's numbers."""
    found = {}
    for path in svg.findall("path"):
        rule, source = path.find("title").text.split(" reads ")
        found[source, rule] = [float(number) for number in re.findall(r"[\d.]+", path.get("d").partition("l")[0])]
    return found


def test_every_rule_is_a_box_and_everything_that_it_reads_an_edge(drawn):
    assert set(boxes(drawn)) == set(READS)
    assert set(edges(drawn)) == {(source, rule) for rule, sources in READS.items() for source in sources}


def test_an_edge_leads_from_the_right_of_one_box_to_the_left_of_another_and_never_back(drawn):
    placed = boxes(drawn)
    for (source, rule), numbers in edges(drawn).items():
        begin, end = (placed[source][2], sum(placed[source][1::2]) / 2), (placed[rule][0], sum(placed[rule][1::2]) / 2)
        assert numbers[:2] == pytest.approx(begin, abs=0.1)
        assert numbers[-2:] == pytest.approx(end, abs=0.1)
        across = [*numbers[:1], *numbers[2::2]]
        assert across == sorted(across)


def test_boxes_lie_apart_and_inside_the_picture(drawn):
    width, height = float(drawn.get("width")), float(drawn.get("height"))
    placed = list(boxes(drawn).values())
    for number, (left, top, right, bottom) in enumerate(placed):
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        for other in placed[:number]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def curve(numbers):
    """Points along an edge: Bezier curves of four points each, the last of one the first of the next."""
    points = list(zip(numbers[::2], numbers[1::2], strict=True))
    for begin in range(0, len(points) - 1, 3):
        four = points[begin : begin + 4]
        for part in range(41):
            t = part / 40
            weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
            yield tuple(sum(w * point[axis] for w, point in zip(weights, four, strict=True)) for axis in (0, 1))


@pytest.mark.parametrize("longer", [{}, {"figures": "figures_of_everything_there_is", "costs": "c", "tables": "t"}])
def test_edges_pass_no_box(longer):
    """Columns of boxes of very unlike length too."""
    named = {longer.get(rule, rule): [longer.get(s, s) for s in sources] for rule, sources in READS.items()}
    svg = ET.fromstring(rule_graph(named))
    placed = boxes(svg)
    for ends, numbers in edges(svg).items():
        for x, y in curve(numbers):
            for rule, (left, top, right, bottom) in placed.items():
                assert rule in ends or not (left < x < right and top < y < bottom), (ends, rule)


def test_what_reads_nothing_stands_just_before_what_reads_it(drawn):
    placed = boxes(drawn)
    assert placed["audit"][0] == max(placed[name][0] for name in READS if placed[name][0] < placed["overview"][0])


def test_the_same_rules_are_drawn_alike_and_names_are_escaped(drawn):
    assert ET.tostring(drawn) == ET.tostring(ET.fromstring(rule_graph(dict(READS))))
    assert "<b>" not in rule_graph({"<b>": []})


def test_one_rule_or_none_is_no_trouble():
    assert set(boxes(ET.fromstring(rule_graph({"all": []})))) == {"all"}
    assert boxes(ET.fromstring(rule_graph({}))) == {}
