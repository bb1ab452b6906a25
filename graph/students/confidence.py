"""How far the delivered student's confidence can be trusted: against the user's labels and the teacher's."""

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from tutelage.graph.context import RunContext
from tutelage.graph.students.predictions import out_of_fold_probabilities
from tutelage.student.data.rows import Row
from tutelage.student.evaluation.agreement import Agreement, measure_agreement
from tutelage.student.evaluation.confidence import Reliability, measured
from tutelage.student.models.base import Student

LEAST, MOST = 50, 1_000  # unlabelled texts that show how confident the delivered student is (ours)


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


def chosen_agreement(ctx: RunContext, student: Student, rows: Sequence[Row]) -> Agreement | None:
    """Compare the student of the chosen labels, `rows`, with the teacher's labels of random texts that it did
    not learn; None if there are none.
    """
    control: list[Row] = ctx.folder.read_lines(ctx.folder.control_labels)
    unseen = _unseen(control, rows)
    if not unseen:
        return None
    texts, labels = [row["text"] for row in unseen], [row["label"] for row in unseen]
    missing = 1 - len(unseen) / len(control)
    return replace(measure_agreement(student, texts, labels), missing=missing)


def store_agreement(ctx: RunContext, found: Agreement, student: Student, rows: Sequence[Row]) -> None:
    """Write agreement.json for the delivered student, which learnt the labels of `rows`.

    It learnt the random texts that the student of the chosen labels was compared on. Its own confidence comes
    from texts of the pool whose label it did not learn; that it agrees no less often is an assumption. With
    fewer than 50 such texts nothing is written, because the threshold would be that of another student.
    """
    unseen = _unseen(ctx.splits.unlabelled, rows)
    if len(unseen) < LEAST:
        return
    drawn = random.Random(f"{ctx.task.seed} agreement").sample(unseen, min(MOST, len(unseen)))
    confidence = student.predict([row["text"] for row in drawn], best=True).confidence
    found.on_scale_of(confidence).save(ctx.folder.path)


def _unseen(rows: Sequence[Row], learnt: Sequence[Row]) -> list[Row]:
    ids = {row["id"] for row in learnt}
    return [row for row in rows if row["id"] not in ids]
