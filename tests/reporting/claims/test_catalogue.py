"""Claims as data: names, versions and variants of all papers."""

import pytest
import yaml
from repository import ROOT

from selfdistill.methods.catalogue import shipped
from selfdistill.reporting.claims.catalogue import CLAIMS
from selfdistill.reporting.claims.predicates import EXPLODES, GROWS, IS_BOUNDED, KEPT, SHRINKS, STABLE, Gap, Part
from selfdistill.study.matrix import BASE


def test_claims_and_parts_have_names_of_their_own():
    names = [claim.name for claim in CLAIMS]
    assert len(names) == len(set(names))
    for claim in CLAIMS:
        parts = [(part.name, part.variant, part.families) for part in claim.parts]
        assert parts
        assert len(parts) == len(set(parts)), claim.name
        assert tuple(claim.published) == claim.versions


def test_every_variant_of_a_claim_ships_or_stands_for_a_version():
    known = {BASE, *shipped(), *yaml.safe_load((ROOT / "config/methods.yaml").read_text())["variants"]}
    for claim in CLAIMS:
        for part in claim.parts:
            # `planned` parts are silent where their variant is in no matrix; all others would be "not run" for ever.
            assert part.planned or set(part.needs) <= known, (claim.name, part.needs)


@pytest.mark.parametrize(
    ("part", "family", "variants", "asked"),
    [
        (Part("x", "x", Gap("a", "b")), "choice", (), True),
        (Part("x", "x", Gap("a", "b"), ("maths",)), "knights", ("a",), False),
        (Part("x", "x", Gap("a", "b"), planned=True), "maths", ("b",), False),
        (Part("x", "x", Gap("a", "b"), ("maths",), planned=True), "maths", ("a",), True),
    ],
)
def test_where_a_part_is_asked(part, family, variants, asked):
    assert part.asked(family, variants) == asked


def test_no_curve_has_two_opposite_words():
    assert EXPLODES.above == IS_BOUNDED.below
    assert GROWS.above == STABLE.below
    assert SHRINKS.below == STABLE.above == KEPT.above
