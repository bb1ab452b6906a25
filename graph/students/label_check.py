"""The label check: find rows whose label disagrees with the out-of-fold predictions. It changes no label."""

import csv
import io

from tutelage.graph.context import RunContext
from tutelage.graph.students.predictions import out_of_fold_probabilities
from tutelage.student.evaluation.label_errors import LabelError, label_errors
from tutelage.student.tasks.fields import split

COLUMNS = ("label", "suggested", "p_label", "p_suggested")


def suspected_labels(ctx: RunContext, round: int) -> list[LabelError] | None:
    """Return the user's rows whose label is probably wrong, the most suspect first (confident learning on the
    out-of-fold probabilities of a round's students).

    Returns:
        None if nothing can be checked: there are no folds, the students give no probabilities, or the teacher
        labelled the rows.
    """
    probabilities = out_of_fold_probabilities(ctx, round)
    if probabilities is None or ctx.folder.first_labels.exists():
        return None
    labels = [row["label"] for row in ctx.splits.labelled]
    return label_errors(ctx.task.type, labels, probabilities, ctx.labels)


def write_labels_to_check(ctx: RunContext, suspects: list[LabelError]) -> None:
    """Write labels_to_check.csv: texts, their labels, the students' labels, and the probabilities of both."""
    rows, task_type = ctx.splits.labelled, ctx.task.type
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*ctx.task.fields, *COLUMNS])
    for one in suspects:
        parts = split(rows[one.place]["text"], ctx.task.fields)
        labels = [task_type.to_text(label, rows[one.place]["text"]) for label in (one.given, one.suggested)]
        writer.writerow([*parts.values(), *labels, f"{one.p_given:.3f}", f"{one.p_suggested:.3f}"])
    if suspects:
        ctx.folder.write(ctx.folder.labels_to_check, text.getvalue())
    else:
        ctx.folder.labels_to_check.unlink(missing_ok=True)
