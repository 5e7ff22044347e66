"""Draws a graph without cycles as SVG, layer by layer: every arrow points forwards, and names do not overlap."""

import html
from collections.abc import Iterable, Sequence
from itertools import pairwise

_HEIGHT, _GAP, _BETWEEN, _MARGIN, _LETTER = 26, 14, 52, 12, 7.1  # pixels, as are those below
_SWEEPS = 24
_STYLE = (
    "text{font:12px system-ui,-apple-system,'Segoe UI',sans-serif;text-anchor:middle;fill:#1f2933}"
    "rect.node{fill:#eef2f6;stroke:#7b8794}path{fill:none;stroke:#7b8794}"
)

Arrow = tuple[str, str]


def without_implied(arrows: Iterable[Arrow]) -> list[Arrow]:
    """Returns the arrows, sorted, without those from one end to the other of which a longer way leads."""
    every = set(arrows)
    below = {a: {b for start, b in every if start == a} for a, _ in every}
    return sorted((a, b) for a, b in every if not any(b in _reached(below, other) for other in below[a] if other != b))


def svg(title: str, arrows: Sequence[Arrow], *, downwards: bool) -> str:
    """Returns the drawing as text.

    Args:
        title: what the drawing is, for readers who do not see it.
        arrows: (from, to) of names; no cycle.
        downwards: layers from top to bottom, else from left to right.
    """
    columns = _ordered(_layers(arrows), arrows)
    wide = {name: 0.0 if isinstance(name, tuple) else len(name) * _LETTER + 18 for row in columns for name in row}
    along = [_HEIGHT if downwards else max(wide[name] for name in row) for row in columns]
    across = [[wide[name] if downwards else _HEIGHT for name in row] for row in columns]
    breadth = max(sum(row) + _GAP * (len(row) - 1) for row in across)
    centre: dict = {}
    depth = float(_MARGIN)
    for row, sizes, size in zip(columns, across, along, strict=True):
        spare = (breadth - sum(sizes) - _GAP * (len(row) - 1)) / (len(row) + 1)
        at = _MARGIN + spare
        for name, own in zip(row, sizes, strict=True):
            centre[name] = (at + own / 2, depth + size / 2) if downwards else (depth + size / 2, at + own / 2)
            at += own + _GAP + spare
        depth += size + _BETWEEN
    total = (breadth + 2 * _MARGIN, depth - _BETWEEN + _MARGIN)
    width, height = total if downwards else total[::-1]
    layer = {name: number for number, row in enumerate(columns) for name in row}
    half = {name: along[layer[name]] / 2 if isinstance(name, tuple) else 0.0 for name in wide}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img">',
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" style="fill:#7b8794;stroke:none"/></marker></defs>',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#fff"/>',
    ]
    for a, b in arrows:
        way = [a, *((a, b, number) for number in range(layer[a] + 1, layer[b])), b]
        points = _points(way, centre, wide, half, downwards)
        parts.append(f'<path d="{_curve(points, downwards)}" marker-end="url(#head)"><title>{a} → {b}</title></path>')
    for name, (x, y) in centre.items():
        if not isinstance(name, tuple):
            box = f'x="{x - wide[name] / 2:.1f}" y="{y - _HEIGHT / 2:.1f}" width="{wide[name]:.1f}" height="{_HEIGHT}"'
            parts.append(
                f'<rect class="node" {box} rx="5"/><text x="{x:.1f}" y="{y + 4:.1f}">{html.escape(name)}</text>'
            )
    return "\n".join([*parts, "</svg>", ""])


def _reached(below: dict[str, set[str]], name: str) -> set[str]:
    reached: set[str] = set()
    todo = list(below.get(name, ()))
    while todo:
        if (other := todo.pop()) not in reached:
            reached.add(other)
            todo += below.get(other, ())
    return reached


def _layers(arrows: Sequence[Arrow]) -> dict[str, int]:
    """The layer of each name: behind all that lead to it; what nothing leads to stands just before what it leads to."""
    names = sorted({name for arrow in arrows for name in arrow})
    layer = dict.fromkeys(names, 0)
    for _ in names:
        for a, b in arrows:
            layer[b] = max(layer[b], layer[a] + 1)
    assert all(layer[a] < layer[b] for a, b in arrows), "a cycle"
    for name in names:
        if not any(b == name for _, b in arrows):
            layer[name] = min(layer[b] for a, b in arrows if a == name) - 1
    return layer


def _ordered(layer: dict[str, int], arrows: Sequence[Arrow]) -> list[list]:
    """Names of each layer, and (a, b, layer) for each arrow that passes it, in an order with few crossings."""
    columns: list[list] = [[] for _ in range(max(layer.values()) + 1)]
    for name, number in layer.items():
        columns[number].append(name)
    steps = []
    for a, b in arrows:
        way = [a, *((a, b, number) for number in range(layer[a] + 1, layer[b])), b]
        for passing in way[1:-1]:
            columns[passing[2]].append(passing)
        steps += pairwise(way)
    before: dict = {name: [a for a, b in steps if b == name] for column in columns for name in column}
    after: dict = {name: [b for a, b in steps if a == name] for column in columns for name in column}
    best, fewest = columns, _crossings(columns, after)
    for sweep in range(_SWEEPS):
        forwards = sweep % 2 == 0
        columns = [list(column) for column in columns]
        for column in columns if forwards else columns[::-1]:
            place = {name: i / len(each) for each in columns for i, name in enumerate(each)}
            beside = before if forwards else after
            mean = {n: sum(place[m] for m in beside[n]) / len(beside[n]) if beside[n] else place[n] for n in column}
            column.sort(key=lambda name, mean=mean: (mean[name], str(name)))
        if (crossings := _crossings(columns, after)) < fewest:
            best, fewest = columns, crossings
    return best


def _crossings(columns: list[list], after: dict) -> int:
    count = 0
    for left, right in pairwise(columns):
        place = {name: i for i, name in enumerate(right)}
        ends = [(i, place[b]) for i, name in enumerate(left) for b in after[name]]
        count += sum(a < c and b > d for a, b in ends for c, d in ends)
    return count


def _points(way: list, centre: dict, wide: dict, half: dict, downwards: bool) -> list[tuple[float, float]]:
    """Where an arrow leaves, passes each layer (straight through it) and arrives."""
    points = []
    for number, name in enumerate(way):
        x, y = centre[name]
        if isinstance(name, tuple):
            ends = [-half[name], half[name]]
        else:
            out = (_HEIGHT if downwards else wide[name]) / 2
            ends = [out] if number == 0 else [-out]
        points += [(x, y + end) if downwards else (x + end, y) for end in ends]
    return points


def _curve(points: list[tuple[float, float]], downwards: bool) -> str:
    x, y = points[0]
    words = [f"M{x:.1f} {y:.1f}"]
    for to_x, to_y in points[1:]:
        if downwards:
            bend = (to_y - y) / 2
            words.append(f"C{x:.1f} {y + bend:.1f} {to_x:.1f} {to_y - bend:.1f} {to_x:.1f} {to_y:.1f}")
        else:
            bend = (to_x - x) / 2
            words.append(f"C{x + bend:.1f} {y:.1f} {to_x - bend:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}")
        x, y = to_x, to_y
    return " ".join(words)
