"""The committee: the students of a round, one per fold, or a single one if the rows are not folded."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
from tutelage.graph.context import RunContext
from tutelage.student.errors import InputError
from tutelage.student.models.base import Student
from tutelage.student.models.predictions import Predictions

Fold = int | None  # None: the rows are not folded, and the round has one student


def members(ctx: RunContext, round: int | str) -> Iterator[tuple[Fold, Student]]:
    """Yield the students of a round (or of a name), each loaded when needed: a GPU holds one at a time."""
    for fold in ctx.folds:
        ctx.stop_if_asked()
        yield fold, member(ctx, round, fold)


def member(ctx: RunContext, round: int | str, fold: Fold) -> Student:
    """Load the student of a round (or of a name) and fold.

    Raises:
        InputError: the student's folder is missing.
    """
    if fold is None:
        assert isinstance(round, int), "only fold students have names"
        return ctx.students.get(round)
    path = ctx.folder.student_of(round, fold)
    if not path.exists():
        raise InputError(f"{path} is missing: the run folder was changed during the run")
    return ctx.students.load(path)


def predictions(ctx: RunContext, round: int, texts: Sequence[str]) -> list[Predictions]:
    """Return the predictions of each student of a round for the same texts."""
    return [student.predict(texts) for _, student in members(ctx, round)]


def mean_predictions(found: Sequence[Predictions]) -> Predictions:
    """Return the committee's predictions: the answer of most members, and the mean of every score."""
    if len(found) == 1:
        return found[0]
    names = ("confidence", "entropy", "margin", "energy", "nll", "probabilities")
    parts = {name: [getattr(one, name) for one in found] for name in names}
    means = {
        name: None if any(value is None for value in values) else np.mean(values, axis=0)
        for name, values in parts.items()
    }
    return replace(found[0], answers=_votes(found), **cast(Any, means))


def predictions_at(found: Predictions, indices: Sequence[int]) -> Predictions:
    """Return the predictions for the texts at the given indices."""
    names = ("confidence", "entropy", "margin", "energy", "nll", "probabilities")
    parts = {name: getattr(found, name) for name in names}
    cut = {name: None if value is None else value[list(indices)] for name, value in parts.items()}
    return replace(found, answers=[found.answers[i] for i in indices], **cast(Any, cut))


def _votes(found: Sequence[Predictions]) -> list[str]:
    """Return the answer of most members for each text; ties go to the more confident members."""
    answers = []
    for index in range(len(found[0].answers)):
        weight: dict[str, float] = {}
        for one in found:
            answer = one.answers[index]
            weight[answer] = weight.get(answer, 0.0) + 1 + float(one.confidence[index]) / (len(found) + 1)
        answers.append(max(weight, key=lambda answer: weight[answer]))
    return answers
