"""Gaps: labels and confusions for which the user's pool has hardly any texts. Texts are written for these."""

from collections import Counter
from collections.abc import Sequence
from math import ceil

import numpy as np
from tutelage.graph.context import RunContext
from tutelage.graph.requests.generation_requests import Gaps
from tutelage.graph.requests.pool_texts import candidate_predictions, pool_candidates
from tutelage.graph.students.committee import mean_predictions
from tutelage.graph.task.schema import Task
from tutelage.student.models.predictions import Predictions

COVERED = 5  # pool texts needed for a label, or a confusion of two labels, to count as covered (ours)
UNDECIDED = 0.1  # from this probability of the second label on, a text lies between two labels (ours)
WRITTEN_SHARE = 0.5  # largest share of a round that is written while the pool has texts left (ours)


def gaps(ctx: RunContext, best: int, round: int) -> Gaps | None:
    """Find what the pool lacks by the predictions of round `best`, before the given round draws from it.

    Returns:
        None if the pool is empty; all texts are written then.
    """
    if not pool_candidates(ctx, round):
        return None
    return _find_gaps(ctx.task, mean_predictions(candidate_predictions(ctx, best, round)))


def to_write(labels: Sequence[str], gaps: Gaps | None, weaknesses: int, wanted: int) -> int:
    """Return how many of the wanted texts are to be written: an equal share for each missing label and each
    weakness, but at most `WRITTEN_SHARE`; all of them if the pool is empty.
    """
    if gaps is None:
        return wanted
    share = ceil(wanted / max(len(labels), 1))
    return min(share * (len(gaps.labels) + weaknesses), round(WRITTEN_SHARE * wanted))


def _find_gaps(task: Task, predicted: Predictions) -> Gaps:
    """Find gaps by the probabilities of classifiers or the entity types that taggers predict. Generated
    answers cannot sort a pool, so that the pool of a task without labels counts as covered.
    """
    every = list(task.labels)
    if predicted.probabilities is None:
        counts = Counter(label for answer in predicted.answers for label in set(task.type.labels_in(answer)))
        return Gaps([label for label in every if counts[label] < COVERED], None)
    p = predicted.probabilities
    top = np.sort(p.argsort(1)[:, -2:], axis=1)
    likely = np.bincount(top.ravel(), minlength=len(every))
    labels = [label for label, count in zip(every, likely, strict=True) if count < COVERED]
    undecided = np.sort(p, axis=1)[:, -2] >= UNDECIDED
    pairs = Counter((int(a), int(b)) for a, b in top[undecided])
    covered = {frozenset(every[i] for i in pair) for pair, count in pairs.items() if count >= COVERED}
    unsure = ((p >= UNDECIDED) & (p <= 1 - UNDECIDED)).sum(0)  # a single label that is missed or invented
    covered |= {
        frozenset((label, outcome))
        for label, count in zip(every, unsure, strict=True)
        for outcome in task.type.error_kinds
        if count >= COVERED
    }
    return Gaps(labels, covered)
