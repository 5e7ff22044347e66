"""One look for each method, in every figure: a colour, a line style, and a hatch for bars.

The colours are Okabe and Ito's (2008), which stay apart under the common forms of colour blindness; line styles and
hatches help where lines cross. A contrastive plug-in (_ectr) takes the colour of its family.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

#: Matplotlib dash patterns: offset, (on, off, ...) in multiples of the line width.
_DASHES = ("solid", (0, (5, 1.5)), (0, (3, 1.2, 1, 1.2)), (0, (1, 1)))
_HATCHES = ("", "////", "....", "xxxx")


@dataclass(frozen=True)
class Style:
    """How a method is drawn: colour (hex), line style (matplotlib) and hatch of its bars."""

    colour: str
    line: str | tuple[int, tuple[float, ...]] = "solid"
    hatch: str = ""


METHODS: dict[str, Style] = {
    "base": Style("#595959", _DASHES[3]),
    "grpo": Style("#0072B2"),
    "opsd": Style("#E69F00"),
    "sdpo": Style("#009E73", _DASHES[2]),
    "srpo": Style("#CC79A7", (0, (5, 1.2, 1, 1.2, 1, 1.2))),
    "rlsd": Style("#56B4E9"),
    "rlcsd": Style("#D55E00"),
    "opsd_ectr": Style("#E69F00", _DASHES[1], _HATCHES[1]),
    "rlsd_ectr": Style("#56B4E9", _DASHES[1], _HATCHES[1]),
}
#: For a method of the user's own, until it gets a line above.
UNLISTED = Style("#000000", _DASHES[3])


def styles(methods: Mapping[str, str]) -> dict[str, Style]:
    """Style of each variant, from variant -> method.

    The variant that bears its method's name looks as listed. The others keep the colour and, in the order given, take
    further line styles and hatches, so that two variants of a method can be told apart.
    """
    chosen: dict[str, Style] = {}
    for variant, method in methods.items():
        style = METHODS.get(method, UNLISTED)
        if variant != method:
            siblings = [v for v, m in methods.items() if m == method and v != method]
            place = siblings.index(variant) + (method in methods)
            lines = (style.line, *(d for d in _DASHES if d != style.line))
            hatches = (style.hatch, *(h for h in _HATCHES if h != style.hatch))
            style = replace(style, line=lines[place % len(lines)], hatch=hatches[place % len(hatches)])
        chosen[variant] = style
    return chosen
