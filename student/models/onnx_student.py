"""The students of exported folders, run by onnxruntime instead of torch."""

import json
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tutelage.student.errors import InputError
from tutelage.student.models.base import Predictor, check_list
from tutelage.student.models.predictions import (
    Logits,
    Predictions,
    predictions_multilabel,
    predictions_single,
)
from tutelage.student.models.seq2seq import TargetPredictor
from tutelage.student.models.tagger import TagPredictor
from tutelage.student.tasks.fields import ONE, columns
from tutelage.student.tasks.words import Words

Engine = Literal["auto", "torch", "onnx", "int8"]


class OnnxStudent:
    """The classifier that `write_onnx` wrote to a folder; see `Student` for its attributes."""

    def __init__(self, folder: Path, *, int8: bool = False):
        from tutelage.student.models.standalone import Model

        self._model = Model(folder, int8=int8)
        about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.labels, self.fields = self._model.labels, tuple(about.get("text_fields", ONE))
        thresholds = self._model.settings["thresholds"]
        self.thresholds = np.array(thresholds) if thresholds else None
        self.kind = "pairs" if len(self.fields) > 1 else "multilabel" if thresholds else "classification"

    def logits(self, texts: Sequence[str]) -> Logits:
        """Return logits of shape (len(texts), len(labels))."""
        check_list(texts)
        return np.asarray(self._model.logits(self._given(texts)), np.float32)

    def predict(
        self, texts: Sequence[str], gold: Sequence[str] | None = None, *, best: bool = False
    ) -> Predictions:
        """Return predictions and uncertainty (see `Student.predict`); `best` changes nothing."""
        logits = self.logits(texts)
        if self.thresholds is None:
            return predictions_single(logits, self.labels, gold)
        return predictions_multilabel(logits, self.labels, self.thresholds, gold)

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many texts have more tokens than the student reads."""
        return self._model.count_truncated(self._given(texts))

    def _given(self, texts: Sequence[str]) -> list[str] | list[tuple[str, ...]]:
        if len(self.fields) == 1:
            return list(texts)
        return list(zip(*columns(texts, self.fields), strict=True))


class OnnxTagger(TagPredictor):
    """The tagger that `write_onnx` wrote to a folder."""

    def __init__(self, folder: Path, *, int8: bool = False):
        from tutelage.student.models.standalone import Tagger

        self._model = Tagger(folder, int8=int8)
        super().__init__(self._model.labels)

    def read(self, texts: Sequence[str]) -> list[tuple[Words, NDArray[np.float32]]]:
        """Return the words of each text and the logits of its tokens, shape (tokens, tags)."""
        return self._model.read(texts)

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many texts have more tokens than the student reads."""
        return self._model.count_truncated(texts)


class OnnxWriter(TargetPredictor):
    """The encoder-decoder that `write_onnx` wrote to a folder. It always decodes greedily."""

    def __init__(self, folder: Path, *, int8: bool = False):
        from tutelage.student.models.standalone import Writer

        super().__init__()
        self._model = Writer(folder, int8=int8)

    def write(self, texts: Sequence[str], *, best: bool = False) -> list[str]:
        """Return the target of each text; `best` changes nothing."""
        return self._model.predict(texts)

    def target_logits(
        self, texts: Sequence[str], targets: Sequence[str]
    ) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.int64]]]:
        """Return logits and ids of targets (see `TargetPredictor.target_logits`)."""
        return self._model.target_logits(texts, targets)

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many texts have more tokens than the student reads."""
        return self._model.count_truncated(texts)


def _settings(folder: Path) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads((folder / "predict.json").read_text(encoding="utf-8"))
    return settings


def _load_onnx(folder: Path, *, int8: bool) -> OnnxStudent | OnnxTagger | OnnxWriter:
    settings = _settings(folder)
    family = (
        OnnxWriter if settings.get("decoding") else OnnxTagger if settings.get("entities") else OnnxStudent
    )
    return family(folder, int8=int8)


def load_predictor(folder: Path, engine: Engine = "auto") -> Predictor:
    """Load a student for predictions alone.

    Args:
        folder: a student's folder, or one that `tutelage export` wrote.
        engine: `torch`; `onnx` or `int8`, the ONNX models of an exported folder; `auto` takes `onnx` where
            the folder and the machine have it and there is no GPU, unless the student decodes with beams.

    Raises:
        InputError: the folder holds no student, or not in this form.
    """
    from tutelage.student.models.load import load_student

    exported = (folder / "predict.json").exists()
    if engine in ("onnx", "int8"):
        if not exported:
            raise InputError(
                f"{folder} holds no ONNX model; give a folder that `tutelage export RUN FOLDER` wrote"
            )
        if not find_spec("onnxruntime"):
            raise InputError("ONNX needs an extra package: pip install 'tutelage[onnx]'")
        try:
            return _load_onnx(folder, int8=engine == "int8")
        except FileNotFoundError as error:
            raise InputError(str(error)) from None
    if engine == "auto" and exported and _onnx_is_best(folder):
        return _load_onnx(folder, int8=False)
    return load_student(folder)


def _onnx_is_best(folder: Path) -> bool:
    """Return whether ONNX can run on this machine, answers like torch, and there is no GPU for torch."""
    from tutelage.student.device import device

    greedy = (_settings(folder).get("decoding") or {}).get("beams", 1) == 1
    written = any((folder / "onnx" / f"{name}.onnx").exists() for name in ("model", "decoder"))
    return greedy and written and find_spec("onnxruntime") is not None and device() == "cpu"
