"""Choose the texts that a person is asked about (ours)."""

import random
from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
from tutelage.graph.review.decisions import Decision, Item, NearRow
from tutelage.student.data.rows import Row
from tutelage.student.encoder import Vectors

RANDOM_SHARE = 0.2  # of the judged texts are drawn at random, to measure the teacher (ours)
OWN_SHARE = 0.25  # of the judged texts at most are rows of the user's own (ours)
NEAR_ROWS = 3  # rows of the user's own that are shown beside a text
_SURE = 0.98  # the largest probability that is believed, of a teacher or of students (ours)


class Candidate(NamedTuple):
    """A text that could be judged. `uncertainty` is the probability that its label is wrong or, before it has
    a label, that the students' answer is. `weakness` is the id of a new weakness that it was written for, or
    "".
    """

    item: Item
    uncertainty: float
    weakness: str = ""


def label_uncertainty(confidence: float | None, agreement: float) -> float:
    """Return the uncertainty of a label, from 0 to 1: the probability that it is wrong, if teacher and
    students were independent witnesses (naive Bayes, ours).

    Args:
        confidence: the teacher's calibrated confidence in the label, None if it is not known.
        agreement: how far students that were not trained on the text agree: 1 less the amount by which they
            think another label more probable. Their probability of the label itself is low wherever they are
            unsure, and so for most texts of a task with many labels.
    """
    right = [min(max(p, 1 - _SURE), _SURE) for p in (confidence, agreement) if p is not None]
    for_it, against = float(np.prod(right)), float(np.prod([1 - p for p in right]))
    return against / (for_it + against)


def allowance(budget: int, decisions: Sequence[Decision], round: int, rounds: int) -> int:
    """Return how many more texts may be judged in a round: what is left of the budget is spread evenly over
    the rounds that are left.
    """
    seen = [decision["round"] for decision in decisions if decision["action"] != "unseen"]
    before, now = sum(one < round for one in seen), seen.count(round)
    return max(ceil((budget - before) / max(rounds - round + 1, 1)) - now, 0)


def chosen(
    samples: Sequence[Candidate], own: Sequence[Candidate], count: int, *, measured: bool, seed: str
) -> list[Item]:
    """Return the texts to judge, the most uncertain first.

    A part is drawn at random if `measured`, a part are rows of the user's own, and one text is taken from
    each new weakness. The most uncertain samples fill the rest.

    Args:
        samples: samples of the round.
        own: the user's rows with a suspected label.
        count: the number of texts, at most.
        measured: whether the samples have labels of the teacher, which random texts measure.
        seed: the seed of the random texts.
    """
    of_own = sorted(own, key=_by_uncertainty)[: int(count * OWN_SHARE)]
    count = min(count - len(of_own), len(samples))
    chance = random.Random(seed)
    # Rounded up or down by chance, so that the share holds on average, however few texts there are.
    some = int(count * RANDOM_SHARE + chance.random())
    drawn = chance.sample(samples, min(some, count) if measured else 0)
    taken = {one.item["id"] for one in drawn}
    left = [one for one in sorted(samples, key=_by_uncertainty) if one.item["id"] not in taken]
    worst: dict[str, Candidate] = {}  # of each new weakness, the most uncertain text
    for one in left:
        worst.setdefault(one.weakness, one)
    worst.pop("", None)
    served = list(worst.values())[: count - len(drawn)]
    served_ids = {one.item["id"] for one in served}
    rest = [one for one in left if one.item["id"] not in served_ids][: count - len(drawn) - len(served)]
    random_ones = [
        one._replace(item={**one.item, "random": True, "reason": "drawn at random, to measure the teacher"})
        for one in drawn
    ]
    return [one.item for one in sorted([*of_own, *random_ones, *served, *rest], key=_by_uncertainty)]


def near_rows(texts: Sequence[str], rows: Sequence[Row], encoder: Vectors) -> list[list[NearRow]]:
    """Return for each text the nearest of the user's rows, without the text itself."""
    if not (texts and rows):
        return [[] for _ in texts]
    cosines = encoder.encode(list(texts)) @ encoder.encode([row["text"] for row in rows]).T
    return [
        [
            NearRow(text=rows[i]["text"], label=rows[i]["label"], similarity=round(float(near[i]), 2))
            for i in np.argsort(-near, kind="stable")[: NEAR_ROWS + 1]
            if rows[i]["text"] != text
        ][:NEAR_ROWS]
        for text, near in zip(texts, cosines, strict=True)
    ]


def _by_uncertainty(candidate: Candidate) -> float:
    return -candidate.uncertainty
