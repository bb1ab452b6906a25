"""The report's sections about what the teacher's labels were worth, how the training was chosen, and which of
the user's labels look wrong.
"""

import csv
import json
from typing import Any

from rich.table import Table
from tutelage.graph.report.page import Html, table, tag
from tutelage.graph.report.run_section import Run, named
from tutelage.graph.run_folder.folder import RunFolder

HOW = """Every student is trained alike and measured on the same rows. Intervals are 95 % (bootstrap over
these rows; what another training seed would change is not in them). A gain is over the student that has seen
no teacher label."""
CHOICE = """The training configurations that were compared on your own rows, out of fold, before anything was
asked of the teacher; the best one trains every later student. The test set took no part in it."""
CHECK = """Rows of yours whose label is doubted by the students that have not learnt them (confident learning,
Northcutt et al. 2021). Nothing was changed: look at them, and correct your file where they are wrong. All of
them are in labels_to_check.csv."""
SHOWN = 20


def comparison_section(run: Run) -> list[Html]:
    """What the teacher's labels were worth."""
    if "stop" not in run.about:
        return [tag("p", "This is measured when the run ends.")]
    found = run.about.get("comparison")
    if not found:
        return [tag("p", "Not measured: no student was refitted on all rows, or no row was held out.")]
    head = [
        "Trained on",
        ">Own rows",
        ">Teacher labels",
        ">Unlabelled",
        f">{named(found['metric'])}",
        ">95 %",
        ">Gain",
        ">95 %",
    ]
    rows = [
        (
            tag("b", arm["title"]) if arm["delivered"] else arm["title"],
            arm["rows"],
            arm["teacher_labels"],
            arm["unlabelled"],
            arm["score"],
            _span(arm["low"], arm["high"]),
            *_gain(arm),
        )
        for arm in found["arms"]
    ]
    where = f"Measured on {found['measured_on']}. The student that was left is in bold."
    parts = [tag("p", found["sentence"]), table(head, rows), tag("p", where, " ", HOW, class_="soft")]
    return [*parts, *_training(run.folder)]


def labels_section(run: Run) -> list[Html]:
    """The user's rows whose label looks wrong, the most suspect first."""
    path = run.folder.labels_to_check
    if run.about.get("labels_to_check") is None:
        why = "your own labelled rows in folds, students with probabilities, and a run that has ended"
        return [tag("p", f"Not checked: this needs {why}.")]
    if not path.exists():
        return [tag("p", "None: no label of yours looks wrong to a student that has not learnt it.")]
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    numbers = {name for name in head if name.startswith("p_")}
    titles = [f">{name.replace('_', ' ')}" if name in numbers else name for name in head]
    left = (
        [] if len(rows) <= SHOWN else [tag("p", f"{len(rows) - SHOWN} more are in the file.", class_="soft")]
    )
    return [tag("p", CHECK, class_="soft"), table(titles, rows[:SHOWN]), *left]


def comparison_table(about: dict[str, Any]) -> Table | None:
    """The comparison for a terminal; None where there is none."""
    found = about.get("comparison")
    if not found:
        return None
    table_ = Table(title=f"{about['task']['name']}: {named(found['metric'])}, {found['measured_on']}")
    for heading in (
        "trained on",
        "own rows",
        "teacher's",
        "unlabelled",
        "score",
        "95 %",
        "gain",
        "95 % of the gain",
    ):
        table_.add_column(heading, justify="left" if heading == "trained on" else "right")
    for arm in found["arms"]:
        name = f"{arm['title']}  <- the student you get" if arm["delivered"] else arm["title"]
        span, gain = _span(arm["low"], arm["high"]), [str(part) for part in _gain(arm)]
        counts = [f"{arm[key]:,}" for key in ("rows", "teacher_labels", "unlabelled")]
        table_.add_row(name, *counts, f"{arm['score']:.3f}", span, *gain)
    return table_


def _training(folder: RunFolder) -> list[Html]:
    if not folder.training.exists():
        return []
    found = json.loads(folder.training.read_text(encoding="utf-8"))
    rows = [
        (
            tag("b", one["configuration"])
            if one["configuration"] == found["chosen"]
            else one["configuration"],
            one["score"],
            f"{one['seconds']:,.0f}",
        )
        for one in found["tried"]
    ]
    head = ["Configuration", ">Out of fold", ">Seconds"]
    return [tag("h3", "How the student is trained"), tag("p", CHOICE, class_="soft"), table(head, rows)]


def _span(low: float, high: float) -> str:
    return f"{low:.3f} to {high:.3f}"


def _gain(arm: dict[str, Any]) -> tuple[str, str]:
    if "gain" not in arm:
        return "", ""
    difference, low, high = arm["gain"]
    return f"{difference:+.3f}", f"{low:+.3f} to {high:+.3f}"
