"""The rules of a workflow and which reads files of which, drawn from left to right as an SVG."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from xml.sax.saxutils import escape

#: CSS pixels: of a box beside and for each letter of its rule, between columns, between boxes, and around all of them.
_LETTER, _BESIDE, _HEIGHT = 7.3, 16, 26
_BETWEEN, _BELOW, _AROUND = 52, 10, 8
#: Rounds in which columns are put in order and boxes moved towards what they read and what reads them.
_ROUNDS = 24

#: From the end of an edge, one stroke back and forth for either side.
_ARROW = "l-6 -3m6 3l-6 3"

#: What has a place in a column: a rule, or where the edges to a later one pass: (rule, column).
_Item = str | tuple[str, int]


def rule_graph(reads: Mapping[str, Sequence[str]]) -> str:
    """The graph as an SVG element of a page, styled by overview.css; every box and edge says in a <title> what it is.

    reads: rule -> the rules whose files it reads, each of them a key too; no circle. A rule stands right of all that it
    reads; edges over several columns to one rule share their way.
    """
    column = _columns(reads)
    edges = [(source, rule) for rule, sources in reads.items() for source in sources]
    ways = {(a, b): [a, *((b, at) for at in range(column[a] + 1, column[b])), b] for a, b in edges}
    items: dict[int, list[_Item]] = {at: [] for at in range(max(column.values(), default=-1) + 1)}
    for item in dict.fromkeys([*reads, *(each for way in ways.values() for each in way)]):
        items[column[item] if isinstance(item, str) else item[1]].append(item)
    pairs = dict.fromkeys(pair for way in ways.values() for pair in pairwise(way))
    middles = _middles(items, list(pairs))
    lefts, widths, right = {}, {}, float(_AROUND)
    for at, members in items.items():
        widths[at] = max(_width(item) for item in members if isinstance(item, str))
        lefts[at] = right
        right += widths[at] + _BETWEEN
    bottom = max((middle + _HEIGHT / 2 for middle in middles.values()), default=0.0) + _AROUND
    size = f"{right - _BETWEEN + _AROUND:.0f}", f"{bottom:.0f}"
    parts = [
        f'<svg class="rules" width="{size[0]}" height="{size[1]}" viewBox="0 0 {size[0]} {size[1]}" role="img" '
        'aria-label="Rules, and which reads files of which">',
    ]
    for (source, rule), way in ways.items():
        begin = lefts[column[source]] + _width(source), middles[source]
        leave = lefts[column[source]] + widths[column[source]], middles[source]  # past longer boxes above and below
        inner = [point for b, at in way[1:-1] for point in _across(lefts[at], widths[at], middles[b, at])]
        path = _curve([begin, leave, *inner, (lefts[column[rule]], middles[rule])]) + _ARROW
        parts.append(f'<path d="{path}"><title>{escape(rule)} reads {escape(source)}</title></path>')
    for rule, sources in reads.items():
        left, middle = lefts[column[rule]], middles[rule]
        said = f"{rule} reads {', '.join(sources)}" if sources else rule
        parts.append(
            f'<g><title>{escape(said)}</title><rect x="{left:.1f}" y="{middle - _HEIGHT / 2:.1f}" '
            f'width="{_width(rule):.1f}" height="{_HEIGHT}" rx="4"/>'
            f'<text x="{left + _BESIDE / 2:.1f}" y="{middle + 4:.1f}">{escape(rule)}</text></g>'
        )
    return "\n".join([*parts, "</svg>"])


def _columns(reads: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """As far left as what a rule reads lets it be; one that reads nothing, just left of the first that reads it."""
    column: dict[str, int] = {}

    def find(rule: str) -> int:
        if rule not in column:
            column[rule] = 1 + max(map(find, reads[rule]), default=-1)
        return column[rule]

    last = max(map(find, reads), default=0)
    for rule in reads:
        if not reads[rule]:
            column[rule] = min((column[other] for other, sources in reads.items() if rule in sources), default=last) - 1
    first = min(column.values(), default=0)
    return {rule: at - first for rule, at in column.items()}


def _middles(items: Mapping[int, Sequence[_Item]], pairs: Sequence[tuple[_Item, _Item]]) -> dict[_Item, float]:
    """Item -> its height in the picture: near what it is joined to, none upon another."""
    joined: dict[_Item, tuple[list[_Item], list[_Item]]] = {item: ([], []) for each in items.values() for item in each}
    for a, b in pairs:
        joined[a][1].append(b)
        joined[b][0].append(a)
    middles: dict[_Item, float] = {}
    for members in items.values():
        middles |= _stacked(members, dict.fromkeys(members, 0.0))
    for turn in range(_ROUNDS):
        side = turn % 2  # what the items read, on the way to the right; what reads them, on the way back
        both = turn >= _ROUNDS // 2  # first the order, then short ways
        for at in sorted(items, reverse=bool(side)):
            wanted = {}
            for item in items[at]:
                left, right = joined[item]
                near = [*left, *right] if both else joined[item][side] or joined[item][1 - side]
                wanted[item] = sum(middles[other] for other in near) / len(near) if near else middles[item]
            middles |= _stacked(sorted(items[at], key=wanted.__getitem__), wanted)
    top = min(middles.values(), default=0.0) - _HEIGHT / 2 - _AROUND
    return {item: middle - top for item, middle in middles.items()}


def _stacked(members: Sequence[_Item], wanted: Mapping[_Item, float]) -> dict[_Item, float]:
    """In this order from top to bottom, apart from one another, and on the whole where they are wanted."""
    found: dict[_Item, float] = {}
    for above, item in zip([None, *members], members, strict=False):
        least = wanted[item] if above is None else found[above] + (_room(above) + _room(item)) / 2
        found[item] = max(wanted[item], least)
    shift = sum(wanted[item] - found[item] for item in members) / max(len(members), 1)
    return {item: middle + shift for item, middle in found.items()}


def _room(item: _Item) -> float:
    return _HEIGHT + _BELOW if isinstance(item, str) else float(_BELOW)


def _width(rule: str) -> float:
    return _BESIDE + _LETTER * len(rule)


def _across(left: float, width: float, middle: float) -> list[tuple[float, float]]:
    return [(left, middle), (left + width, middle)]


def _curve(points: Sequence[tuple[float, float]]) -> str:
    """A path that is level at every point."""
    parts = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for (x, y), (to, level) in pairwise(points):
        half = (x + to) / 2
        parts.append(f"C{half:.1f} {y:.1f} {half:.1f} {level:.1f} {to:.1f} {level:.1f}")
    return "".join(parts)
