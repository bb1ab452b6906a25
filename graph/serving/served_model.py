"""The student that a server answers with: loaded once, described, and its predictions as answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tutelage.graph.run_folder.folder import student_in
from tutelage.student.device import device, leave_a_core
from tutelage.student.evaluation.confidence import FILE, Reliability, load_reliability
from tutelage.student.models.base import forget_texts
from tutelage.student.models.onnx_student import Engine, load_predictor
from tutelage.student.tasks.fields import join
from tutelage.student.tasks.registry import TASK_TYPES

# Texts in one call of the model, sorted by length because each is padded to the longest. On a CPU core with
# MiniLM and the bundled texts, a text takes 9 ms in groups of 8, 16 ms alone, and 14 ms in groups of 64.
_ON_CPU, _ON_GPU = 8, 64


@dataclass(frozen=True)
class Answer:
    """The prediction for one text.

    Attributes:
        label: in the form of data files and of `predict --json`.
        confidence: from 0 to 1.
        probabilities: shape (labels,), in the order of the model's labels; None for students that tag or
            write.
    """

    label: object
    confidence: float
    probabilities: NDArray[np.floating[Any]] | None


class ServedModel:
    """A student in memory. `reliability` is its measured confidence; None if none was measured."""

    def __init__(self, path: Path, engine: Engine = "auto"):
        """Load the student of a run folder, a student folder or an exported folder, and predict one text, so
        that everything it needs is in memory; `engine` is that of `load_predictor`.

        Raises:
            InputError: there is no student, or it cannot be loaded.
        """
        folder = student_in(path)
        self._student = load_predictor(folder, engine)
        self._task_type = TASK_TYPES[self._student.kind]
        self.kind, self.labels, self.fields = self._student.kind, self._student.labels, self._student.fields
        self.gives_probabilities = self._task_type.label_probabilities
        self.reliability: Reliability | None = load_reliability(folder) if (folder / FILE).exists() else None
        self._together = _ON_CPU if device() == "cpu" else _ON_GPU
        leave_a_core()
        self.predict([join(dict.fromkeys(self.fields, "a first text"), self.fields)])

    def predict(self, texts: Sequence[str]) -> list[Answer]:
        """Return the answers to texts, in their order; the texts of a pair are joined (tasks/fields.py)."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        found: dict[int, Answer] = {}
        for start in range(0, len(order), self._together):
            part = order[start : start + self._together]
            found.update(zip(part, self._answers([texts[i] for i in part]), strict=True))
        return [found[i] for i in range(len(texts))]

    def _answers(self, texts: Sequence[str]) -> list[Answer]:
        found = self._student.predict(texts, best=True)
        forget_texts(self._student)
        rows = [None] * len(texts) if found.probabilities is None else list(found.probabilities)
        return [
            Answer(self._task_type.to_file(label, text), float(confidence), row)
            for text, label, confidence, row in zip(texts, found.answers, found.confidence, rows, strict=True)
        ]
