"""The page that compares several runs: one HTML file that needs no network and no scripts."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.graph.report.charts import calls_and_scores, svg_figure
from tutelage.graph.report.page import INKS, Html, html_page, table, tag
from tutelage.graph.report.run_entries import RunEntry, differing_settings, run_entries
from tutelage.graph.report.run_section import Run, metric_title, paid, read_run
from tutelage.graph.report.terminal import setting_text
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.student.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = Sequence[tuple[int, float, bool]]  # of each round: calls so far, score, whether it was accepted
_INKS = ("test", "gate", "diagnose", "muted")
_DASHES = ("-", "--", ":")
_LONGEST = 34  # characters of a name
_CHARACTER = 0.0125  # width of a character as a share of a chart
METHOD = """A point is the score of the student that the run delivers, a line its 95 % bootstrap interval over
the rows, and a hollow point the score of the best student that was trained without teacher labels. The
intervals do not include the variation between training seeds: repeat a run with other seeds before you rely
on a small difference."""
CURVES = """The scores of the rounds are those by which rounds were accepted or rolled back, on your labelled
rows, not on test. Calls for the comparison at the end of a run are not in the curves, but in the cost."""


def write_runs_page(folders: Sequence[RunFolder], path: Path) -> list[RunEntry]:
    """Write a page that compares runs, and return their entries. An existing file is replaced.

    Args:
        folders: at least two run folders, in the order to show them. Runs may be unfinished.
        path: the file to write.

    Raises:
        InputError: one of `folders` is not a run folder, or the file cannot be written.
    """
    runs = [read_run(folder) for folder in folders]
    entries = run_entries(folders)
    names = [str(folder.path) for folder in folders]
    metric = " or ".join(dict.fromkeys(metric_title(run.about["task"]["metric"]) for run in runs))
    sections = {
        "Scores": [score_chart(names, entries, metric), _score_table(entries), _soft(METHOD)],
        "Settings that differ": _settings(names, differing_settings(runs)),
        "Learning curves": [
            curves_chart(names, [_curve(run) for run in runs], metric),
            _soft(CURVES),
        ],
        "Cost": [_cost_table(runs)],
    }
    title = " and ".join(dict.fromkeys(run.about["task"]["name"] for run in runs))
    header = tag("header", tag("h1", f"{title}: {len(runs)} runs"), *_warnings(runs, entries))
    body = [header, *(tag("section", tag("h2", name), *inside) for name, inside in sections.items())]
    page = html_page(title, "\n".join(body))
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror}; choose another file with --out"
        ) from error
    return entries


def _warnings(runs: Sequence[Run], entries: Sequence[RunEntry]) -> list[Html]:
    """Say what makes the scores incomparable."""
    warnings = []
    if len({run.about["task"]["metric"] for run in runs}) > 1:
        warnings.append("The runs have different metrics: their scores cannot be compared.")
    if len({run.about["data"]["digest"] for run in runs}) > 1:
        warnings.append("The runs have different data: compare their scores only if the test rows are equal.")
    if len({entry["measured_on"] for entry in entries if entry["measured_on"]}) > 1:
        warnings.append("The scores were measured on different sets, as the table says.")
    unfinished = [entry["run"] for entry in entries if entry["state"] == "unfinished"]
    warnings += [f"Unfinished: continue with `tutelage resume {run}`." for run in unfinished]
    return [tag("p", warning, class_="note") for warning in warnings]


def _score_table(entries: Sequence[RunEntry]) -> Html:
    head = ["Run", ">Score", ">95 % interval", ">Gain", ">95 % interval", "Measured on", "State"]
    rows = []
    for entry in entries:
        low, high, gain = entry["low"], entry["high"], entry["gain"]
        rows.append(
            (
                tag("b", entry["run"]),
                entry["score"],
                None if low is None or high is None else f"{low:.3f} to {high:.3f}",
                f"{gain[0]:+.3f}" if gain else None,
                f"{gain[1]:+.3f} to {gain[2]:+.3f}" if gain else None,
                entry["measured_on"],
                entry["state"],
            )
        )
    return table(head, rows)


def _settings(names: Sequence[str], settings: Sequence[dict[str, Any]]) -> list[Html]:
    """Return a table with a row for each setting that is not the same in all runs."""
    if not settings[0]:
        return [tag("p", "None: the runs have the same settings and the same data.")]
    rows = [(name, *(setting_text(one[name]) for one in settings)) for name in settings[0]]
    return [table(["Setting", *(f"<{name}" for name in names)], rows)]


def _cost_table(runs: Sequence[Run]) -> Html:
    head = ["Run", ">Calls", ">Tokens, prompt + completion", ">Cost", ">Samples kept", ">Refused", ">Minutes"]
    rows = []
    for run in runs:
        counts = run.status_counts
        minutes = sum(line["seconds"] for line in run.rounds) / 60
        samples = counts["kept"], counts.total() - counts["kept"]
        rows.append((tag("b", str(run.folder.path)), *paid(run.spent), *samples, f"{minutes:,.1f}"))
    return table(head, rows)


def _curve(run: Run) -> Curve:
    """Return the curve of a run on the set that its rounds are judged by."""
    set_name = next((name for name in run.set_names if name != "test" and run.scores(name)), None)
    if set_name is None:
        return []
    points = calls_and_scores(run, set_name)
    return [(*points[line["round"]], line["accepted"]) for line in run.rounds if line["round"] in points]


def _soft(text: str) -> Html:
    return tag("p", text, class_="soft")


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
    shown = name if len(name) <= _LONGEST else f"…{name[-_LONGEST:]}"
    shown = f"./{shown}" if shown.startswith("_") else shown  # matplotlib leaves such names out of legends
    return shown.replace("$", r"\$")  # and reads formulas between dollars
