"""Overlap: how much of a set of texts stands, or nearly stands, in an exam."""

from collections.abc import Sequence
from typing import TypedDict

from tutelage.student.data.rows import content_id, normal
from tutelage.student.encoder import Vectors
from tutelage.student.tasks import Kind
from tutelage.student.tasks.classification import CLASSIFICATION

WORDS = 8  # a run of so many words in common is no accident in short texts


class Overlap(TypedDict):
    """Texts found in the exam exactly, sharing a run of 8 words, and at or above the cosine threshold."""

    texts: int
    exact: int
    ngram: int
    near: int
    nearest: float


def overlap(
    texts: Sequence[str],
    exam: Sequence[str],
    encoder: Vectors,
    threshold: float,
    kind: Kind = CLASSIFICATION,
) -> Overlap:
    """Count texts that overlap with an exam; `nearest` is the highest cosine, 0 if either is empty."""
    if not texts or not exam:
        return Overlap(texts=len(texts), exact=0, ngram=0, near=0, nearest=0.0)
    ids = {content_id(text, kind) for text in exam}
    runs = {run for text in exam for run in _runs(text)}
    nearest = (encoder.encode(texts) @ encoder.encode(exam).T).max(1)
    return Overlap(
        texts=len(texts),
        exact=sum(content_id(text, kind) in ids for text in texts),
        ngram=sum(bool(runs & set(_runs(text))) for text in texts),
        near=int((nearest >= threshold).sum()),
        nearest=round(float(nearest.max()), 4),
    )


def _runs(text: str) -> list[tuple[str, ...]]:
    words = normal(text).split()
    return [tuple(words[i : i + WORDS]) for i in range(len(words) - WORDS + 1)]
