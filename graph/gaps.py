"""Gaps: labels and confusions that the user's pool holds next to nothing of. Texts are written for them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from tutelage.agents.analyst import Answer, Weakness
from tutelage.agents.generator import Request
from tutelage.graph.committee import mean_reading, readings
from tutelage.graph.generation_requests import apportion, requests_for, sides
from tutelage.graph.pool_texts import pool_candidates
from tutelage.graph.workshop import Workshop
from tutelage.student.kinds import Kind
from tutelage.student.reading import Reading

COVERED = 5  # texts of the pool from which a label, or a confusion of two, counts as covered (ours)
UNDECIDED = 0.1  # probability of the second label from which a text lies between two labels (ours)
WRITTEN_SHARE = 0.5  # of a round at most is written while the pool still has texts (ours)


@dataclass(frozen=True)
class Gaps:
    """What the pool lacks, by the students' answers: `labels` that are the first or second guess for next to
    none of its texts, and `covered`, the pairs of labels that it has undecided texts of.
    """

    labels: list[str]
    covered: set[frozenset[str]]

    def lacks(self, kind: Kind, answer: Answer) -> bool:
        """Return whether the pool holds next to no text like a wrong answer: of its gold label, or undecided
        between the two.
        """
        pairs = kind.slips(answer["label"], answer["predicted"])
        return any(pair[0] in self.labels or frozenset(pair) not in self.covered for pair in pairs)


def gaps(shop: Workshop, best: int, round: int) -> Gaps:
    """Find what the pool lacks, by the students of round `best`, before the given round draws from it.

    Only for tasks with classes: students that tag or write answer nothing that a pool could be sorted by.
    """
    key = (best, round)
    if key not in shop.gaps_found:
        shop.gaps_found.clear()
        rows = pool_candidates(shop, round, 1)
        found = mean_reading(readings(shop, best, [row["text"] for row in rows])) if rows else None
        shop.gaps_found[key] = _found(shop, found)
    return shop.gaps_found[key]


def to_write(shop: Workshop, gaps: Gaps, weaknesses: int, wanted: int) -> int:
    """Return how many of the wanted texts are to be written: an equal share for each label that is a gap, and
    as much for each weakness.
    """
    share = ceil(wanted / max(len(shop.labels), 1))
    return min(share * (len(gaps.labels) + weaknesses), round(WRITTEN_SHARE * wanted))


def gap_requests(count: int, weaknesses: Sequence[Weakness], labels: Sequence[str]) -> list[Request]:
    """Return requests for `count` texts: the same number for each weakness, as hard texts of both its labels,
    and for each label that is a gap.
    """
    keys = [*(weakness["id"] for weakness in weaknesses), *labels]
    shares = apportion(dict.fromkeys(keys, 1.0), count) if keys else {}
    requests: list[Request] = []
    for weakness in weaknesses:
        parts = apportion(dict(sides(weakness)), shares[weakness["id"]])
        requests += requests_for("hard", parts, weakness["id"])
    return requests + requests_for("any", {label: shares[label] for label in labels})


def _found(shop: Workshop, reading: Reading | None) -> Gaps:
    if reading is None or reading.probabilities is None:
        return Gaps([] if reading else list(shop.labels), set())
    p = reading.probabilities
    top = np.sort(p.argsort(1)[:, -2:], axis=1)
    likely = np.bincount(top.ravel(), minlength=len(shop.labels))
    labels = [label for label, count in zip(shop.labels, likely, strict=True) if count < COVERED]
    undecided = np.sort(p, axis=1)[:, -2] >= UNDECIDED
    pairs = Counter((int(a), int(b)) for a, b in top[undecided])
    covered = {frozenset(shop.labels[i] for i in pair) for pair, count in pairs.items() if count >= COVERED}
    return Gaps(labels, covered)
