"""Gaps: labels and confusions that the user's pool holds next to nothing of. Texts are written for them."""

from collections import Counter
from math import ceil

import numpy as np
from tutelage.graph.context import Workshop
from tutelage.graph.requests.generation_requests import Gaps
from tutelage.graph.requests.pool_texts import candidate_readings, pool_candidates
from tutelage.graph.students.committee import mean_reading
from tutelage.student.models.predictions import Reading

COVERED = 5  # texts of the pool from which a label, or a confusion of two, counts as covered (ours)
UNDECIDED = 0.1  # probability of the second label from which a text lies between two labels (ours)
WRITTEN_SHARE = 0.5  # of a round at most is written while the pool still has texts (ours)


def gaps(shop: Workshop, best: int, round: int) -> Gaps | None:
    """Find what the pool lacks, by the students of round `best`, before the given round draws from it.

    Returns:
        None where nothing is left in the pool: all texts are written then.
    """
    if not pool_candidates(shop, round):
        return None
    return _found(shop, mean_reading(candidate_readings(shop, best, round)))


def to_write(shop: Workshop, gaps: Gaps | None, weaknesses: int, wanted: int) -> int:
    """Return how many of the wanted texts are to be written: an equal share for each label that is a gap, and
    as much for each weakness; all where the pool is empty.
    """
    if gaps is None:
        return wanted
    share = ceil(wanted / max(len(shop.labels), 1))
    return min(share * (len(gaps.labels) + weaknesses), round(WRITTEN_SHARE * wanted))


def _found(shop: Workshop, reading: Reading) -> Gaps:
    """Find gaps by the probabilities of classifiers, or by the entity types that taggers find. Answers of
    students that write cannot sort a pool: it counts as covered.
    """
    if reading.probabilities is None:
        counts = Counter(label for answer in reading.answers for label in set(shop.task.form.groups(answer)))
        return Gaps([label for label in shop.labels if counts[label] < COVERED], None)
    p = reading.probabilities
    top = np.sort(p.argsort(1)[:, -2:], axis=1)
    likely = np.bincount(top.ravel(), minlength=len(shop.labels))
    labels = [label for label, count in zip(shop.labels, likely, strict=True) if count < COVERED]
    undecided = np.sort(p, axis=1)[:, -2] >= UNDECIDED
    pairs = Counter((int(a), int(b)) for a, b in top[undecided])
    covered = {frozenset(shop.labels[i] for i in pair) for pair, count in pairs.items() if count >= COVERED}
    open_ = ((p >= UNDECIDED) & (p <= 1 - UNDECIDED)).sum(0)  # a label by itself, missed or invented
    covered |= {
        frozenset((label, outcome))
        for label, count in zip(shop.labels, open_, strict=True)
        for outcome in shop.task.form.outcomes
        if count >= COVERED
    }
    return Gaps(labels, covered)
