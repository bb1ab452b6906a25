"""The calibration of the delivered student by the answers of the fold students."""

from typing import cast

import numpy as np
from tutelage.graph.context import RunContext
from tutelage.graph.students.predictions import out_of_fold_probabilities
from tutelage.student.evaluation.confidence import measured
from tutelage.student.models.base import Classifier, Student


def calibrate(ctx: RunContext, student: Student, best: int) -> None:
    """Calibrate the confidence of a single-label classifier, and write confidence.json.

    The temperature is that of the out-of-fold answers of round `best`: its students had similar training
    sets, and none of them saw the rows that it answers. Other students are left as they are.
    """
    probabilities = out_of_fold_probabilities(ctx.folder, ctx.splits, best)
    if probabilities is None or not ctx.task.type.single_label:
        return
    gold = np.array([ctx.labels.index(row["label"]) for row in ctx.splits.labelled])
    found = measured(probabilities, gold)
    cast(Classifier, student).divide_logits(found.temperature)
    found.save(ctx.folder.path)
    ctx.trace.log(temperature=found.temperature, calibration_error=[found.error_before, found.error])
