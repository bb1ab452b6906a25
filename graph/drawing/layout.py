"""Where the nodes and edges of the graph are drawn. They are placed by hand, which gives a better picture of
sixteen fixed nodes than an algorithm. A test checks that they are those of the compiled graph.

The unit of all coordinates is the distance between two columns; y grows upwards.
"""

from itertools import pairwise
from math import copysign
from typing import NamedTuple

Point = tuple[float, float]
Edge = tuple[str, str]

START, END = "__start__", "__end__"
ROLES = ("analyst", "generator", "labeler", "critic")  # the four agents
STUDENT = ("train", "evaluate", "final", "refit")
TOP, MIDDLE, BOTTOM, PERSON = 0.0, -1.3, -2.55, -3.58  # the y of the four rows


class Place(NamedTuple):
    """The centre of a node, and what the node does in two or three words."""

    x: float
    y: float
    about: str = ""


# The nodes by group, in the order in which they are listed.
GROUPS = {
    "set up": ("prepare", "first_labels"),
    "student": ("train", "evaluate"),
    "diagnose": ("calibrate", "analyst"),
    "collect texts": ("pool", "generator", "screen"),
    "label": ("labeler", "critic", "keep"),
    "a person": ("review",),
    "deliver": ("final", "refit", "report"),
}
PLACES = {
    START: Place(0, 0.78),
    "prepare": Place(0, TOP, "reads your data"),
    "first_labels": Place(0, MIDDLE, "labels a first set"),
    "train": Place(1, TOP, "trains students"),
    "evaluate": Place(2, TOP, "scores the round"),
    "calibrate": Place(3, TOP, "tests the teacher"),
    "analyst": Place(5.95, TOP, "names weaknesses"),
    "pool": Place(5.4, MIDDLE, "chooses your texts"),
    "generator": Place(6.5, MIDDLE, "writes texts"),
    "screen": Place(5.95, BOTTOM, "refuses duplicates"),
    "labeler": Place(4, BOTTOM, "labels the texts"),
    "critic": Place(3, BOTTOM, "judges the labels"),
    "keep": Place(2, BOTTOM, "stores accepted"),
    "review": Place(3, PERSON, "waits for a person"),
    "final": Place(2, MIDDLE, "trains from scratch"),
    "refit": Place(3, MIDDLE, "trains on all data"),
    "report": Place(4, MIDDLE, "scores on test"),
    END: Place(4.72, MIDDLE),
}
# The way of each edge: "-" or "|" for the direction of its first part, then, in turn, the y of a horizontal
# part and the x of a vertical one. ("|", 2, 0.5, 4) goes to y = 0.5 at x = 2, then to x = 4, then to its end.
WAYS: dict[Edge, tuple[str, *tuple[float, ...]]] = {
    (START, "prepare"): ("|", 0),
    ("prepare", "first_labels"): ("|", 0),
    ("prepare", "train"): ("-", TOP),
    ("first_labels", "train"): ("-", MIDDLE, 0.88),
    ("train", "evaluate"): ("-", TOP),
    ("evaluate", "calibrate"): ("-", TOP),
    ("evaluate", "analyst"): ("|", 2, 0.56, 5.95),
    ("evaluate", "final"): ("|", 1.94),
    ("evaluate", "refit"): ("|", 2.1, -0.66, 2.86),
    ("evaluate", "report"): ("|", 2.26, -0.78, 3.9),
    ("calibrate", "analyst"): ("-", TOP),
    ("calibrate", "final"): ("|", 2.74, -0.54, 2.18),
    ("calibrate", "refit"): ("|", 3),
    ("calibrate", "report"): ("|", 3.26, -0.42, 4.1),
    ("analyst", "pool"): ("|", 5.68),
    ("analyst", "generator"): ("|", 6.22),
    ("pool", "generator"): ("-", MIDDLE),
    ("pool", "screen"): ("|", 5.68),
    ("generator", "screen"): ("|", 6.22),
    ("screen", "labeler"): ("-", BOTTOM),
    ("screen", "review"): ("|", 5.95, PERSON - 0.1),
    ("review", "labeler"): ("-", PERSON + 0.1, 4),
    ("review", "train"): ("-", PERSON - 0.1, 1),
    ("labeler", "critic"): ("-", BOTTOM + 0.1),
    ("critic", "labeler"): ("-", BOTTOM - 0.1),
    ("critic", "keep"): ("-", BOTTOM),
    ("keep", "train"): ("-", BOTTOM, 1.12),
    ("keep", "review"): ("|", 1.86, PERSON + 0.1),
    ("keep", "generator"): ("|", 2, -3, 6.66),
    ("keep", "pool"): ("|", 2.3, -1.98, 5.2),
    ("keep", "final"): ("|", 1.82),
    ("keep", "refit"): ("|", 1.98, -1.7, 3),
    ("keep", "report"): ("|", 2.14, -1.84, 4),
    ("final", "evaluate"): ("|", 1.76),
    ("refit", "report"): ("-", MIDDLE),
    ("report", END): ("-", MIDDLE),
}


def size(node: str) -> Point:
    """Return the width and height of a node."""
    return (0.8, 0.42) if node not in (START, END) else (0.34, 0.24)


def path(edge: Edge) -> list[Point]:
    """Return the corners of an edge, from the border of its source to the border of its target."""
    source, target = (PLACES[node] for node in edge)
    first, *turns = WAYS[edge]
    level = [(first == "-") == (i % 2 == 0) for i in range(len(turns))]  # which parts are horizontal
    corners = [(b, a) if flat else (a, b) for flat, (a, b) in zip(level, pairwise(turns), strict=False)]
    way = [(source.x, source.y), *corners, (target.x, target.y)]
    way[0] = _exit(edge[0], way[1], turns[0], level=level[0])
    way[-1] = _exit(edge[1], way[-2], turns[-1], level=level[-1])
    return way


def _exit(node: str, towards: Point, line: float, *, level: bool) -> Point:
    """Return the point of a node's border where a line, horizontal if `level`, goes towards another point."""
    (x, y, _), (width, height) = PLACES[node], size(node)
    if level:
        return (x + copysign(width / 2, towards[0] - x), line)
    return (line, y + copysign(height / 2, towards[1] - y))
