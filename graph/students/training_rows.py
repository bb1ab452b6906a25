"""Training rows: what a student learns from, and how much each row weighs."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from tutelage.graph.context import Workshop
from tutelage.graph.strategies import Strategy
from tutelage.graph.students.committee import Fold
from tutelage.student.corpus import Sample, is_drawn
from tutelage.student.data.rows import Row
from tutelage.student.tasks import Kind


def training_rows(shop: Workshop, rounds: Sequence[int], fold: Fold = None) -> list[Row]:
    """Return the labelled rows, then the kept samples of the given rounds in the order of writing.

    With `fold`, leave out the rows of this fold, and the samples that were written or labelled with rows of
    it in view: its student must not learn them.
    """
    wanted, splits = set(rounds), shop.splits
    own = [row for row in splits.seed if fold is None or splits.folds[row["id"]] != fold]
    samples = [s for s in kept_samples(shop, wanted) if fold is None or s.get("fold") != fold]
    return [*own_rows(shop.strategy, own), *(sample_row(shop.strategy, s, fold) for s in samples)]


def kept_samples(shop: Workshop, rounds: set[int]) -> list[Sample]:
    """Return the kept samples of these rounds, in the order of writing."""
    return [s for s in shop.corpus.drafts(status="kept") if s["round"] in rounds]


def own_rows(strategy: Strategy, rows: Sequence[Row]) -> list[Row]:
    """Return the user's own rows with the weight that the strategy gives them."""
    if strategy.own_weight == 1:
        return list(rows)
    return [Row(**{**row, "weight": strategy.own_weight}) for row in rows]


def sample_row(strategy: Strategy, sample: Sample, fold: Fold = None) -> Row:
    """Return a kept sample as a row; see `Strategy` for its weight."""
    row: dict[str, Any] = {"id": sample["id"], "text": sample["text"], "label": sample["label"]}
    if "confidence" in sample:
        row["confidence"] = sample["confidence"]
    if sample.get("rationale"):
        row["rationale"] = sample["rationale"]
    weight = sample_weight(strategy, sample, fold)
    return cast(Row, row if weight == 1 else {**row, "weight": weight})


def mixed_row(strategy: Strategy, sample: Sample, labels: Sequence[str], kind: Kind) -> Row:
    """Return a kept sample as a row of the refitted student: its target is the teacher's label mixed with the
    students' answer before they learnt it (`Strategy.label_mix`).
    """
    row = sample_row(strategy, sample)
    if not strategy.label_mix or "answer_before" not in sample:
        return row
    held = set(kind.groups(sample["label"]))
    share = strategy.label_mix
    row["target"] = [
        (1 - share) * (label in held) + share * before
        for label, before in zip(labels, sample["answer_before"], strict=True)
    ]
    return row


def sample_weight(strategy: Strategy, sample: Sample, fold: Fold = None) -> float:
    """Return a sample's weight in the loss: the teacher's confidence, and the probability that a student of
    the own rows alone gives its label (for a fold student by its own predecessor: the others have learnt its
    fold).
    """
    weight = 1.0
    if strategy.confidence_weight:
        weight *= sample.get("confidence", 1.0)
    if strategy.importance and not is_drawn(sample) and (found := sample.get("own_probability")):
        weight *= found[fold] if fold is not None else float(np.mean(found))
    return max(weight, 0.01)  # a weight of 0 would leave the sample out without anyone saying so
