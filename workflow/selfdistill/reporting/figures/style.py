"""Gives each method one look in every figure: a colour, a line style, and a hatch for bars.

The colours are Okabe and Ito's (2008), which stay apart under the common forms of colour blindness; line styles and
hatches help where lines cross. A relative (rlsd_ectr, say) takes the colour of its family; variants of a method take
darker and lighter shades of it, with markers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from matplotlib.colors import to_hex, to_rgb

from selfdistill.methods.catalogue import shipped
from selfdistill.methods.method import DASHES, HATCHES, Line

#: No two of a family's first eight variants share a marker, nor of its first twelve both shade and dash pattern.
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
#: Towards which grey level a variant's colour is mixed, and how far. Lighter ones would fade on white paper.
_SHADES = ((0.0, 0.0), (0.0, 0.45), (1.0, 0.4))


@dataclass(frozen=True)
class Style:
    """Says how a variant is drawn: colour (hex), line style and marker (matplotlib), hatch of its bars."""

    colour: str
    line: Line = "solid"
    hatch: str = ""
    marker: str = ""


#: Of the untrained model, and of each shipped method.
METHODS: dict[str, Style] = {"base": Style("#595959", DASHES[3])} | {
    name: Style(kind.look.colour, kind.look.line, kind.look.hatch) for name, kind in shipped().items() if kind.look
}
#: For a method without a look of its own.
UNLISTED = Style("#000000", DASHES[3])


def family(method: str) -> str:
    """Return the first listed method of the same colour; an unlisted method is a family of its own."""
    if method not in METHODS:
        return method
    return next(name for name, style in METHODS.items() if style.colour == METHODS[method].colour)


def styles(methods: Mapping[str, str]) -> dict[str, Style]:
    """Style of each variant, from variant -> method.

    The variant that bears its method's name looks as listed. The others take shades of its colour and, in the order
    given, further line styles, hatches and markers; a family's first variant looks as its method where nothing else of
    the family is there.
    """
    listed = {METHODS[method].colour for variant, method in methods.items() if variant == method in METHODS}
    places: dict[str, int] = {}
    chosen: dict[str, Style] = {}
    for variant, method in methods.items():
        style = METHODS.get(method, UNLISTED)
        if not (variant == method in METHODS):
            place = places.get(style.colour, int(style.colour in listed))
            places[style.colour] = place + 1
            style = _varied(style, place)
        chosen[variant] = style
    return chosen


def _varied(style: Style, place: int) -> Style:
    """The look of a method's variant; place 0 is the method's own."""
    if place == 0:
        return style
    lines = (style.line, *(d for d in DASHES if d != style.line))
    hatches = (style.hatch, *(h for h in HATCHES if h != style.hatch))
    grey, share = _SHADES[place % len(_SHADES)]
    return replace(
        style,
        colour=to_hex([(1 - share) * part + share * grey for part in to_rgb(style.colour)]).upper(),
        line=lines[place % len(lines)],
        hatch=hatches[place % len(hatches)],
        marker=_MARKERS[(place - 1) % len(_MARKERS)],
    )
