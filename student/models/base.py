"""The student: what it answers, and how it is saved."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tutelage.student.encoder import Encoder, load_pretrained, longer
from tutelage.student.models.predictions import Floats, Logits, Reading, read_one, read_set, sigmoid, softmax
from tutelage.student.tasks.fields import ONE, Fields, columns

PAIR_PARTS = 4  # vectors in the features of a pair
HEAD_FILE = "head.npz"
HEAD_TYPE = "tutelage-head"  # of models in modeling_head.py, whose import takes seconds


class Student(Protocol):
    """A trained model: `kind` names what it answers with (student/kinds/), `fields` what its texts consist of
    (student/tasks/fields.py).
    """

    kind: str
    labels: list[str]
    fields: Fields

    def read(self, texts: Sequence[str], gold: Sequence[str] | None = None, *, best: bool = False) -> Reading:
        """Answers to texts, the `best` it can give or quick ones, and how sure of them it is; given their
        labels, also its loss on these.
        """
        ...

    def answer(self, texts: Sequence[str]) -> list[str]:
        """The best answers alone: what it is examined by."""
        ...

    def unlearnt(self, label: str) -> str:
        """Why it could not learn to answer so, in words; "" if it could."""
        ...

    def cut(self, texts: Sequence[str]) -> int:
        """How many texts are longer than it reads."""
        ...

    def save(self, folder: Path) -> None:
        """Write what `load_student` needs, as small as it can be."""
        ...

    def export(self, folder: Path) -> None:
        """Write a folder that transformers loads without us."""
        ...


class Classifier(Student, Protocol):
    """A student with logits: `labels[j]` names column j. Of a multi-label one `thresholds`, shape (k,), say
    from which probability on a label is answered; others have none.
    """

    thresholds: Floats | None

    def logits(self, texts: Sequence[str]) -> Logits:
        """Shape (len(texts), len(labels))."""
        ...


class FullStudent:
    """A sequence classifier with every weight trained."""

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
        self.kind = _kind(fields, thresholds)

    def tokens(self, texts: Sequence[str], **options: Any) -> Any:
        """The tokenizer's encoding of texts, pairs as its model knows them, cut to `max_tokens`."""
        parts = columns(texts, self.fields)
        return self.tokenizer(*parts, truncation=True, max_length=self.max_tokens, **options)

    def logits(self, texts: Sequence[str]) -> Logits:
        """Shape (len(texts), len(labels)); evaluated in length order, returned in the given one."""
        import torch

        self.model.eval()
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        result = np.zeros((len(texts), len(self.labels)), np.float32)
        with torch.inference_mode():
            for start in range(0, len(order), 64):
                part = order[start : start + 64]
                batch = self.tokens([texts[i] for i in part], padding=True, return_tensors="pt")
                result[part] = self.model(**batch.to(self.model.device)).logits.float().cpu().numpy()
        return result

    def read(self, texts: Sequence[str], gold: Sequence[str] | None = None, *, best: bool = False) -> Reading:
        """See `Student`; it has one answer alone."""
        return _read(self, texts, gold)

    def answer(self, texts: Sequence[str]) -> list[str]:
        """See `Student`."""
        return self.read(texts).answers

    def unlearnt(self, label: str) -> str:
        """See `Student`: nothing."""
        return ""

    def cut(self, texts: Sequence[str]) -> int:
        """See `Student`."""
        return sum(longer(self.tokenizer, self.max_tokens, *columns(texts, self.fields)))

    def probabilities(self, texts: Sequence[str]) -> NDArray[Any]:
        """Shape (len(texts), len(labels)); rows sum to 1, unless each label is right or wrong by itself."""
        return softmax(self.logits(texts)) if self.thresholds is None else sigmoid(self.logits(texts))

    def save(self, folder: Path) -> None:
        """`save_pretrained` of model and tokenizer; of a mean-pooled model also modeling_head.py."""
        self.tokenizer.model_max_length = self.max_tokens
        self.model.config.update(_about(self))
        if self.model.config.model_type == HEAD_TYPE:
            carry_code()
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    export = save


class HeadStudent:
    """A linear classifier on `features` of cached vectors; `weight` has shape (labels, width)."""

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
        self.kind = _kind(fields, thresholds)

    def of(self, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> "HeadStudent":
        """The same head with other numbers."""
        return HeadStudent(self.encoder, weight, bias, self.labels, self.fields, thresholds=self.thresholds)

    def logits(self, texts: Sequence[str]) -> Logits:
        """Shape (len(texts), len(labels))."""
        return features(self.encoder, texts, self.fields) @ self.weight.T + self.bias

    def read(self, texts: Sequence[str], gold: Sequence[str] | None = None, *, best: bool = False) -> Reading:
        """See `Student`; it has one answer alone."""
        return _read(self, texts, gold)

    def answer(self, texts: Sequence[str]) -> list[str]:
        """See `Student`."""
        return self.read(texts).answers

    def unlearnt(self, label: str) -> str:
        """See `Student`: nothing."""
        return ""

    def cut(self, texts: Sequence[str]) -> int:
        """See `Student`; of pairs, either text."""
        sides = [self.encoder.longer(side) for side in columns(texts, self.fields)]
        return sum(map(any, zip(*sides, strict=True)))

    def probabilities(self, texts: Sequence[str]) -> NDArray[Any]:
        """Shape (len(texts), len(labels)); rows sum to 1, unless each label is right or wrong by itself."""
        return softmax(self.logits(texts)) if self.thresholds is None else sigmoid(self.logits(texts))

    def save(self, folder: Path) -> None:
        """The head alone: the encoder is named, not copied."""
        folder.mkdir(parents=True, exist_ok=True)
        about = {
            "labels": self.labels,
            "encoder": self.encoder.name,
            "max_tokens": self.encoder.max_tokens,
            **_about(self),
        }
        part = folder / f"{HEAD_FILE}.part"
        with part.open("wb") as file:
            np.savez(file, weight=self.weight, bias=self.bias, about=json.dumps(about))
        part.replace(folder / HEAD_FILE)

    def export(self, folder: Path) -> None:
        """The whole model; loads with `pipeline(…, trust_remote_code=True)` (see modeling_head.py)."""
        import torch
        from transformers import AutoModel, AutoTokenizer
        from tutelage.student.models.modeling_head import HeadConfig, HeadModel

        self.encoder.require_mean_pooling()
        inner = load_pretrained(AutoModel, self.encoder.name)
        names = dict(enumerate(self.labels))
        config = HeadConfig(
            encoder=inner.config.to_dict(),
            num_labels=len(names),
            id2label=names,
            label2id={label: i for i, label in names.items()},
            **_about(self),
        )
        carry_code()
        model = HeadModel(config)
        model.encoder.load_state_dict(inner.state_dict())
        with torch.no_grad():
            model.classifier.weight.copy_(torch.from_numpy(self.weight))
            model.classifier.bias.copy_(torch.from_numpy(self.bias))
        model.save_pretrained(folder)
        tokenizer = load_pretrained(AutoTokenizer, self.encoder.name)
        tokenizer.model_max_length = self.encoder.max_tokens
        tokenizer.save_pretrained(folder)


def carry_code() -> None:
    """Have `save_pretrained` copy modeling_head.py beside the weights of its models."""
    from tutelage.student.models.modeling_head import HeadConfig, HeadModel

    HeadConfig.register_for_auto_class()
    HeadModel.register_for_auto_class("AutoModelForSequenceClassification")


def features(encoder: Encoder, texts: Sequence[str], fields: Fields) -> NDArray[np.float32]:
    """What a head is trained on, shape (len(texts), width): vectors; of pairs `u, v, |u - v|, √d · u · v`.

    The first three as in Sentence-BERT (Reimers and Gurevych, EMNLP 2019, arXiv 1908.10084, section 3), the
    product as in InferSent (Conneau et al., EMNLP 2017, arXiv 1705.02364); its factor makes it as large as
    the others, which the head's weight decay would else keep it from (ours).
    """
    if len(fields) == 1:
        return encoder.encode(texts)
    u, v = (encoder.encode(column) for column in columns(texts, fields))
    return np.concatenate([u, v, abs(u - v), u.shape[1] ** 0.5 * u * v], axis=1)


def _read(student: Classifier, texts: Sequence[str], gold: Sequence[str] | None) -> Reading:
    logits = student.logits(texts)
    if student.thresholds is None:
        return read_one(logits, student.labels, gold)
    return read_set(logits, student.labels, student.thresholds, gold)


def _kind(fields: Fields, thresholds: Floats | None) -> str:
    return "pairs" if len(fields) > 1 else "classification" if thresholds is None else "multilabel"


def _about(student: Classifier) -> dict[str, Any]:
    """What a saved classifier says of itself beside its labels; a pipeline goes by `problem_type`. Both are
    written always: the base may have been a classifier of the other sort.
    """
    several = student.thresholds is not None
    return {
        "text_fields": list(student.fields),
        "problem_type": f"{'multi' if several else 'single'}_label_classification",
        "thresholds": None if student.thresholds is None else student.thresholds.tolist(),
    }
