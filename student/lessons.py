"""Lessons: rows as arrays for training, and which of them a step trains on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tutelage.student.exam import entropy
from tutelage.student.rows import Row
from tutelage.student.thresholds import Selection, Thresholds

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Lessons:
    """`numbers` are label numbers, `targets` distributions of shape (n, labels), `confidence` the teacher's,
    NaN for the user's own labels.
    """

    ids: list[str]
    texts: list[str]
    numbers: list[int]
    targets: NDArray[np.float32]
    confidence: NDArray[np.float64]

    @classmethod
    def of(cls, rows: Sequence[Row], labels: Sequence[str], *, soft: bool = False) -> "Lessons":
        """Rows as arrays; `soft` targets put the teacher's confidence on the label, a fair share at least,
        and spread the rest.
        """
        number = {label: i for i, label in enumerate(labels)}
        numbers = [number[row["label"]] for row in rows]
        confidence = np.array([row.get("confidence", np.nan) for row in rows])
        sure = np.where(np.isnan(confidence), 1.0, confidence) if soft else np.ones(len(rows))
        sure = np.maximum(sure, 1 / len(labels))  # or the label given would be the least likely one
        spread = (1 - sure) / max(len(labels) - 1, 1)
        targets = np.repeat(spread[:, None], len(labels), 1)
        targets[np.arange(len(rows)), numbers] = sure
        ids, texts = [row["id"] for row in rows], [row["text"] for row in rows]
        return cls(ids, texts, numbers, targets.astype(np.float32), confidence)

    def selection(self, thresholds: Thresholds | None, seed: int) -> "Chosen | None":
        """Who chooses at every step; None without thresholds, or where nothing is the teacher's."""
        if thresholds is None or np.isnan(self.confidence).all():
            return None
        return Chosen(self, Selection(thresholds, self.targets.shape[1], seed))


class Chosen:
    """Which lessons are trained on. The user's own labels always are, at weight 1 (ours: LLKD has none)."""

    def __init__(self, lessons: Lessons, selection: Selection):
        self.lessons, self.selection = lessons, selection
        self.times = np.zeros(len(lessons.texts), int)
        self._numbers = np.array(lessons.numbers)

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
