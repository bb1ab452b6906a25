"""The label check: rows of the user's own whose label looks wrong out of fold. Nothing is changed by it."""

import csv
import io

from tutelage.graph.context import Workshop
from tutelage.graph.students.predictions import out_of_fold_probabilities
from tutelage.student.evaluation.label_errors import LabelError, label_errors
from tutelage.student.tasks.fields import split

COLUMNS = ("label", "suggested", "p_label", "p_suggested")


def suspected_labels(shop: Workshop, round: int) -> list[LabelError] | None:
    """Find the user's rows whose label is probably wrong, the most suspect first (confident learning on the
    out-of-fold probabilities of a round's students).

    Returns:
        None where nothing can be checked: without folds, of students without probabilities, or where the
        teacher labelled the rows.
    """
    probabilities = out_of_fold_probabilities(shop, round)
    if probabilities is None or shop.folder.first_labels.exists():
        return None
    given = [row["label"] for row in shop.splits.labelled]
    return label_errors(shop.task.form, given, probabilities, shop.labels)


def write_labels_to_check(shop: Workshop, suspects: list[LabelError]) -> None:
    """Write labels_to_check.csv: texts, their labels, what the students answer, and both probabilities."""
    rows, kind = shop.splits.labelled, shop.task.form
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*shop.task.fields, *COLUMNS])
    for one in suspects:
        parts = split(rows[one.place]["text"], shop.task.fields)
        labels = [kind.words(label, rows[one.place]["text"]) for label in (one.given, one.suggested)]
        writer.writerow([*parts.values(), *labels, f"{one.p_given:.3f}", f"{one.p_suggested:.3f}"])
    if suspects:
        shop.folder.write(shop.folder.labels_to_check, text.getvalue())
    else:
        shop.folder.labels_to_check.unlink(missing_ok=True)
