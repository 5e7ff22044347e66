import pytest

from selfdistill.objectives.methods import METHODS as OBJECTIVES
from selfdistill.reporting.figures.style import METHODS, UNLISTED, family, styles

FAMILY = {"opsd_ectr": "opsd", "rlsd_ectr": "rlsd", "rlsd_add": "rlsd", "rlsd_hybrid": "rlsd"}
FAMILY |= {"opd_divergence": "opd"}
SEVEN = [f"v{number}" for number in range(7)]


def test_every_method_has_a_style_and_families_share_a_colour():
    assert set(METHODS) == {"base", *OBJECTIVES}
    for relative, first in FAMILY.items():
        assert METHODS[relative].colour == METHODS[first].colour
    assert len(set(METHODS.values())) == len(METHODS)
    members = [METHODS[name] for name in METHODS if family(name) == "rlsd"]
    assert len({style.line for style in members}) == len({style.hatch for style in members}) == len(members) == 4


def test_families():
    assert {name: family(name) for name in METHODS} == {name: FAMILY.get(name, name) for name in METHODS}
    assert family("mine") == "mine"


def test_variants_take_the_colour_and_differ_otherwise():
    look = styles({"rlcsd": "rlcsd", "rlcsd-gt_cot": "rlcsd", "rlcsd-lr": "rlcsd", "grpo": "grpo"})
    assert look["rlcsd"] == METHODS["rlcsd"]
    three = [look[name] for name in ("rlcsd", "rlcsd-gt_cot", "rlcsd-lr")]
    for part in ("colour", "line", "hatch", "marker"):
        assert len({getattr(style, part) for style in three}) == 3, part
    assert look["grpo"] == METHODS["grpo"]


@pytest.mark.parametrize("method", sorted(METHODS))
def test_seven_variants_of_a_method_can_be_told_apart(method):
    look = styles({method: method} | dict.fromkeys(SEVEN, method))
    assert list(look) == [method, *SEVEN]
    assert look[method] == METHODS[method]
    assert len({style.marker for style in look.values()}) == 8
    assert len({(style.colour, style.line) for style in look.values()}) == 8


def test_variants_of_relatives_share_no_look():
    """A variant of opsd beside opsd_ectr, which is dashed itself, and a variant of that."""
    methods = {"opsd": "opsd", "opsd-own_rollout": "opsd", "opsd_ectr": "opsd_ectr", "opsd_ectr-x": "opsd_ectr"}
    looks = list(styles(methods).values())
    assert len(set(looks)) == 4
    assert len({(style.colour, style.marker) for style in looks}) == 3  # those of opsd and opsd_ectr are one colour
    without = styles({"opsd-a": "opsd", "opsd_ectr-b": "opsd_ectr"})
    assert without["opsd-a"] == METHODS["opsd"]
    assert without["opsd_ectr-b"].marker != without["opsd-a"].marker


def test_a_lone_variant_looks_like_its_method_and_an_unlisted_method_has_a_look():
    assert styles({"opsd-own_rollout": "opsd"})["opsd-own_rollout"] == METHODS["opsd"]
    assert styles({"mine": "mine"})["mine"] == UNLISTED
    two = styles({"mine": "mine", "yours": "yours"})
    assert two["mine"] == UNLISTED
    assert two["yours"].marker
    assert two["yours"].line != UNLISTED.line
