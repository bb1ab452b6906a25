"""The report's map of the embeddings, drawn as SVG whose colours a reader can switch without scripts."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple

from tutelage.graph.report.embedding_map import EmbeddingMap
from tutelage.graph.report.page import Html, cut_to_fit, tag
from tutelage.graph.report.sample_list import Listed

HUES = 10  # label colours in page.css; the last is that of all other labels
TITLES = 200_000  # bytes of the texts that appear when the pointer rests on a point
SIZE = (1000, 640)  # of the drawing
MARGIN = 12
WHAT = """Each point is a text. Texts that the encoder finds similar are close together, as far as two
dimensions can show it: these are the first two principal components of the embeddings, which hold {x:.1%} and
{y:.1%} of their variance (encoder: {encoder}). So distances are rough, and clusters may hide in the other
dimensions. Squares are your rows (at most 2,000, those that the student gets wrong first), and a red border
marks those that the best student gets wrong{folds}. Filled circles are kept samples, hollow ones were
refused. Held-out texts are not shown. Rest the pointer on a point to read its text, and click on a sample to
open it in the list below."""


class Point(NamedTuple):
    """A point: its group of equal points, coordinates, title, and the id of the sample's element or ""."""

    kind: str
    colour: int
    round: int
    at: tuple[float, float]
    title: str
    element: str


def map_section(drawn: EmbeddingMap | None, listed: Sequence[Listed], *, folded: bool) -> list[Html]:
    """Show the map; `drawn` is None before the run ends. `folded` says whether the rows are in folds."""
    if drawn is None:
        return [tag("p", "This is drawn when the run ends.")]
    names = _colour_names(drawn, listed)
    points = _points(drawn, listed, names)
    rounds = max((point.round for point in points), default=0)
    words = WHAT.format(
        x=drawn["variance"][0],
        y=drawn["variance"][1],
        encoder=drawn["encoder"],
        folds=" (a student that was not trained on the row)" if folded else "",
    )
    parts = (*_switch(), _legend(names, rounds), _drawing(points, rounds))
    return [tag("p", words, class_="soft"), tag("div", *parts, class_="map")]


def _colour_names(drawn: EmbeddingMap, listed: Sequence[Listed]) -> list[str]:
    """Return the labels (of several, the combination) that have a colour, the most frequent first."""
    counts = Counter(", ".join(row["labels"]) for row in drawn["rows"])
    counts.update(", ".join(one.labels) for one in listed)
    counts.pop("", None)
    return [label for label, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))][: HUES - 1]


def _points(drawn: EmbeddingMap, listed: Sequence[Listed], names: Sequence[str]) -> list[Point]:
    colours, rows = {label: number for number, label in enumerate(names)}, drawn["rows"]
    placed = [one for one in listed if one.history["id"] in drawn["samples"]]
    titles = [
        f"your row, {row['label']}{', predicted ' + row['predicted'] if row['wrong'] else ''}: {row['text']}"
        for row in rows
    ]
    titles += [
        f"{one.history['status']}, {one.history['label'] or 'no label'}: {one.history['text']}"
        for one in placed
    ]
    titles = cut_to_fit(titles, TITLES)
    points = []
    for row, title in zip(rows, titles[: len(rows)], strict=True):
        colour = colours.get(", ".join(row["labels"]), HUES - 1)
        points.append(Point("wrong" if row["wrong"] else "own", colour, 0, row["at"], title, ""))
    for one, title in zip(placed, titles[len(rows) :], strict=True):
        kind = "kept" if one.history["status"] == "kept" else "refused"
        colour, at = colours.get(", ".join(one.labels), HUES - 1), drawn["samples"][one.history["id"]]
        points.append(Point(kind, colour, one.history["round"], at, title, one.element))
    return points


def _drawing(points: Sequence[Point], rounds: int) -> Html:
    """Draw the points. Those of the same kind, colour and round are a group, which keeps the page small."""
    groups: dict[tuple[str, int, int], list[Html]] = defaultdict(list)
    scale = _scale([point.at for point in points])
    order = ("refused", "kept", "own", "wrong")  # later ones are drawn above earlier ones
    for point in points:
        x, y = scale(point.at)
        title, place = tag("title", point.title), point.element or None
        if point.kind in ("own", "wrong"):
            mark = tag("rect", title, x=str(x - 4), y=str(y - 4), width="8", height="8")
        else:
            mark = tag("circle", title, cx=str(x), cy=str(y), r="4", data_s=place)
        groups[point.kind, point.colour, point.round].append(mark)
    drawn = [
        tag("g", *marks, class_=f"{kind} l{colour}", style=f"--part: {_part(round, rounds)}")
        for (kind, colour, round), marks in sorted(groups.items(), key=lambda item: order.index(item[0][0]))
    ]
    size = f"0 0 {SIZE[0]} {SIZE[1]}"
    return tag("svg", *drawn, viewBox=size, role="img", aria_label="map of the embeddings")


def _part(round: int, rounds: int) -> str:
    """Return the share of the colour of late rounds, from 0 % for your rows to 100 % for the last round."""
    return f"{round / rounds if rounds else 0:.0%}"


def _scale(places: Sequence[tuple[float, float]]) -> Callable[[tuple[float, float]], tuple[int, int]]:
    """Return a function from coordinates to whole units of the drawing; both axes have the same scale."""
    xs, ys = ([place[i] for place in places] or [0.0] for i in range(2))
    spans = (max(xs) - min(xs) or 1.0, max(ys) - min(ys) or 1.0)
    factor = min((side - 2 * MARGIN) / span for side, span in zip(SIZE, spans, strict=True))
    left, top = (
        (side - factor * (max(values) + min(values))) / 2 for side, values in zip(SIZE, (xs, ys), strict=True)
    )
    return lambda at: (round(left + factor * at[0]), round(SIZE[1] - top - factor * at[1]))


def _switch() -> list[Html]:
    """Return two radio buttons; page.css colours the points by the one that is checked."""
    button = '<input type="radio" name="colour" id="by-{}"{}>'
    buttons = [
        tag("label", Html(button.format(by, checked)), f" {by}")
        for by, checked in (("label", " checked"), ("round", ""))
    ]
    return [tag("fieldset", tag("legend", "Colour by"), *buttons)]


def _legend(names: Sequence[str], rounds: int) -> Html:
    labels = [
        tag("li", tag("i", class_=f"l{number}"), name)
        for number, name in chain(enumerate(names), [(HUES - 1, "other labels, or none")])
    ]
    numbers = [
        tag(
            "li",
            tag("i", style=f"--part: {_part(number, rounds)}"),
            f"round {number}" if number else "your rows",
        )
        for number in range(rounds + 1)
    ]
    return tag(
        "div", tag("ul", *labels, class_="labels"), tag("ul", *numbers, class_="rounds"), class_="legend"
    )
