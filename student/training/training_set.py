"""The training set as columns, and the selection of its rows at every step."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tutelage.student.data.rows import Row
from tutelage.student.errors import InputError
from tutelage.student.models.predictions import entropy
from tutelage.student.tasks.registry import TASK_TYPES
from tutelage.student.training.adaptive_selection import AdaptiveSelection, StepSelector

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TrainingSet:
    """Training rows as columns. `confidence` is the teacher's confidence in its label, NaN for user labels.
    `rationales` has "" where there is none. `weights` are relative weights in the loss. `soft` holds soft
    targets, None where the label is the target.
    """

    ids: list[str]
    texts: list[str]
    labels: list[str]
    confidence: NDArray[np.float64]
    rationales: list[str]
    weights: NDArray[np.float64]
    soft: list[list[float] | None]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "TrainingSet":
        """Return the columns of the rows."""
        confidence = np.array([row.get("confidence", np.nan) for row in rows])
        ids, texts, labels = zip(*((row["id"], row["text"], row["label"]) for row in rows), strict=True)
        reasons = [row.get("rationale", "") for row in rows]
        weights = np.array([row.get("weight", 1.0) for row in rows], float)
        soft = [row.get("target") for row in rows]
        return cls(list(ids), list(texts), list(labels), confidence, reasons, weights, soft)

    def check(self, labels: Sequence[str], kind: str) -> None:
        """Check that weights and soft targets can be trained on.

        Raises:
            InputError: a weight is negative or not finite, all are 0, or a soft target does not fit the
                labels or the task type.
        """
        if not (np.isfinite(self.weights) & (self.weights >= 0)).all() or not self.weights.any():
            raise InputError("the weights of rows must be finite and at least 0, and at least one above 0")
        targets = [target for target in self.soft if target is not None]
        if targets and not TASK_TYPES[kind].label_probabilities:
            raise InputError(f"rows of {kind} tasks cannot have a `target`; leave it out")
        sums_to_one = TASK_TYPES[kind].single_label
        for target in targets:
            values = np.array(target, float)
            fits = values.shape == (len(labels),) and ((values >= 0) & (values <= 1)).all()
            if not fits or (sums_to_one and abs(values.sum() - 1) > 1e-3):
                raise InputError(
                    f"a row's `target` is {target!r:.80}; it must hold a probability for each of the"
                    f" {len(labels)} labels{', with a sum of 1' if sums_to_one else ''}"
                )

    def numbers(self, labels: Sequence[str]) -> list[int]:
        """Return the class index of each row, for tasks with one label per text."""
        index = {label: i for i, label in enumerate(labels)}
        return [index[label] for label in self.labels]

    def distributions(
        self, labels: Sequence[str], *, soft: bool = False, smoothing: float = 0.0
    ) -> NDArray[np.float32]:
        """Return targets for tasks with one label per text, shape (n, labels). With `soft`, the label gets
        the teacher's confidence, at least 1 / labels, and the others share the rest. The share `smoothing`
        is spread over all labels. Rows with a soft target of their own keep it unchanged.
        """
        count = len(self.texts)
        confidence = np.where(np.isnan(self.confidence), 1.0, self.confidence) if soft else np.ones(count)
        confidence = np.maximum(confidence, 1 / len(labels))  # else the label is the least likely one
        spread = (1 - confidence) / max(len(labels) - 1, 1)
        targets = np.repeat(spread[:, None], len(labels), 1)
        targets[np.arange(count), self.numbers(labels)] = confidence
        return self._with_soft((1 - smoothing) * targets + smoothing / len(labels))

    def sets(self, labels: Sequence[str]) -> NDArray[np.float32]:
        """Return the multi-label targets, shape (n, labels): 1 where a text has the label, else 0."""
        label_lists = [json.loads(one) for one in self.labels]
        return np.array([[label in one for label in labels] for one in label_lists], np.float32)

    def probabilities(self, labels: Sequence[str], *, smoothing: float = 0.0) -> NDArray[np.float32]:
        """Return multi-label targets, shape (n, labels); `smoothing` moves all but soft ones towards 0.5."""
        return self._with_soft((1 - smoothing) * self.sets(labels) + smoothing / 2)

    def _with_soft(self, targets: NDArray[Any]) -> NDArray[np.float32]:
        result = targets.astype(np.float32)
        for i, target in enumerate(self.soft):
            if target is not None:
                result[i] = target
        return result

    def selection(
        self, settings: AdaptiveSelection | None, labels: Sequence[str], seed: int
    ) -> "SampleSelector | None":
        """Return the selector of samples; None without settings, or if the teacher labelled no row."""
        if settings is None or np.isnan(self.confidence).all():
            return None
        return SampleSelector(self, self.numbers(labels), StepSelector(settings, len(labels), seed))


class SampleSelector:
    """Select samples at every step. User-labelled rows always count, with weight 1 (ours: LLKD has none)."""

    def __init__(self, training_set: TrainingSet, numbers: Sequence[int], selection: StepSelector):
        self.training_set, self.selection = training_set, selection
        self.times = np.zeros(len(training_set.texts), int)
        self._numbers = np.array(numbers)

    def weights(self, batch: Sequence[int], logits: "Tensor") -> NDArray[np.float64]:
        """Return the weight of each sample of a mini-batch, shape (len(batch),); 0 excludes it."""
        indices = np.array(batch)
        by_teacher = ~np.isnan(self.training_set.confidence[indices])
        result = np.ones(len(indices))
        if by_teacher.any():
            uncertainty = entropy(logits.detach().float().softmax(-1).cpu().numpy())[by_teacher]
            chosen = indices[by_teacher]
            confidence = self.training_set.confidence[chosen]
            result[by_teacher] = self.selection.weights(confidence, self._numbers[chosen], uncertainty)
        self.times[indices[result > 0]] += 1
        return result

    def counts(self, epochs: int) -> dict[str, object]:
        """Return LLKD's data efficiency on teacher-labelled samples. The paper's 3.7 % may be any of three:

        `unique`: share of samples trained on at least once (`used`: their ids); `kept_share`: mean share of a
        mini-batch that is trained on; `backpropagated`: samples trained on / (all · epochs).
        """
        by_teacher = ~np.isnan(self.training_set.confidence)
        times, total = self.times[by_teacher], int(by_teacher.sum())
        ids = np.array(self.training_set.ids)[by_teacher]
        return {
            "unique": round(float((times > 0).mean()), 4),
            "kept_share": round(self.selection.kept / max(self.selection.seen, 1), 4),
            "backpropagated": round(float(times.sum() / (total * epochs)), 4),
            "empty_steps": self.selection.empty,
            "used": ids[times > 0].tolist(),
        }
