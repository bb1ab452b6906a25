"""Self-training: the refitted student also learns the fold students' predictions on unlabelled texts.

The soft target of a text is the mean of the committee's probabilities (after Lee 2013, pseudo-labels, and
Hinton et al. 2015, arXiv 1503.02531, soft targets; the committee of fold students is ours). A fold student
may only learn its own predictions, because the other fold students were trained on its fold.
"""

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tutelage.graph.context import RunContext
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.strategies import Strategy
from tutelage.graph.students.committee import Fold, members
from tutelage.graph.students.predictions import evaluation, predict_out_of_fold
from tutelage.graph.students.training import train_folds, tune_members
from tutelage.graph.students.training_rows import training_rows
from tutelage.graph.task.schema import Task
from tutelage.graph.task.splits import Splits
from tutelage.student.corpus import Corpus
from tutelage.student.data.rows import Row
from tutelage.student.tasks.multilabel import written

Answers = NDArray[np.float64]
_STORED, _CHECK = "pool-round-00", "self-training"


def can_self_train(task: Task, strategy: Strategy, splits: Splits) -> bool:
    """Return whether the run can self-train: this needs unlabelled texts, folds and student probabilities."""
    if strategy.self_training == "off" or not splits.folded:
        return False
    return bool(splits.unlabelled) and task.type.label_probabilities


def predict_pool(ctx: RunContext) -> None:
    """Store the predictions of round 0, whose students saw only the user's labels, on unlabelled texts."""
    if can_self_train(ctx.task, ctx.strategy, ctx.splits):
        ctx.folder.store_predictions(_STORED, probabilities=pool_probabilities(ctx, 0))


def soft_texts(ctx: RunContext) -> list[Row]:
    """Return the unlabelled texts for self-training, a sample drawn with the run's seed."""
    pool = ctx.splits.unlabelled
    drawn = random.Random(f"{ctx.task.seed} soft").sample(pool, min(ctx.strategy.soft_texts, len(pool)))
    return leak_free(ctx.corpus, drawn)


def leak_free(corpus: Corpus, rows: Sequence[Row]) -> list[Row]:
    """Return the rows whose text is not a near-duplicate of a held-out text."""
    near = corpus.near_held_out([row["text"] for row in rows])
    return [row for row, leaks in zip(rows, near, strict=True) if not leaks]


def leak_free_sample(corpus: Corpus, rows: Sequence[Row], count: int, seed: str) -> list[Row]:
    """Return at most `count` random rows whose texts are no near-duplicates of a held-out text. Only as many
    texts are embedded as this needs, because a pool may have a million.
    """
    order, found = random.Random(seed).sample(rows, len(rows)), list[Row]()
    for start in range(0, len(order), count):
        found += leak_free(corpus, order[start : start + count])
        if len(found) >= count:
            break
    return found[:count]


def soft_rows(ctx: RunContext, answers: Answers, known: set[str], fold: Fold = None) -> list[Row]:
    """Return unlabelled texts as training rows with soft targets.

    Args:
        ctx: the run.
        answers: probabilities of shape (members, texts, labels), as returned by `pool_probabilities`.
        known: ids of texts to leave out because they are trained on with a label.
        fold: use the answers of this fold's student as targets; without it, the mean over all members.
    """
    targets = answers.mean(0) if fold is None else answers[fold]
    return [
        Row(
            id=row["id"],
            text=row["text"],
            label=_label(ctx.task, target),
            target=[float(value) for value in target],
            weight=ctx.strategy.soft_weight,
        )
        for row, target in zip(soft_texts(ctx), targets, strict=True)
        if row["id"] not in known
    ]


def self_training_helps(ctx: RunContext, answers: Answers, round: int, promoted: Sequence[int]) -> bool:
    """Return whether the refitted student is to learn the committee's answers.

    With `self_training: auto`, train fold students that also learn their own predecessors' answers, and
    return whether they score at least as well out of fold as the predecessors.
    """
    if ctx.strategy.self_training == "on":
        return True
    sources = ctx.strategy, ctx.splits, ctx.corpus
    known = {row["id"] for row in training_rows(*sources, promoted)}

    def rows_of(fold: Fold) -> list[Row]:
        return [*training_rows(*sources, promoted, fold), *soft_rows(ctx, answers, known, fold)]

    train_folds(ctx, _CHECK, rows_of)
    tune_members(ctx, _CHECK)
    predict_out_of_fold(ctx.folder, ctx.splits, _CHECK, members(ctx, _CHECK))
    before, after = (evaluation(ctx, name, "gate")["metric"] for name in (round, _CHECK))
    ctx.trace.log(self_training={"without": before, "with": after})
    return after >= before


def first_pool_probabilities(folder: RunFolder) -> Answers:
    """Return the probabilities stored by `predict_pool`, shape (members, texts, labels)."""
    return folder.load_array(_STORED, "probabilities")


def pool_probabilities(ctx: RunContext, round: int) -> Answers:
    """Return the probabilities of each student of a round on `soft_texts`, shape (members, texts, labels)."""
    texts = [row["text"] for row in soft_texts(ctx)]
    probabilities = [student.predict(texts).probabilities for _, student in members(ctx, round)]
    return np.array([one for one in probabilities if one is not None], np.float64)


def _label(task: Task, target: NDArray[np.float64]) -> str:
    labels = list(task.labels)
    if task.type.decision_thresholds:
        return str(written(label for label, p in zip(labels, target, strict=True) if p >= 0.5))
    return labels[int(target.argmax())]
