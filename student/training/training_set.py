"""Lessons: rows as arrays for training, and which of them a step trains on."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tutelage.student.data.rows import Row
from tutelage.student.errors import InputError
from tutelage.student.models.predictions import entropy
from tutelage.student.training.adaptive_selection import Selection, Thresholds

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Lessons:
    """What rows teach: `confidence` is the teacher's in each label, NaN for the user's own; `rationales` are
    reasons, "" where none is known; `weights` are relative; `soft` are soft targets, None where the label is
    the target.
    """

    ids: list[str]
    texts: list[str]
    labels: list[str]
    confidence: NDArray[np.float64]
    rationales: list[str]
    weights: NDArray[np.float64]
    soft: list[list[float] | None]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Lessons":
        """Rows as columns."""
        confidence = np.array([row.get("confidence", np.nan) for row in rows])
        ids, texts, labels = zip(*((row["id"], row["text"], row["label"]) for row in rows), strict=True)
        reasons = [row.get("rationale", "") for row in rows]
        weights = np.array([row.get("weight", 1.0) for row in rows], float)
        soft = [row.get("target") for row in rows]
        return cls(list(ids), list(texts), list(labels), confidence, reasons, weights, soft)

    def check(self, labels: Sequence[str], kind: str) -> None:
        """Refuse weights and soft targets that cannot be trained on.

        Raises:
            InputError: a weight is negative or not finite, all are 0, or a soft target does not fit the
                labels or the task type.
        """
        if not (np.isfinite(self.weights) & (self.weights >= 0)).all() or not self.weights.any():
            raise InputError("the weights of rows are finite and at least 0, and one of them is above 0")
        given = [target for target in self.soft if target is not None]
        if given and kind in ("ner", "seq2seq"):
            raise InputError(f"rows of {kind} tasks have no `target`; leave it out")
        for target in given:
            values = np.array(target, float)
            fits = values.shape == (len(labels),) and ((values >= 0) & (values <= 1)).all()
            if not fits or (kind != "multilabel" and abs(values.sum() - 1) > 1e-3):
                raise InputError(
                    f"a row's `target` is {target!r:.80}; it holds a probability for each of the"
                    f" {len(labels)} labels{'' if kind == 'multilabel' else ', with a sum of 1'}"
                )

    def numbers(self, labels: Sequence[str]) -> list[int]:
        """The place of each label, of texts that have one."""
        number = {label: i for i, label in enumerate(labels)}
        return [number[label] for label in self.labels]

    def distributions(
        self, labels: Sequence[str], *, soft: bool = False, smoothing: float = 0.0
    ) -> NDArray[np.float32]:
        """Targets of texts that have one label, shape (n, labels); `soft` ones put the teacher's confidence
        on it, a fair share at least, and spread the rest. `smoothing` is spread over all labels, but not of
        rows that bring a soft target of their own.
        """
        count = len(self.texts)
        sure = np.where(np.isnan(self.confidence), 1.0, self.confidence) if soft else np.ones(count)
        sure = np.maximum(sure, 1 / len(labels))  # or the label given would be the least likely one
        spread = (1 - sure) / max(len(labels) - 1, 1)
        targets = np.repeat(spread[:, None], len(labels), 1)
        targets[np.arange(count), self.numbers(labels)] = sure
        return self._with_soft((1 - smoothing) * targets + smoothing / len(labels))

    def sets(self, labels: Sequence[str]) -> NDArray[np.float32]:
        """The labels of texts that have any number of them: 1 where they have it, shape (n, labels)."""
        held = [json.loads(one) for one in self.labels]
        return np.array([[label in one for label in labels] for one in held], np.float32)

    def probabilities(self, labels: Sequence[str], *, smoothing: float = 0.0) -> NDArray[np.float32]:
        """Targets of texts that have any number of labels, shape (n, labels); `smoothing` as above."""
        return self._with_soft((1 - smoothing) * self.sets(labels) + smoothing / 2)

    def _with_soft(self, targets: NDArray[Any]) -> NDArray[np.float32]:
        result = targets.astype(np.float32)
        for i, given in enumerate(self.soft):
            if given is not None:
                result[i] = given
        return result

    def selection(self, thresholds: Thresholds | None, labels: Sequence[str], seed: int) -> "Chosen | None":
        """Who chooses at every step; None without thresholds, or where nothing is the teacher's."""
        if thresholds is None or np.isnan(self.confidence).all():
            return None
        return Chosen(self, self.numbers(labels), Selection(thresholds, len(labels), seed))


class Chosen:
    """Which lessons are trained on. The user's own labels always are, at weight 1 (ours: LLKD has none)."""

    def __init__(self, lessons: Lessons, numbers: Sequence[int], selection: Selection):
        self.lessons, self.selection = lessons, selection
        self.times = np.zeros(len(lessons.texts), int)
        self._numbers = np.array(numbers)

    def weights(self, batch: Sequence[int], logits: "Tensor") -> NDArray[np.float64]:
        """The weight of each sample of a mini-batch; 0 leaves it out."""
        places = np.array(batch)
        taught = ~np.isnan(self.lessons.confidence[places])
        result = np.ones(len(places))
        if taught.any():
            doubt = entropy(logits.detach().float().softmax(-1).cpu().numpy())[taught]
            of_teacher = places[taught]
            confidence = self.lessons.confidence[of_teacher]
            result[taught] = self.selection.weights(confidence, self._numbers[of_teacher], doubt)
        self.times[places[result > 0]] += 1
        return result

    def counts(self, epochs: int) -> dict[str, object]:
        """LLKD's data efficiency, of the teacher's samples; which of the three its 3.7 % counts is not known.

        `unique`: samples trained on at least once / all; `kept_share`: of a mini-batch, on average;
        `backpropagated`: samples / (all · epochs). `used` are the ids of the first.
        """
        taught = ~np.isnan(self.lessons.confidence)
        times, total = self.times[taught], int(taught.sum())
        ids = np.array(self.lessons.ids)[taught]
        return {
            "unique": round(float((times > 0).mean()), 4),
            "kept_share": round(self.selection.kept / max(self.selection.seen, 1), 4),
            "backpropagated": round(float(times.sum() / (total * epochs)), 4),
            "empty_steps": self.selection.empty,
            "used": ids[times > 0].tolist(),
        }
