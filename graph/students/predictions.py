"""Predictions of a run: they are stored first, and those on test are graded only at the end."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from tutelage.agents.analyst import LabelledPrediction
from tutelage.graph.context import RunContext
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.students.committee import Fold, mean_predictions, members
from tutelage.graph.task.splits import Splits
from tutelage.student.corpus import Sample, changed, is_drawn
from tutelage.student.evaluation.evaluate import Report, grade
from tutelage.student.evaluation.gains import interval
from tutelage.student.models.base import Student
from tutelage.student.tasks.scoring import ExampleStatistics
from tutelage.student.training.loop import untrained_student

SETS = ("diagnose", "gate", "test")


def store_predictions(folder: RunFolder, splits: Splits, name: str, student: Student) -> None:
    """Store one student's answers on every set. Answers on test are not graded before the end of the run."""
    stored = {}
    for set_name in SETS:
        texts = [row["text"] for row in splits.rows_of(set_name)]
        stored[set_name] = np.array(student.predict_best(texts) if texts else [], str)
    folder.store_predictions(name, **stored)


def predict_untrained(ctx: RunContext) -> None:
    """Store the answers of the student before any training, the baseline of the report."""
    config, seed, encoder = ctx.task.training_config(), ctx.task.seed, ctx.student_encoder
    student = untrained_student(ctx.labels, config, seed=seed, encoder=encoder)
    store_predictions(ctx.folder, ctx.splits, "untrained", student)


def predict_round(ctx: RunContext, round: int) -> None:
    """Store the answers of a round's students; each row is answered by a student not trained on it."""
    name = f"round-{round:02d}"
    if ctx.splits.folded:
        predict_out_of_fold(ctx.folder, ctx.splits, name, members(ctx, round))
    else:
        store_predictions(ctx.folder, ctx.splits, name, ctx.students.get(round))


def predict_out_of_fold(
    folder: RunFolder, splits: Splits, name: str, students: Iterable[tuple[Fold, Student]]
) -> None:
    """Store the answer to each labelled row by the student of its fold, in the order of the labelled rows,
    and for classifiers the probabilities of all labels, shape (rows, labels).

    Test is left out: it measures only the students that are refitted at the end.
    """
    answers: dict[str, str] = {}
    probabilities: dict[str, NDArray[np.float64]] = {}
    for fold, student in students:
        rows = splits.rows_of("diagnose", fold)
        predicted = student.predict([row["text"] for row in rows], best=True)
        ids = [row["id"] for row in rows]
        answers |= zip(ids, predicted.answers, strict=True)
        if predicted.probabilities is not None:
            probabilities |= zip(ids, predicted.probabilities, strict=True)
    ids = [row["id"] for row in splits.diagnose]
    optional = {"probabilities": np.array([probabilities[i] for i in ids], float)} if probabilities else {}
    stored = dict.fromkeys(("diagnose", "gate"), np.array([answers[i] for i in ids], str))
    folder.store_predictions(name, **stored, test=np.array([], str), **optional)


def out_of_fold_probabilities(folder: RunFolder, splits: Splits, round: int) -> NDArray[np.float64] | None:
    """Return the probabilities for each labelled row by the student not trained on it, shape (rows, labels),
    or None if the rows are not folded or the students give no probabilities.
    """
    if not splits.folded:
        return None
    try:
        return folder.load_array(f"round-{round:02d}", "probabilities")
    except KeyError:
        return None


def predictions_on_diagnose(
    folder: RunFolder, splits: Splits, round: int, fold: Fold = None
) -> list[LabelledPrediction]:
    """Return the labelled rows that agents may see, with a round's answers; those of one fold, or all."""
    stored = folder.load_predictions(f"round-{round:02d}", "diagnose")
    answers = []
    for row, predicted in zip(splits.diagnose, stored, strict=True):
        answer = LabelledPrediction(id=row["id"], text=row["text"], label=row["label"], predicted=predicted)
        if splits.folds:
            answer["fold"] = splits.folds[row["id"]]
        if fold is None or answer["fold"] == fold:
            answers.append(answer)
    return answers


def evaluation(ctx: RunContext, round: int | str, set_name: str) -> Report:
    """Grade the stored answers of a round's students, or those stored under a name, on a set."""
    return grade(
        ctx.task.type,
        *_texts_gold_answers(ctx.folder, ctx.splits, round, set_name),
        ctx.labels,
        ctx.task.metric,
    )


def grade_again(ctx: RunContext) -> None:
    """Grade the stored answers of all rounds by the labels that the rows have now, and write their scores."""
    shown, lines = "gate" if ctx.splits.gate else "diagnose", ctx.folder.read_rounds()
    for line in lines:
        round = line["round"]
        line["metric"] = evaluation(ctx, round, "diagnose")["metric"]
        if line["gate"] is not None:
            line["gate"] = evaluation(ctx, round, "gate")["metric"]
        line["interval"] = interval(ctx.task.type, example_statistics(ctx, round, shown), ctx.task.metric)
    ctx.folder.write_lines(ctx.folder.rounds, lines)


def example_statistics(ctx: RunContext, round: int | str, set_name: str) -> ExampleStatistics:
    """Return the per-example statistics of the stored answers, shape (rows, m)."""
    return ctx.task.type.example_statistics(
        *_texts_gold_answers(ctx.folder, ctx.splits, round, set_name), ctx.labels, ctx.task.metric
    )


def comparable_statistics(ctx: RunContext, rounds: Sequence[int]) -> list[ExampleStatistics]:
    """Return the per-example statistics of some rounds on the gate set, for the rows that can compare them.

    A row is left out if any of the rounds answers it with a label that no row of the set has. The set cannot
    reward the texts of this label that a round teaches, so it must not count only their cost against it.
    """
    labels_in, gate = ctx.task.type.labels_in, ctx.splits.gate
    unseen = set(ctx.labels) - {label for row in gate for label in labels_in(row["label"])}
    answers = [ctx.folder.load_predictions(f"round-{round:02d}", "gate") for round in rounds]
    kept = [not any(unseen & {*labels_in(answer)} for answer in row) for row in zip(*answers, strict=True)]
    return [example_statistics(ctx, round, "gate")[kept] for round in rounds]


def _texts_gold_answers(
    folder: RunFolder, splits: Splits, round: int | str, set_name: str
) -> tuple[list[str], list[str], list[str]]:
    rows = splits.rows_of(set_name)
    answers = folder.load_predictions(round if isinstance(round, str) else f"round-{round:02d}", set_name)
    return [row["text"] for row in rows], [row["label"] for row in rows], answers


def with_predictions(ctx: RunContext, best: int, samples: Sequence[Sample]) -> list[Sample]:
    """Return samples with the answer of the students of round `best`, its energy, and the loss on the label
    that each sample has.
    """
    if not samples:
        return []
    texts, labels = [s["text"] for s in samples], [s["label"] for s in samples]
    mean = mean_predictions([student.predict(texts, labels) for _, student in members(ctx, best)])
    assert mean.nll is not None, "labels were passed"
    predicted = [
        changed(sample, answered=answer, energy=round(float(energy), 4), nll=round(float(nll), 4))
        for sample, answer, energy, nll in zip(samples, mean.answers, mean.energy, mean.nll, strict=True)
    ]
    if ctx.strategy.label_mix and mean.probabilities is not None:
        predicted = [
            changed(sample, predicted_before=[round(float(p), 4) for p in row])
            for sample, row in zip(predicted, mean.probabilities, strict=True)
        ]
    return _baseline_probabilities(ctx, predicted) if ctx.strategy.importance else predicted


def _baseline_probabilities(ctx: RunContext, samples: Sequence[Sample]) -> list[Sample]:
    """Return samples; written ones with the probability of their label under each student of round 0."""
    written = [s for s in samples if not is_drawn(s)]
    texts, labels = [s["text"] for s in written], [s["label"] for s in written]
    found = [student.predict(texts, labels).nll for _, student in members(ctx, 0)] if written else []
    chances = {
        s["id"]: [round(float(np.exp(-one[i])), 4) for one in found if one is not None]
        for i, s in enumerate(written)
    }
    return [changed(s, baseline_probability=chances[s["id"]]) if s["id"] in chances else s for s in samples]
