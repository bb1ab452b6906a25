"""Training rows: the training set of a student, with the weight of each row."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from tutelage.graph.strategies import Strategy
from tutelage.graph.students.committee import Fold
from tutelage.graph.task.schema import Task
from tutelage.graph.task.splits import Splits
from tutelage.student.corpus import Corpus, Sample, is_drawn
from tutelage.student.data.rows import Row, to_record
from tutelage.student.tasks.task_type import TaskType
from tutelage.student.tasks.user_functions import run_filter, title


def training_rows(
    strategy: Strategy, splits: Splits, corpus: Corpus, rounds: Sequence[int], fold: Fold = None
) -> list[Row]:
    """Return the labelled rows, followed by the kept samples of the given rounds in the order of creation.

    With `fold`, leave out its rows, and the samples for which an agent was shown rows of this fold: the
    fold's student must not be trained on them.
    """
    own = [row for row in splits.seed if fold is None or splits.folds[row["id"]] != fold]
    samples = [s for s in kept_samples(corpus, rounds) if fold is None or s.get("fold") != fold]
    return [*own_rows(strategy, own), *(sample_row(strategy, s, fold) for s in samples)]


def kept_samples(corpus: Corpus, rounds: Sequence[int], *, until: int | None = None) -> list[Sample]:
    """Return the kept samples of these rounds in the order of creation, and those of other rounds up to
    `until` (by default the last of these) that a person has judged: their labels are gold, even if their
    round was rolled back.
    """
    last = max(rounds, default=0) if until is None else until
    return [
        s
        for s in corpus.drafts(status="kept")
        if s["round"] in rounds or ("reviewed" in s and s["round"] <= last)
    ]


def objection(task: Task, strategy: Strategy, sample: Sample) -> str:
    """Return why a labelled sample is refused regardless of the critic, or "" if it is not: its label is not
    the one it was written for (with `Strategy.agree`), or a filter of the task rejects it.
    """
    text, label = sample["text"], sample["label"]
    written = strategy.agree and not is_drawn(sample)
    if written and sample["requested"] not in task.type.labels_in(label):
        shown = task.type.to_text(label, text)
        return f"written for {sample['requested'] or 'none'}, and labelled {shown}"
    row = to_record(text, label, task_type=task.type, fields=task.fields)
    reasons = ((name, run_filter(name, row)) for name in task.filters)
    return next((f"{title(name)}: {reason}" for name, reason in reasons if reason), "")


def own_rows(strategy: Strategy, rows: Sequence[Row]) -> list[Row]:
    """Return the user's own rows with the strategy's `own_weight`."""
    if strategy.own_weight == 1:
        return list(rows)
    return [Row(**{**row, "weight": strategy.own_weight}) for row in rows]


def sample_row(strategy: Strategy, sample: Sample, fold: Fold = None) -> Row:
    """Return a kept sample as a training row, weighted by `sample_weight`."""
    row: dict[str, Any] = {"id": sample["id"], "text": sample["text"], "label": sample["label"]}
    if "confidence" in sample:
        row["confidence"] = sample["confidence"]
    if sample.get("rationale"):
        row["rationale"] = sample["rationale"]
    weight = sample_weight(strategy, sample, fold)
    return cast(Row, row if weight == 1 else {**row, "weight": weight})


def mixed_row(strategy: Strategy, sample: Sample, labels: Sequence[str], task_type: TaskType) -> Row:
    """Return a kept sample as a training row of the refitted student. Its target is the teacher's label mixed
    with the students' probabilities from before they were trained on it (`Strategy.label_mix`). A label that
    a person has reviewed is not mixed.
    """
    row = sample_row(strategy, sample)
    if not strategy.label_mix or "predicted_before" not in sample or "reviewed" in sample:
        return row
    held = set(task_type.labels_in(sample["label"]))
    share = strategy.label_mix
    row["target"] = [
        (1 - share) * (label in held) + share * before
        for label, before in zip(labels, sample["predicted_before"], strict=True)
    ]
    return row


def sample_weight(strategy: Strategy, sample: Sample, fold: Fold = None) -> float:
    """Return a sample's weight in the loss: the teacher's confidence times the label's probability under the
    round-0 students, each if the strategy uses it. For a fold student only the predecessor of its own fold
    counts: the others were trained on its fold.
    """
    weight = 1.0
    if strategy.confidence_weight:
        weight *= sample.get("confidence", 1.0)
    if strategy.importance and not is_drawn(sample) and (found := sample.get("baseline_probability")):
        weight *= found[fold] if fold is not None else float(np.mean(found))
    return max(weight, 0.01)  # a weight of 0 would silently drop the sample
