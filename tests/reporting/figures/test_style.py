import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from selfdistill.objectives.methods import METHODS as OBJECTIVES
from selfdistill.reporting.figures.style import METHODS, UNLISTED, family, styles

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
FAMILY = {"opsd_ectr": "opsd", "rlsd_ectr": "rlsd", "rlsd_add": "rlsd", "rlsd_hybrid": "rlsd"}
SEVEN = [f"v{number}" for number in range(7)]


def lab(colour: str, vision: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of a colour as a kind of vision sees it."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(vision) @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ seen
    x, y, z = np.cbrt(xyz / np.array([0.9505, 1.0, 1.089]))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


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


def test_colours_stay_apart_in_every_vision():
    own = {name: style.colour for name, style in METHODS.items() if name not in FAMILY}
    for kind, vision in VISION.items():
        for a, b in itertools.combinations(own, 2):
            distance = np.linalg.norm(lab(own[a], vision) - lab(own[b], vision))
            assert distance > 14, f"{a} and {b} look alike ({distance:.1f}) under {kind} vision"


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


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"base"}))
def test_the_shades_of_a_method_stay_apart_and_visible_in_every_vision(method):
    shades = sorted({style.colour for style in styles({method: method} | dict.fromkeys(SEVEN, method)).values()})
    assert len(shades) == 3
    for kind, vision in VISION.items():
        for a, b in itertools.combinations(shades, 2):
            distance = np.linalg.norm(lab(a, vision) - lab(b, vision))
            assert distance > 14, f"{a} and {b} look alike ({distance:.1f}) under {kind} vision"
        for shade in shades:
            assert np.linalg.norm(lab(shade, vision) - lab("#FFFFFF", vision)) > 20, (
                f"{shade} fades under {kind} vision"
            )


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
