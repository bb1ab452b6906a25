"""The label check: find rows whose label disagrees with the out-of-fold predictions. It changes no label."""

import csv
import io

from tutelage.graph.review.apply import own_labels
from tutelage.graph.review.decisions import Review
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.students.predictions import out_of_fold_probabilities
from tutelage.graph.task.schema import Task
from tutelage.graph.task.splits import Splits
from tutelage.student.evaluation.label_errors import LabelError, label_errors
from tutelage.student.tasks.fields import split

COLUMNS = ("label", "suggested", "p_label", "p_suggested")


def suspected_labels(task: Task, splits: Splits, folder: RunFolder, round: int) -> list[LabelError] | None:
    """Return the user's rows whose label is probably wrong, by the out-of-fold probabilities of a round's
    students; the most suspect first. Rows that a person has judged in the review are left out.

    Returns:
        None if nothing can be checked: there are no folds, the students give no probabilities, or the teacher
        labelled the rows.
    """
    probabilities = out_of_fold_probabilities(folder, splits, round)
    if probabilities is None or folder.first_labels.exists():
        return None
    labels = [row["label"] for row in splits.labelled]
    suspects = label_errors(task.type, labels, probabilities, list(task.labels))
    judged = own_labels(Review(folder).decisions())
    return [one for one in suspects if splits.labelled[one.row_index]["id"] not in judged]


def write_labels_to_check(task: Task, splits: Splits, folder: RunFolder, suspects: list[LabelError]) -> None:
    """Write labels_to_check.csv: texts, their labels, the students' labels, and the probabilities of both."""
    rows = splits.labelled
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*task.fields, *COLUMNS])
    for one in suspects:
        parts = split(rows[one.row_index]["text"], task.fields)
        labels = [
            task.type.to_text(label, rows[one.row_index]["text"]) for label in (one.given, one.suggested)
        ]
        writer.writerow([*parts.values(), *labels, f"{one.p_given:.3f}", f"{one.p_suggested:.3f}"])
    if suspects:
        folder.write(folder.labels_to_check, text.getvalue())
    else:
        folder.labels_to_check.unlink(missing_ok=True)
