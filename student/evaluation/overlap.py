"""Overlap: how many texts also occur in an evaluation set, exactly or nearly."""

from collections.abc import Sequence
from typing import TypedDict

from tutelage.student.data.rows import content_id, normal_form
from tutelage.student.encoder import Vectors
from tutelage.student.tasks.classification import CLASSIFICATION
from tutelage.student.tasks.task_type import TaskType

WORDS = 8  # a shared run of this many words is unlikely to be chance in short texts


class Overlap(TypedDict):
    """Counts of texts: all, exact duplicates, sharing a run of 8 words, at or above the cosine threshold."""

    texts: int
    exact: int
    ngram: int
    near: int
    nearest: float


def overlap(
    texts: Sequence[str],
    held_out: Sequence[str],
    encoder: Vectors,
    threshold: float,
    task_type: TaskType = CLASSIFICATION,
) -> Overlap:
    """Count texts that occur in the set `held_out`; `nearest` is the highest cosine, 0 if either set is
    empty.
    """
    if not texts or not held_out:
        return Overlap(texts=len(texts), exact=0, ngram=0, near=0, nearest=0.0)
    ids = {content_id(text, task_type) for text in held_out}
    runs = {run for text in held_out for run in _runs(text)}
    nearest = (encoder.encode(texts) @ encoder.encode(held_out).T).max(1)
    return Overlap(
        texts=len(texts),
        exact=sum(content_id(text, task_type) in ids for text in texts),
        ngram=sum(bool(runs & set(_runs(text))) for text in texts),
        near=int((nearest >= threshold).sum()),
        nearest=round(float(nearest.max()), 4),
    )


def _runs(text: str) -> list[tuple[str, ...]]:
    words = normal_form(text).split()
    return [tuple(words[i : i + WORDS]) for i in range(len(words) - WORDS + 1)]
