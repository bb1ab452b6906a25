"""The report's sections about the value of the teacher labels, the choice of the training configuration and
the user's labels that look wrong.
"""

import csv
import json
from typing import Any

from rich.table import Table
from tutelage.graph.report.page import Html, table, tag
from tutelage.graph.report.run_section import Run, named
from tutelage.graph.run_folder.folder import RunFolder

METHOD = """Every student is trained in the same way and evaluated on the same rows. Intervals are 95 %
bootstrap intervals over these rows; they do not include the variation between training seeds. A gain is the
difference to the best student that was trained without teacher labels."""
CHOICE = """These training configurations were compared on your own rows, out of fold, before the first
teacher call. The best one is used for every later student. The test set was not used for this choice."""
CHECK = """Students that were not trained on these rows of yours disagree with their labels (confident
learning, Northcutt et al. 2021). Nothing was changed. Check these rows, and correct your file if a label is
wrong. All of them are in labels_to_check.csv."""
SHOWN = 20


def comparison_section(run: Run) -> list[Html]:
    """Show how much the teacher labels improved the student."""
    if "stop" not in run.about:
        return [tag("p", "This is measured when the run ends.")]
    comparison = run.about.get("comparison")
    if not comparison:
        return [tag("p", "Not measured: no student was refitted on all rows, or no row was held out.")]
    head = [
        "Trained on",
        ">Own rows",
        ">Teacher labels",
        ">Unlabelled",
        f">{named(comparison['metric'])}",
        ">95 % interval",
        ">Gain",
        ">95 % interval",
    ]
    rows = [
        (
            tag("b", arm["title"]) if arm["delivered"] else arm["title"],
            arm["rows"],
            arm["teacher_labels"],
            arm["unlabelled"],
            arm["score"],
            _interval(arm["low"], arm["high"]),
            *_gain(arm),
        )
        for arm in comparison["arms"]
    ]
    where = f"Measured on {comparison['measured_on']}. The final student is in bold."
    parts = [tag("p", comparison["sentence"]), table(head, rows), tag("p", where, " ", METHOD, class_="soft")]
    return [*parts, *_training(run.folder)]


def labels_section(run: Run) -> list[Html]:
    """List the user's rows whose label looks wrong, the most suspicious first."""
    path = run.folder.labels_to_check
    if run.about.get("labels_to_check") is None:
        needs = "labelled rows in folds, students that give probabilities, and a finished run"
        return [tag("p", f"Not checked: this check needs {needs}.")]
    if not path.exists():
        return [tag("p", "None: no label of yours looks wrong to a student that was not trained on it.")]
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    numbers = {name for name in head if name.startswith("p_")}
    titles = [f">{name.replace('_', ' ')}" if name in numbers else name for name in head]
    more = (
        [] if len(rows) <= SHOWN else [tag("p", f"{len(rows) - SHOWN} more are in the file.", class_="soft")]
    )
    return [tag("p", CHECK, class_="soft"), table(titles, rows[:SHOWN]), *more]


def comparison_table(about: dict[str, Any]) -> Table | None:
    """Return the comparison as a table for the terminal, or None if the run has no comparison."""
    comparison = about.get("comparison")
    if not comparison:
        return None
    table_ = Table(
        title=f"{about['task']['name']}: {named(comparison['metric'])}, {comparison['measured_on']}"
    )
    for heading in (
        "trained on",
        "own rows",
        "teacher labels",
        "unlabelled",
        "score",
        "95 % interval",
        "gain",
        "95 % interval",
    ):
        table_.add_column(heading, justify="left" if heading == "trained on" else "right")
    for arm in comparison["arms"]:
        name = f"{arm['title']}  <- the student you get" if arm["delivered"] else arm["title"]
        score_interval, gain = _interval(arm["low"], arm["high"]), [str(part) for part in _gain(arm)]
        counts = [f"{arm[key]:,}" for key in ("rows", "teacher_labels", "unlabelled")]
        table_.add_row(name, *counts, f"{arm['score']:.3f}", score_interval, *gain)
    return table_


def _training(folder: RunFolder) -> list[Html]:
    if not folder.training.exists():
        return []
    choice = json.loads(folder.training.read_text(encoding="utf-8"))
    rows = [
        (
            tag("b", one["configuration"])
            if one["configuration"] == choice["chosen"]
            else one["configuration"],
            one["score"],
            f"{one['seconds']:,.0f}",
        )
        for one in choice["tried"]
    ]
    head = ["Configuration", ">Out-of-fold score", ">Seconds"]
    return [tag("h3", "Training configurations"), tag("p", CHOICE, class_="soft"), table(head, rows)]


def _interval(low: float, high: float) -> str:
    return f"{low:.3f} to {high:.3f}"


def _gain(arm: dict[str, Any]) -> tuple[str, str]:
    if "gain" not in arm:
        return "", ""
    difference, low, high = arm["gain"]
    return f"{difference:+.3f}", f"{low:+.3f} to {high:+.3f}"
