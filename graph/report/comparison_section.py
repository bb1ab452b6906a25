"""The report's sections about the value of the teacher labels, the choice of the training configuration and
the user's labels that look wrong.
"""

import csv
import json

from tutelage.graph.report.page import Html, table, tag
from tutelage.graph.report.run_section import Run, metric_title
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.students.comparison import ArmScore, Comparison
from tutelage.student.evaluation.confidence import load_reliability

METHOD = """All students are trained with the same settings and evaluated on the same rows. They differ in
the labels and in the unlabelled texts that they learn from, with the fold students' answers as targets. Of
the students with teacher labels, only the delivered one is also trained on unlabelled texts. A text with a
teacher label is not an unlabelled one. Intervals are 95 % bootstrap intervals over the rows; they do not
include the variation between training seeds. A gain is the difference to the best student that was trained
without teacher labels."""
UNMEASURED = """The student that you get is not among these, which are students of the folds: it was trained
like the last one, on all rows, and there are no other rows to measure it on."""
CHOICE = """These training configurations were compared on your own rows, out of fold, before the first
teacher call. The best one is used for every later student. The test set was not used for this choice."""
CHECK = """These labels of yours are probably wrong, in the view of students that were not trained on the
rows. Nothing was changed. Check these rows, and correct your file if a label is wrong. All of them are in
labels_to_check.csv."""
SHOWN = 20
TITLES = {
    "labels_alone": "your labels alone",
    "self_trained": "your labels and your unlabelled texts, no teacher",
    "random": "+ {} teacher labels at random",
    "chosen": "+ {} teacher labels, chosen",
    "all": "+ all {} teacher labels",
}
UNUSED = {"kept": "of rounds that were rolled back", "duplicate": "near-duplicates"}  # names of statuses
HEAD = (
    "Trained on", ">Your rows", ">Teacher labels", ">Unlabelled", ">Score", ">95 % interval", ">Gain",
    ">95 % interval",
)  # fmt: skip


def comparison_section(run: Run) -> list[Html]:
    """Show how much the teacher labels improved the student."""
    if "stop" not in run.about:
        return [tag("p", "This is measured when the run ends.")]
    comparison = run.about.get("comparison")
    if not comparison:
        return [tag("p", "Not measured: no student was refitted on all rows, or no row was held out.")]
    rows = []
    for arm in comparison["arms"]:
        name = arm_title(run, arm)
        rows.append((tag("b", name) if arm["delivered"] else name, *arm_cells(arm)))
    where = comparison["measured_on"]
    measured = (
        f"The score is {metric_title(comparison['metric'])}, {'on ' if where == 'test' else ''}{where}."
    )
    yours = "The student that you get is in bold."
    if not any(arm["delivered"] for arm in comparison["arms"]):
        yours = UNMEASURED
    note = tag("p", f"{measured} {yours} {METHOD}", class_="soft")
    parts = [tag("p", comparison_sentence(run, comparison)), table(HEAD, rows), note]
    return [*parts, *_confidence(run.folder), *_training(run.folder)]


def arm_title(run: Run, arm: ArmScore) -> str:
    """Return the name of a student of the comparison to show."""
    if arm["name"] == "labels_alone" and run.folder.first_labels.exists():
        return "the teacher's first labels alone"
    return TITLES[arm["name"]].format(arm["teacher_labels"])


def comparison_sentence(run: Run, comparison: Comparison) -> str:
    """Return a sentence that states how much the teacher's labels improved the student."""
    metric, where = metric_title(comparison["metric"]), comparison["measured_on"]
    arms = {arm["name"]: arm for arm in comparison["arms"]}
    without = [arms[name] for name in ("labels_alone", "self_trained") if name in arms]
    base = max(without, key=lambda arm: arm["score"])
    before = base["score"]
    if "chosen" not in arms:
        unused = (f"{count} {UNUSED.get(name, name)}" for name, count in run.status_counts.most_common())
        why = ", ".join(unused) or "none"
        return (
            f"No teacher label was used (texts: {why}): {metric} is {before:.2f} with {arm_title(run, base)}"
            f" ({where})."
        )
    final = arms.get("all", arms["chosen"])
    count, after, (_, low, high) = final["teacher_labels"], final["score"], final["gain"]
    span = f"({where}; 95 % interval of the gain {low:.2f} to {high:.2f})"
    alone = base["name"] == "labels_alone"
    rival = "" if alone else ", compared with your labels and unlabelled texts without a teacher"
    if low > 0:
        effect = f"raised {metric} from {before:.2f} to {after:.2f}{rival} {span}"
    else:
        effect = "brought no gain beyond noise" if high >= 0 else "made the student worse"
        effect += f"{rival}: {metric} is {before:.2f} without them and {after:.2f} with them {span}"
    result = f"The teacher's {count} labels {effect}"
    if (equal := comparison["worth"]) is not None and low > 0:
        least = "at least " if equal > arms["random"]["teacher_labels"] else ""  # `worth` extrapolates
        chosen = arms["chosen"]["teacher_labels"]
        result += f"; the {chosen} chosen ones were worth {least}as much as about {equal} of random texts"
    return result + "."


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


def arm_cells(arm: ArmScore) -> tuple[object, ...]:
    """Return the figures of a student of the comparison, as the columns of `HEAD` after the first."""
    gain: tuple[str, ...] = ("", "")
    if "gain" in arm:
        change, low, high = arm["gain"]
        gain = f"{change:+.3f}", f"{low:+.3f} to {high:+.3f}"
    interval = f"{arm['low']:.3f} to {arm['high']:.3f}"
    return (arm["rows"], arm["teacher_labels"], arm["unlabelled"], arm["score"], interval, *gain)


def _confidence(folder: RunFolder) -> list[Html]:
    """Say how far the student's confidence can be trusted."""
    if not folder.confidence.exists():
        return []
    found = load_reliability(folder.path)
    limit = ", the limit: these rows are too few or too easy to calibrate on" if found.at_limit else ""
    return [
        tag(
            "p",
            f"Its confidence is calibrated on your {len(found.right)} rows, out of fold: the mean distance"
            f" between confidence and accuracy was {found.error_before:.3f} and is {found.error:.3f} now"
            f" (temperature {found.temperature:.2f}{limit})."
            " tutelage predict --precision 0.95 leaves out labels"
            " that are less surely right.",
            class_="soft",
        )
    ]


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
