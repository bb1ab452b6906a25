"""The charts of the report, drawn as SVG in the colours of the page."""

import re
from collections.abc import Callable, Sequence
from io import StringIO
from itertools import accumulate
from typing import TYPE_CHECKING

from tutelage.agents.teacher.calibration import Bin, Calibration
from tutelage.graph.report.page import INKS, Html, tag
from tutelage.graph.report.run_section import Run, metric_name
from tutelage.student.evaluation.evaluate import wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEAST_SPAN = 0.06  # of the scores on the axis of the learning curve: less would draw noise as a trend


def learning_curve(run: Run, control: Run | None) -> Html:
    """Plot the scores of every round against the cumulative number of teacher calls."""
    if not run.rounds:
        return tag("p", "No round is over yet.")

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        figure.subplots_adjust(left=0.11, right=0.98, bottom=0.14, top=0.9)
        _plot(axes, run, control)
        low, high = axes.get_ylim()
        spare = max(0.0, _LEAST_SPAN - (high - low)) / 2
        axes.set_ylim(low - spare, high + spare)
        axes.yaxis.set_major_formatter("{x:.2f}")
        axes.set(xlabel="teacher calls so far", ylabel=metric_name(run))
        axes.grid(axis="y")
        axes.legend(loc="lower left", bbox_to_anchor=(-0.03, 1), ncols=5, columnspacing=1)

    return svg_figure("learning curve", draw, height=3.6)


def reliability_plot(measured: Calibration) -> Html:
    """Plot the teacher's accuracy against its confidence, with the number of texts per bin below.

    There is one plot for the uncalibrated confidence and, if a temperature was fitted, one for the calibrated
    confidence. On the diagonal, accuracy equals confidence. The size of a point shows the count of its bin.
    """
    panels = {"uncalibrated": (measured["bins_before"], INKS["gate"])}
    if measured["bins_after"] != measured["bins_before"]:
        panels["calibrated"] = measured["bins_after"], INKS["test"]

    def draw(figure: "Figure") -> None:
        grid = figure.subplots(2, len(panels), sharex=True, sharey="row", squeeze=False, height_ratios=(4, 1))
        figure.subplots_adjust(left=0.1, right=0.98, bottom=0.11, top=0.94, wspace=0.06, hspace=0.08)
        for axes, below, (title, (bins, ink)) in zip(*grid, panels.items(), strict=True):
            axes.set_title(title, fontsize="medium")
            axes.plot((0, 1), (0, 1), "--", linewidth=1, color=INKS["muted"])
            _reliability(axes, bins, ink)
            centres = [(one["low"] + one["high"]) / 2 for one in bins]
            widths = [0.9 * (one["high"] - one["low"]) for one in bins]
            below.bar(centres, [one["count"] for one in bins], widths, color=ink)
            below.set(xlabel="confidence", xlim=(-0.03, 1.03), xticks=(0, 0.5, 1))
        grid[0, 0].set(ylabel="accuracy", ylim=(-0.03, 1.03))
        grid[1, 0].set_ylabel("texts")

    return svg_figure("reliability of the teacher's confidence", draw, height=4.4)


def _reliability(axes: "Axes", bins: Sequence[Bin], ink: str) -> None:
    """Draw the bins as points with 95 % intervals."""
    confidences, most = [one["confidence"] for one in bins], max(one["count"] for one in bins)
    intervals = [wilson(round(one["accuracy"] * one["count"]), one["count"]) for one in bins]
    axes.vlines(confidences, *zip(*intervals, strict=True), linewidth=1.2, color=ink)
    sizes = [12 + 90 * one["count"] / most for one in bins]
    axes.scatter(confidences, [one["accuracy"] for one in bins], sizes, color=ink, zorder=3)


def svg_figure(name: str, draw: Callable[["Figure"], None], *, height: float) -> Html:
    """Return a figure, 6.4 inches wide, in the colours of the page. `draw` draws into it."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    picture, no_metadata = StringIO(), dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context(
        {
            "text.color": INKS["muted"],
            "axes.edgecolor": INKS["muted"],
            "axes.labelcolor": INKS["muted"],
            "xtick.color": INKS["muted"],
            "ytick.color": INKS["muted"],
            "grid.color": INKS["line"],
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "svg.fonttype": "none",
            "svg.hashsalt": name,
        }
    ):
        figure = Figure(figsize=(6.4, height))  # its own margins: `layout="constrained"` would draw twice
        draw(figure)
        figure.savefig(picture, format="svg", transparent=True, metadata=no_metadata)
    # matplotlib numbers the groups of each figure from 1, so two figures on one page would share ids.
    svg = re.sub(r'<g id="[^"]*">', "<g>", picture.getvalue())
    for ink_name, ink in INKS.items():
        svg = svg.replace(ink, f"var(--{ink_name})")
    return tag("figure", Html(svg[svg.index("<svg") :]), role="img", aria_label=name)


def _plot(axes: "Axes", run: Run, control: Run | None) -> None:
    set_names = [set_name for set_name in run.set_names if run.scores(set_name)]
    curves = [(run, set_name, run.set_title(set_name), "-") for set_name in set_names]
    if control:
        rivals = [set_name for set_name in set_names if control.scores(set_name)][:1]
        curves += [
            (control, set_name, f"{control.set_title(set_name)}, control", "--") for set_name in rivals
        ]
    for one, set_name, label, dashes in curves:
        points = zip(*calls_and_scores(one, set_name).values(), strict=True)
        axes.plot(*points, dashes, label=label, color=INKS[set_name], marker="o", markersize=4)
        if one is run and set_name == ("gate" if "gate" in set_names else "diagnose"):
            _plot_intervals(axes, one, set_name)
    rolled_back = [line["round"] for line in run.rounds if not line["accepted"]]
    crosses = [
        calls_and_scores(run, set_name)[round]
        for set_name in set_names
        for round in rolled_back
        if round in run.scores(set_name)
    ]
    if crosses:
        axes.plot(*zip(*crosses, strict=True), "X", markersize=9, label="rolled back", color=INKS["bad"])


def _plot_intervals(axes: "Axes", run: Run, set_name: str) -> None:
    """Draw the 95 % bootstrap intervals of the scores that decide about the rounds."""
    places = calls_and_scores(run, set_name)
    found = {line["round"]: line["interval"] for line in run.rounds if "interval" in line}
    known = [number for number in places if number in found]
    if known:
        calls = [places[number][0] for number in known]
        lows, highs = zip(*(found[number] for number in known), strict=True)
        axes.fill_between(
            calls, lows, highs, alpha=0.15, linewidth=0, color=INKS[set_name], label="95 % interval"
        )


def calls_and_scores(run: Run, set_name: str) -> dict[int, tuple[int, float]]:
    """Map each round to (teacher calls made by its end, score)."""
    calls = accumulate(line["teacher_calls"] for line in run.rounds)
    by_round = dict(zip((line["round"] for line in run.rounds), calls, strict=True))
    return {round: (by_round[round], score) for round, score in run.scores(set_name).items()}
