"""Self-training: what the students answer on unlabelled texts teaches the refitted student.

Self-training by a committee: the mean of the members' probabilities is the soft target of a text (after Lee
2013, pseudo-labels, and Hinton et al. 2015, arXiv 1503.02531, soft targets; the committee of fold students is
ours). A fold student may only learn its own answers: the others have learnt its fold.
"""

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tutelage.graph.context import Workshop
from tutelage.graph.students.committee import Fold, folds, member, members
from tutelage.graph.students.predictions import graded, predict_out_of_fold
from tutelage.graph.students.training import fresh_student, tune_members
from tutelage.graph.students.training_rows import training_rows
from tutelage.student.data.rows import Row
from tutelage.student.tasks.multilabel import written

Answers = NDArray[np.float64]
_STORED, _CHECK = "pool-round-00", "self-training"


def can_self_train(shop: Workshop) -> bool:
    """Return whether there are unlabelled texts and fold students that give probabilities."""
    if shop.strategy.self_training == "off" or not shop.splits.folded:
        return False
    return bool(shop.splits.unlabelled) and shop.task.kind in ("classification", "pairs", "multilabel")


def answer_pool(shop: Workshop) -> None:
    """Store what the students of round 0, who know the user's labels alone, answer on unlabelled texts."""
    if can_self_train(shop):
        shop.folder.seal(_STORED, probabilities=pool_answers(shop, 0))


def soft_texts(shop: Workshop) -> list[Row]:
    """Return the unlabelled texts that are learnt from, drawn by the run's seed."""
    pool = shop.splits.unlabelled
    drawn = random.Random(f"{shop.task.seed} soft").sample(pool, min(shop.strategy.soft_texts, len(pool)))
    return leak_free(shop, drawn)


def leak_free(shop: Workshop, rows: Sequence[Row]) -> list[Row]:
    """Return the rows whose texts are not near to a held-out one."""
    near = shop.corpus.near_sealed([row["text"] for row in rows])
    return [row for row, leaks in zip(rows, near, strict=True) if not leaks]


def soft_rows(shop: Workshop, answers: Answers, known: set[str], fold: Fold = None) -> list[Row]:
    """Return unlabelled texts with the mean answers of a round's students as their targets, or with those of
    one fold's student alone.

    Args:
        shop: the run.
        answers: probabilities of shape (members, texts, labels), as `pool_answers` returns them.
        known: ids of texts that are trained on with a label, and left out here.
        fold: for whose next student the rows are.
    """
    targets = answers.mean(0) if fold is None else answers[fold]
    return [
        Row(
            id=row["id"],
            text=row["text"],
            label=_label(shop, target),
            target=[float(value) for value in target],
            weight=shop.strategy.soft_weight,
        )
        for row, target in zip(soft_texts(shop), targets, strict=True)
        if row["id"] not in known
    ]


def self_training_helps(shop: Workshop, answers: Answers, round: int, promoted: Sequence[int]) -> bool:
    """Decide whether the refitted student learns the committee's answers: as the strategy says or, with
    `auto`, whether fold students that also learn their own predecessors' answers score at least as well out
    of fold as the predecessors.
    """
    if shop.strategy.self_training == "on":
        return True
    known = {row["id"] for row in training_rows(shop, promoted)}
    for fold in folds(shop):
        rows = [*training_rows(shop, promoted, fold), *soft_rows(shop, answers, known, fold)]
        student = fresh_student(shop, rows, shop.strategy.objective, fold)
        student.save(shop.folder.student_of(_CHECK, fold))
    tune_members(shop, _CHECK)
    predict_out_of_fold(shop, _CHECK, ((fold, member(shop, _CHECK, fold)) for fold in folds(shop)))
    before, after = (graded(shop, name, "gate")["metric"] for name in (round, _CHECK))
    shop.trace.tell(self_training={"without": before, "with": after})
    return after >= before


def first_pool_answers(shop: Workshop) -> Answers:
    """Return what the students of the user's labels alone answered, shape (members, texts, labels)."""
    return shop.folder.unseal_array(_STORED, "probabilities")


def pool_answers(shop: Workshop, round: int) -> Answers:
    """Return the probabilities of each student of a round on `soft_texts`, shape (members, texts, labels)."""
    texts = [row["text"] for row in soft_texts(shop)]
    found = [student.read(texts).probabilities for _, student in members(shop, round)]
    return np.array([one for one in found if one is not None], np.float64)


def _label(shop: Workshop, target: NDArray[np.float64]) -> str:
    if shop.task.kind == "multilabel":
        return str(written(label for label, p in zip(shop.labels, target, strict=True) if p >= 0.5))
    return shop.labels[int(target.argmax())]
