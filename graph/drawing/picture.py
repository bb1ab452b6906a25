"""Draw the graph as a picture with matplotlib: an SVG of 960 pixels, or a PNG of 2,000."""

import io
from itertools import pairwise
from math import dist
from typing import TYPE_CHECKING, Any, Literal

from tutelage.graph.drawing.layout import END, GROUPS, PLACES, START, Edge, Point, path, size
from tutelage.graph.drawing.looks import LOOKS, Look, kind_of, legend, words
from tutelage.graph.drawing.traffic import Traffic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE, FRAME = "#44505e", Look("#fafbfc", "#e3e7ec", "#7b8794", "group")
LEFT, RIGHT, LOW, HIGH = -0.56, 7.06, -3.98, 1.04  # the edges of the page, in the unit of the layout
LEGEND = -1.88  # the y of its first line
SMALL, TERMINAL, TITLE, NAME = 6.9, 7, 9, 10  # sizes of the font, in points
WIDTH = 10  # of the page, in inches
DASHES = (0, (3.5, 2))


def picture(edges: dict[Edge, bool], form: Literal["svg", "png"], traffic: Traffic | None) -> bytes:
    """Draw a graph, and what a run did in it.

    Args:
        edges: whether each edge is conditional.
        form: the format of the picture.
        traffic: the counts of a run, or None to draw the graph alone.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, WIDTH * (HIGH - LOW) / (RIGHT - LEFT)), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(LEFT, RIGHT), ylim=(LOW, HIGH))
    axes.axis("off")
    for title, nodes in GROUPS.items():
        _group(axes, title, nodes)
    for edge, conditional in edges.items():
        count = None if traffic is None else traffic.taken[edge]
        _edge(axes, path(edge), count, conditional=conditional)
    for node in dict.fromkeys(node for edge in edges for node in edge):
        _node(axes, node, traffic)
    _legend(axes, traffic)
    page, metadata = io.BytesIO(), dict.fromkeys(("Creator", "Date")) if form == "svg" else None
    with rc_context({"svg.hashsalt": "tutelage", "svg.fonttype": "none"}):  # same graph, same file
        figure.savefig(page, format=form, dpi=200, metadata=metadata)
    return page.getvalue()


def _group(axes: "Axes", title: str, nodes: tuple[str, ...]) -> None:
    """Draw a frame around the nodes of a group."""
    places = [PLACES[node] for node in nodes]
    left, right = min(p.x for p in places) - 0.48, max(p.x for p in places) + 0.48
    low, high = min(p.y for p in places) - 0.29, max(p.y for p in places) + 0.4
    _box(axes, ((left + right) / 2, (low + high) / 2), (right - left, high - low), FRAME, zorder=0)
    axes.text(right - 0.07, high - 0.06, title, ha="right", va="top", fontsize=SMALL, color=FRAME.ink)


def _edge(axes: "Axes", points: list[Point], count: int | None, *, conditional: bool) -> None:
    """Draw an edge with its arrow and, if it was taken, the count; a count of 0 makes it grey."""
    from matplotlib.patches import PathPatch, Polygon
    from matplotlib.path import Path

    color, zorder = (LOOKS["never"].border, 1) if count == 0 else (LINE, 2)
    bends = [point for three in zip(points, points[1:], points[2:], strict=False) for point in _bend(*three)]
    codes = [Path.MOVETO, *[Path.LINETO, Path.CURVE3, Path.CURVE3] * (len(points) - 2), Path.LINETO]
    line = Path([points[0], *bends, points[-1]], codes)
    style: Any = {"linestyle": DASHES if conditional else "-", "linewidth": 1.1, "capstyle": "butt"}
    axes.add_patch(PathPatch(line, fill=False, edgecolor=color, zorder=zorder, **style))
    axes.add_patch(Polygon(_head(*points[-2:]), facecolor=color, edgecolor="none", zorder=zorder))
    if count:
        x, y = _on(points)
        box = {"boxstyle": "round,pad=0.22", "facecolor": "white", "edgecolor": LINE, "linewidth": 0.6}
        axes.text(x, y, str(count), ha="center", va="center", fontsize=SMALL, zorder=5, bbox=box)


def _bend(before: Point, corner: Point, after: Point) -> list[Point]:
    """Return the three points of the curve around a corner."""
    return [_towards(corner, before, 0.09), corner, _towards(corner, after, 0.09)]


def _head(before: Point, end: Point) -> list[Point]:
    """Return the three points of the arrow at the end of a line."""
    x, y = _towards(end, before, 0.09)
    across, up = (y - end[1]) * 0.4, (x - end[0]) * 0.4
    return [end, (x + across, y + up), (x - across, y - up)]


def _towards(start: Point, end: Point, length: float) -> Point:
    """Return the point at a distance from `start` on the way to `end`."""
    part = length / dist(start, end)
    return (start[0] + part * (end[0] - start[0]), start[1] + part * (end[1] - start[1]))


def _on(points: list[Point]) -> Point:
    """Return the place for the count of an edge: the middle of its longest part, or beside a short part."""
    start, end = max(pairwise(points), key=lambda part: dist(*part))
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    if dist(start, end) > 0.35:
        return (x, y)
    lower = any(place.y - 0.2 < y < place.y for place in PLACES.values())  # the lower of two arrows in a row
    return (x, y - 0.12 if lower else y + 0.12)


def _node(axes: "Axes", node: str, traffic: Traffic | None) -> None:
    """Draw a node with what it does, or with what it did in a run."""
    x, y, _ = PLACES[node]
    kind, second = kind_of(node, traffic), words(node, traffic)
    look, centred = LOOKS[kind], dict[str, Any](ha="center", va="center", zorder=4)
    _box(axes, (x, y), size(node), look, zorder=3, width=2 if kind == "current" else 1)
    big = TERMINAL if node in (START, END) else NAME
    axes.text(x, y + (0.075 if second else 0), node.strip("_"), fontsize=big, color=look.ink, **centred)
    if second:
        axes.text(x, y - 0.095, second, fontsize=SMALL, color=look.ink, **centred)


def _box(axes: "Axes", centre: Point, extent: Point, look: Look, *, zorder: float, width: float = 1) -> None:
    """Draw a box with round corners."""
    from matplotlib.patches import FancyBboxPatch

    corner = (centre[0] - extent[0] / 2, centre[1] - extent[1] / 2)
    shape = f"round,pad=0,rounding_size={min(0.08, extent[1] / 4)}"
    colors: dict[str, Any] = {"facecolor": look.fill, "edgecolor": look.border}
    axes.add_patch(FancyBboxPatch(corner, *extent, boxstyle=shape, linewidth=width, zorder=zorder, **colors))


def _legend(axes: "Axes", traffic: Traffic | None) -> None:
    """Explain the lines and colours at the lower left, and name the run at the top."""
    axes.plot([LEFT + 0.13, LEFT + 0.36], [LEGEND] * 2, color=LINE, linewidth=1.1, linestyle=DASHES)
    lines = ["conditional edge"]
    for kind, meaning in legend(traffic).items():
        _box(axes, (LEFT + 0.24, LEGEND - 0.19 * len(lines)), (0.22, 0.12), LOOKS[kind], zorder=3)
        lines.append(meaning)
    for i, line in enumerate(lines):
        axes.text(LEFT + 0.44, LEGEND - 0.19 * i, line, va="center", fontsize=SMALL, color=LINE)
    if traffic is not None:
        place: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": TITLE, "parse_math": False}
        axes.text(RIGHT - 0.08, HIGH - 0.12, traffic.title, color=LOOKS["step"].ink, **place)
