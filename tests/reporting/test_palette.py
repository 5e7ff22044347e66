import itertools

import numpy as np
from matplotlib.colors import to_rgb

from selfdistill.reporting.palette import METHODS, UNLISTED, styles

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
FAMILY = {"opsd_ectr": "opsd", "rlsd_ectr": "rlsd"}


def lab(colour: str, vision: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of a colour as a kind of vision sees it."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(vision) @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ seen
    x, y, z = np.cbrt(xyz / np.array([0.9505, 1.0, 1.089]))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_every_method_has_a_style_and_families_share_a_colour():
    assert set(METHODS) == {"base", "grpo", "opsd", "sdpo", "srpo", "rlsd", "rlcsd", "opsd_ectr", "rlsd_ectr"}
    for plug_in, family in FAMILY.items():
        assert METHODS[plug_in].colour == METHODS[family].colour
        assert METHODS[plug_in].line != METHODS[family].line
        assert METHODS[plug_in].hatch != METHODS[family].hatch


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
    assert {style.colour for style in three} == {METHODS["rlcsd"].colour}
    assert len({style.line for style in three}) == len({style.hatch for style in three}) == 3


def test_a_lone_variant_looks_like_its_method_and_an_unlisted_method_has_a_look():
    assert styles({"opsd-own_rollout": "opsd"})["opsd-own_rollout"] == METHODS["opsd"]
    assert styles({"mine": "mine"})["mine"] == UNLISTED
