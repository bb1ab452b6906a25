"""The charts that compare several runs."""

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING

from tutelage.graph.report.charts import svg_figure
from tutelage.graph.report.page import INKS, Html, tag
from tutelage.graph.report.run_entries import RunEntry

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = Sequence[tuple[int, float, bool]]  # of each round: calls so far, score, whether it was accepted
_INKS = ("test", "gate", "diagnose", "muted")
_DASHES = ("-", "--", ":")
_LONGEST = 34  # characters of a name
_CHARACTER = 0.0125  # width of a character as a share of a chart


def score_chart(names: Sequence[str], entries: Sequence[RunEntry], metric: str) -> Html:
    """Plot the score of each run with its 95 % interval, one below the other.

    A hollow point is the score without teacher labels, where it was measured with the same rows.
    """
    shown = [(name, entry) for name, entry in zip(names, entries, strict=True) if entry["score"] is not None]
    if not shown:
        return tag("p", "No run has a score yet.")

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        height = figure.get_figheight()
        left = 0.03 + _CHARACTER * max(len(shortened(name)) for name, _ in shown)
        figure.subplots_adjust(left=left, right=0.97, bottom=0.62 / height, top=1 - 0.12 / height)
        for place, (_, entry) in enumerate(shown):
            score, gain = entry["score"] or 0.0, entry["gain"]
            if entry["low"] is not None and entry["high"] is not None:
                axes.hlines(place, entry["low"], entry["high"], linewidth=2, color=INKS["test"])
            if gain:
                axes.plot(score - gain[0], place, "o", markersize=6, color=INKS["muted"], fillstyle="none")
            axes.plot(score, place, "o", markersize=7, color=INKS["test"])
        axes.set_yticks(range(len(shown)), [shortened(name) for name, _ in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.xaxis.set_major_formatter("{x:.2f}")
        axes.set_xlabel(metric)
        axes.grid(axis="x")

    return svg_figure("scores of the runs", draw, height=0.9 + 0.34 * len(shown))


def curves_chart(names: Sequence[str], curves: Sequence[Curve], metric: str) -> Html:
    """Plot the score of every round of each run against the teacher calls made by its end."""
    shown = [(name, curve) for name, curve in zip(names, curves, strict=True) if curve]
    if not shown:
        return tag("p", "No round is over yet.")
    lines = -(-(len(shown) + 1) // 2)  # of the legend

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        height, legend = figure.get_figheight(), 0.22 * lines + 0.1
        figure.subplots_adjust(left=0.11, right=0.98, bottom=0.55 / height, top=1 - legend / height)
        styles = zip(cycle(_INKS), [dashes for dashes in _DASHES for _ in _INKS] * len(shown), strict=False)
        for (name, curve), (ink, dashes) in zip(shown, styles, strict=False):
            calls, scores, _ = zip(*curve, strict=True)
            label = shortened(name)
            axes.plot(calls, scores, dashes, label=label, color=INKS[ink], marker="o", markersize=4)
        undone = [(calls, score) for _, curve in shown for calls, score, accepted in curve if not accepted]
        if undone:
            axes.plot(*zip(*undone, strict=True), "X", markersize=9, label="rolled back", color=INKS["bad"])
        axes.yaxis.set_major_formatter("{x:.2f}")
        axes.set(xlabel="teacher calls so far", ylabel=metric)
        axes.grid(axis="y")
        axes.legend(loc="lower left", bbox_to_anchor=(-0.03, 1), ncols=2, columnspacing=1)

    return svg_figure("learning curves of the runs", draw, height=3.2 + 0.22 * lines)


def shortened(name: str) -> str:
    """Return a name that fits beside a chart: the end of a path says more than its beginning."""
    return name if len(name) <= _LONGEST else f"…{name[-_LONGEST:]}"
