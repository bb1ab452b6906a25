"""The committee: the students of a round, one for each fold, or a single one where rows are not folded."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
from tutelage.graph.context import Workshop
from tutelage.student.data.rows import Row
from tutelage.student.errors import InputError
from tutelage.student.models.base import Student
from tutelage.student.models.load import load_student
from tutelage.student.models.predictions import Reading

Fold = int | None  # None: rows are not folded, and the round has one student


def folds(shop: Workshop) -> list[Fold]:
    """Return the folds of the task's labelled rows; [None] where they are not folded."""
    return [*range(shop.task.fold_count)] if shop.splits.folded else [None]


def members(shop: Workshop, round: int) -> Iterator[tuple[Fold, Student]]:
    """Load the students of a round one after the other: a GPU holds one at a time."""
    for fold in folds(shop):
        yield fold, member(shop, round, fold)


def member(shop: Workshop, round: int | str, fold: Fold) -> Student:
    """Return the student of a round (or of a name) and fold.

    Raises:
        InputError: its folder is gone.
    """
    if fold is None:
        assert isinstance(round, int), "only fold students have names"
        return shop.student(round)
    place = shop.folder.student_of(round, fold)
    if not place.exists():
        raise InputError(f"{place} is missing; the run folder was changed while the run went on")
    device = shop.task.student.device
    return load_student(place, encoder=shop.student_encoder, device_name=device)


def rows_of(shop: Workshop, fold: Fold) -> list[Row]:
    """Return the labelled rows of a fold, in the order of the labelled rows; all where nothing is folded."""
    rows = shop.splits.diagnose
    return rows if fold is None else [row for row in rows if shop.splits.folds[row["id"]] == fold]


def readings(shop: Workshop, round: int, texts: Sequence[str]) -> list[Reading]:
    """Return what each student of a round predicts for the same texts."""
    return [student.read(texts) for _, student in members(shop, round)]


def mean_reading(found: Sequence[Reading]) -> Reading:
    """Return the committee's reading: the answer that most members give, and the mean of every score."""
    if len(found) == 1:
        return found[0]
    names = ("confidence", "entropy", "margin", "energy", "nll", "probabilities")
    parts = {name: [getattr(one, name) for one in found] for name in names}
    means = {
        name: None if any(value is None for value in values) else np.mean(values, axis=0)
        for name, values in parts.items()
    }
    return replace(found[0], answers=_votes(found), **cast(Any, means))


def reading_at(found: Reading, places: Sequence[int]) -> Reading:
    """Return a reading of the texts at some places alone."""
    names = ("confidence", "entropy", "margin", "energy", "nll", "probabilities")
    parts = {name: getattr(found, name) for name in names}
    cut = {name: None if value is None else value[list(places)] for name, value in parts.items()}
    return replace(found, answers=[found.answers[i] for i in places], **cast(Any, cut))


def _votes(found: Sequence[Reading]) -> list[str]:
    """Return for each text the answer that most members give, on a tie the surest member's."""
    answers = []
    for place in range(len(found[0].answers)):
        weight: dict[str, float] = {}
        for one in found:
            answer = one.answers[place]
            weight[answer] = weight.get(answer, 0.0) + 1 + float(one.confidence[place]) / (len(found) + 1)
        answers.append(max(weight, key=lambda answer: weight[answer]))
    return answers
