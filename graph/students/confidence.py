"""How far the delivered student's confidence can be trusted: against the user's labels and the teacher's."""

import numpy as np
from tutelage.graph.context import RunContext
from tutelage.graph.students.predictions import out_of_fold_probabilities
from tutelage.student.data.rows import Row
from tutelage.student.evaluation.agreement import measure_agreement
from tutelage.student.evaluation.confidence import Reliability, measured
from tutelage.student.models.base import Student


def fold_reliability(ctx: RunContext, best: int) -> Reliability | None:
    """Return the calibration of a single-label classifier by the out-of-fold answers of round `best`; None
    for other students.

    The students of that round had similar training sets, and none of them saw the rows that it answers.
    """
    probabilities = out_of_fold_probabilities(ctx.folder, ctx.splits, best)
    if probabilities is None or not ctx.task.type.single_label:
        return None
    gold = np.array([ctx.labels.index(row["label"]) for row in ctx.splits.labelled])
    found = measured(probabilities, gold)
    ctx.trace.log(temperature=found.temperature, calibration_error=[found.error_before, found.error])
    return found


def store_agreement(ctx: RunContext, student: Student, rows: list[Row]) -> None:
    """Compare the student of the chosen labels with the teacher's labels of random texts, which it did not
    learn, and write agreement.json.

    The delivered student learnt these texts too. It is the better one, so this is a careful estimate for it.
    """
    control: list[Row] = ctx.folder.read_lines(ctx.folder.control_labels)
    learnt = {row["id"] for row in rows}
    unseen = [row for row in control if row["id"] not in learnt]
    if unseen:
        texts, labels = [row["text"] for row in unseen], [row["label"] for row in unseen]
        measure_agreement(student, texts, labels).save(ctx.folder.path)
