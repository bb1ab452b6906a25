"""The interface of every student, and the two classifiers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.models.predictions import (
    Floats,
    Logits,
    Predictions,
    predictions_multilabel,
    predictions_single,
    sigmoid,
    softmax,
)
from tutelage.student.models.windows import Long, mean_over_windows
from tutelage.student.pretrained import load_model, load_pretrained, longer
from tutelage.student.tasks.fields import ONE, Fields, columns

PAIR_PARTS = 4  # vectors that `features` concatenates for a pair
HEAD_FILE = "head.npz"
HEAD_TYPE = "tutelage-head"  # as in modeling_head.py; importing that file takes seconds


class Predictor(Protocol):
    """A model that predicts. `kind` is its task type (student/tasks/); `labels` is empty for students that
    write; `fields` names the parts of each text (student/tasks/fields.py).
    """

    kind: str
    labels: list[str]
    fields: Fields

    def predict(
        self, texts: Sequence[str], gold: Sequence[str] | None = None, *, best: bool = False
    ) -> Predictions:
        """Return predictions and uncertainty for texts, and with `gold` labels also the loss on each of them.
        `best` uses the slower, more accurate decoding where a student has one (see `predict_best`).
        """
        ...

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many texts have more tokens than the student reads."""
        ...


class Student(Predictor, Protocol):
    """A trained model, as the loop uses it."""

    def predict_best(self, texts: Sequence[str]) -> list[str]:
        """Return only the predicted labels, from the most accurate decoding. Evaluation uses these."""
        ...

    def why_unlearnable(self, label: str) -> str:
        """Explain why the student could never predict this label; return "" if it could."""
        ...

    def save(self, folder: Path) -> None:
        """Write the smallest folder that `load_student` can load."""
        ...

    def export(self, folder: Path) -> None:
        """Write a folder that transformers can load without this package."""
        ...


class Classifier(Student, Protocol):
    """A student with one logit per label; `labels[j]` names column j. A multi-label student predicts every
    label whose probability reaches its threshold in `thresholds`, shape (k,); for others it is None.
    """

    thresholds: Floats | None

    def logits(self, texts: Sequence[str]) -> Logits:
        """Return logits of shape (len(texts), len(labels))."""
        ...

    def predict_proba(self, texts: Sequence[str]) -> NDArray[Any]:
        """Return shape (len(texts), len(labels)). Rows sum to 1, except in multi-label tasks."""
        ...

    def divide_logits(self, temperature: float) -> None:
        """Divide all logits by a temperature."""
        ...


class FullStudent:
    """A sequence classifier whose weights are all trained. With `long` set to `window` it reads all of a long
    text (student/models/windows.py); otherwise it reads the beginning.
    """

    long: Long = "cut"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        labels: Sequence[str],
        max_tokens: int,
        fields: Fields = ONE,
        *,
        thresholds: Floats | None = None,
    ):
        self.model, self.tokenizer, self.max_tokens = model, tokenizer, max_tokens
        self.labels, self.fields, self.thresholds = list(labels), fields, thresholds
        self.kind = _task_type(fields, thresholds)

    def tokens(self, texts: Sequence[str], **options: Any) -> Any:
        """Return the tokenizer's encoding, cut to `max_tokens`. The texts of a pair are encoded jointly."""
        parts = columns(texts, self.fields)
        return self.tokenizer(*parts, truncation=True, max_length=self.max_tokens, **options)

    def logits(self, texts: Sequence[str]) -> Logits:
        """Return logits of shape (len(texts), len(labels)). Texts are batched by length."""
        check_list(texts)
        self.model.eval()
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))  # needs least memory (see Encoder)
        result = np.zeros((len(texts), len(self.labels)), np.float32)
        if order:
            ordered = [texts[i] for i in order]
            logits = mean_over_windows(self, ordered, lambda **inputs: self.model(**inputs).logits, size=64)
            result[order] = logits.numpy()
        return result

    def predict(
        self, texts: Sequence[str], gold: Sequence[str] | None = None, *, best: bool = False
    ) -> Predictions:
        """Return predictions and uncertainty (see `Student.predict`); `best` changes nothing."""
        return _predict(self, texts, gold)

    def predict_best(self, texts: Sequence[str]) -> list[str]:
        """Return only the predicted labels."""
        return self.predict(texts).answers

    def why_unlearnable(self, label: str) -> str:
        """Return "": a classifier can learn every label."""
        return ""

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many texts have more than `max_tokens` tokens; 0 if they are read in windows."""
        if self.long == "window":
            return 0
        return sum(longer(self.tokenizer, self.max_tokens, *columns(texts, self.fields)))

    def predict_proba(self, texts: Sequence[str]) -> NDArray[Any]:
        """Return shape (len(texts), len(labels)). Rows sum to 1, except in multi-label tasks."""
        return softmax(self.logits(texts)) if self.thresholds is None else sigmoid(self.logits(texts))

    def divide_logits(self, temperature: float) -> None:
        """Divide all logits by a temperature, by scaling the last layer: every form of the student then gives
        the calibrated probabilities.
        """
        import torch

        layers = [one for one in self.model.modules() if isinstance(one, torch.nn.Linear)]
        last: Any = [one for one in layers if one.out_features == len(self.labels)][-1]
        with torch.no_grad():
            last.weight /= temperature
            if last.bias is not None:
                last.bias /= temperature

    def save(self, folder: Path) -> None:
        """Save model and tokenizer by `save_pretrained`; a mean-pooled model also needs modeling_head.py."""
        self.tokenizer.model_max_length = self.max_tokens
        self.model.config.update({**_config_entries(self), "long_texts": self.long})
        if self.model.config.model_type == HEAD_TYPE:
            carry_code()
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    export = save


def forget_texts(student: Predictor) -> None:
    """Drop the cached embeddings of a head student, for callers that see any number of texts."""
    if isinstance(student, HeadStudent):
        student.encoder.forget()


def check_list(texts: Sequence[str]) -> None:
    """Refuse a single text, which would be read as a list of characters.

    Raises:
        InputError: it is one.
    """
    if isinstance(texts, str):
        raise InputError(f"expected a list of texts, got one text, {texts[:40]!r}; put it into a list")


class HeadStudent:
    """A linear classifier on `features` of cached embeddings; `weight` has shape (labels, width)."""

    def __init__(
        self,
        encoder: Encoder,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32],
        labels: Sequence[str],
        fields: Fields = ONE,
        *,
        thresholds: Floats | None = None,
    ):
        self.encoder, self.weight, self.bias = encoder, weight, bias
        self.labels, self.fields, self.thresholds = list(labels), fields, thresholds
        self.kind = _task_type(fields, thresholds)

    def of(self, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> "HeadStudent":
        """Return a copy with other weights and biases."""
        return HeadStudent(self.encoder, weight, bias, self.labels, self.fields, thresholds=self.thresholds)

    def logits(self, texts: Sequence[str]) -> Logits:
        """Return logits of shape (len(texts), len(labels))."""
        check_list(texts)
        return features(self.encoder, texts, self.fields) @ self.weight.T + self.bias

    def predict(
        self, texts: Sequence[str], gold: Sequence[str] | None = None, *, best: bool = False
    ) -> Predictions:
        """Return predictions and uncertainty (see `Student.predict`); `best` changes nothing."""
        return _predict(self, texts, gold)

    def predict_best(self, texts: Sequence[str]) -> list[str]:
        """Return only the predicted labels."""
        return self.predict(texts).answers

    def why_unlearnable(self, label: str) -> str:
        """Return "": a classifier can learn every label."""
        return ""

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many texts are truncated. A pair counts if either of its texts is."""
        sides = [self.encoder.longer(side) for side in columns(texts, self.fields)]
        return sum(map(any, zip(*sides, strict=True)))

    def predict_proba(self, texts: Sequence[str]) -> NDArray[Any]:
        """Return shape (len(texts), len(labels)). Rows sum to 1, except in multi-label tasks."""
        return softmax(self.logits(texts)) if self.thresholds is None else sigmoid(self.logits(texts))

    def divide_logits(self, temperature: float) -> None:
        """Divide all logits by a temperature, by scaling the weights."""
        self.weight, self.bias = self.weight / temperature, self.bias / temperature

    def save(self, folder: Path) -> None:
        """Save only the head and the name of its encoder."""
        folder.mkdir(parents=True, exist_ok=True)
        metadata = {
            "labels": self.labels,
            "encoder": self.encoder.name,
            "max_tokens": self.encoder.max_tokens,
            **_config_entries(self),
        }
        part = folder / f"{HEAD_FILE}.part"
        with part.open("wb") as file:
            np.savez(file, weight=self.weight, bias=self.bias, about=json.dumps(metadata))
        part.replace(folder / HEAD_FILE)

    def export(self, folder: Path) -> None:
        """Save head and encoder, for `pipeline(…, trust_remote_code=True)` (see modeling_head.py)."""
        import torch
        from transformers import AutoModel, AutoTokenizer
        from tutelage.student.models.modeling_head import HeadConfig, HeadModel

        self.encoder.require_mean_pooling()
        inner = load_model(AutoModel, self.encoder.name)
        names = dict(enumerate(self.labels))
        config = HeadConfig(
            encoder=inner.config.to_dict(),
            num_labels=len(names),
            id2label=names,
            label2id={label: i for i, label in names.items()},
            **_config_entries(self),
        )
        carry_code()
        model = HeadModel(config, inner)
        with torch.no_grad():
            model.classifier.weight.copy_(torch.from_numpy(self.weight))
            model.classifier.bias.copy_(torch.from_numpy(self.bias))
        model.save_pretrained(folder)
        tokenizer = load_pretrained(AutoTokenizer, self.encoder.name)
        tokenizer.model_max_length = self.encoder.max_tokens
        tokenizer.save_pretrained(folder)


def carry_code() -> None:
    """Make `save_pretrained` copy modeling_head.py beside the weights of its models."""
    from tutelage.student.models.modeling_head import HeadConfig, HeadModel

    HeadConfig.register_for_auto_class()
    HeadModel.register_for_auto_class("AutoModelForSequenceClassification")


def features(encoder: Encoder, texts: Sequence[str], fields: Fields) -> NDArray[np.float32]:
    """Return a head's inputs, shape (len(texts), width): embeddings; for pairs `u, v, |u - v|, √d · u · v`.

    The first three follow Sentence-BERT (Reimers and Gurevych, EMNLP 2019, arXiv 1908.10084, section 3), the
    product follows InferSent (Conneau et al., EMNLP 2017, arXiv 1705.02364). The factor √d scales it to the
    size of the others; without it, the head's weight decay would suppress the product (ours).
    """
    if len(fields) == 1:
        return encoder.encode(texts)
    u, v = (encoder.encode(column) for column in columns(texts, fields))
    return np.concatenate([u, v, abs(u - v), u.shape[1] ** 0.5 * u * v], axis=1)


def _predict(student: Classifier, texts: Sequence[str], gold: Sequence[str] | None) -> Predictions:
    logits = student.logits(texts)
    if student.thresholds is None:
        return predictions_single(logits, student.labels, gold)
    return predictions_multilabel(logits, student.labels, student.thresholds, gold)


def _task_type(fields: Fields, thresholds: Floats | None) -> str:
    return "pairs" if len(fields) > 1 else "classification" if thresholds is None else "multilabel"


def _config_entries(student: Classifier) -> dict[str, Any]:
    """Return the saved settings of a classifier; transformers pipelines read `problem_type`. No entry is left
    out, because the base may have been saved as a classifier of the other type.
    """
    multilabel = student.thresholds is not None
    return {
        "text_fields": list(student.fields),
        "problem_type": f"{'multi' if multilabel else 'single'}_label_classification",
        "thresholds": None if student.thresholds is None else student.thresholds.tolist(),
    }
