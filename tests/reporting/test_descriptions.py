import pytest

from selfdistill.objectives.methods import METHODS
from selfdistill.reporting.pages.descriptions import describe


@pytest.mark.parametrize("name", ["base", *METHODS])
def test_every_method_is_described_in_one_short_line(name):
    line = describe(name)
    assert "own:" not in line
    assert "\n" not in line
    assert 20 < len(line) < 110


def test_lines_differ_and_an_own_loss_is_named():
    assert len({describe(name) for name in METHODS}) == len(METHODS)
    assert describe("my.module:Loss") == "a loss of one's own: my.module:Loss"
