"""The student: what it answers, and how it is saved and loaded."""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tutelage.student.encoder import Encoder, device, load_pretrained, longest
from tutelage.student.errors import InputError
from tutelage.student.fields import ONE, Fields, columns

Logits = NDArray[np.float32]
Probabilities = NDArray[np.float32]
PAIR_PARTS = 4  # vectors in the features of a pair
_HEAD = "head.npz"


class Student(Protocol):
    """A trained classifier; `labels[j]` names column j of its probabilities, `fields` what its texts consist
    of (student/fields.py).
    """

    labels: list[str]
    fields: Fields

    def logits(self, texts: Sequence[str]) -> Logits:
        """Shape (len(texts), len(labels))."""
        ...

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """Shape (len(texts), len(labels)); rows sum to 1."""
        ...

    def save(self, folder: Path) -> None:
        """Write what `load_student` needs, as small as it can be."""
        ...

    def export(self, folder: Path) -> None:
        """Write a folder that `transformers.pipeline("text-classification", folder)` loads."""
        ...


def softmax(logits: Logits) -> Probabilities:
    """Probabilities of logits of shape (n, k)."""
    exp = np.exp(logits - logits.max(1, keepdims=True))
    return (exp / exp.sum(1, keepdims=True)).astype(np.float32)  # type: ignore[no-any-return]


class FullStudent:
    """A sequence classifier with every weight trained."""

    def __init__(
        self, model: Any, tokenizer: Any, labels: Sequence[str], max_tokens: int, fields: Fields = ONE
    ):
        self.model, self.tokenizer, self.max_tokens = model, tokenizer, max_tokens
        self.labels, self.fields = list(labels), fields

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

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """Shape (len(texts), len(labels))."""
        return softmax(self.logits(texts))

    def save(self, folder: Path) -> None:
        """`save_pretrained` of model and tokenizer."""
        self.tokenizer.model_max_length = self.max_tokens
        self.model.config.text_fields = list(self.fields)
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
    ):
        self.encoder, self.weight, self.bias = encoder, weight, bias
        self.labels, self.fields = list(labels), fields

    def logits(self, texts: Sequence[str]) -> Logits:
        """Shape (len(texts), len(labels))."""
        return features(self.encoder, texts, self.fields) @ self.weight.T + self.bias

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """Shape (len(texts), len(labels))."""
        return softmax(self.logits(texts))

    def save(self, folder: Path) -> None:
        """The head alone: the encoder is named, not copied."""
        folder.mkdir(parents=True, exist_ok=True)
        about = {
            "labels": self.labels,
            "encoder": self.encoder.name,
            "max_tokens": self.encoder.max_tokens,
            "fields": self.fields,
        }
        part = folder / f"{_HEAD}.part"
        with part.open("wb") as file:
            np.savez(file, weight=self.weight, bias=self.bias, about=json.dumps(about))
        part.replace(folder / _HEAD)

    def export(self, folder: Path) -> None:
        """The whole model; loads with `pipeline(…, trust_remote_code=True)` (see modeling_head.py)."""
        import torch
        from transformers import AutoModel, AutoTokenizer
        from tutelage.student.modeling_head import HeadConfig, HeadModel

        self.encoder.require_mean_pooling()
        inner = load_pretrained(AutoModel, self.encoder.name)
        names = dict(enumerate(self.labels))
        config = HeadConfig(
            encoder=inner.config.to_dict(),
            num_labels=len(names),
            id2label=names,
            label2id={label: i for i, label in names.items()},
            text_fields=list(self.fields),
        )
        HeadConfig.register_for_auto_class()
        HeadModel.register_for_auto_class("AutoModelForSequenceClassification")
        model = HeadModel(config)
        model.encoder.load_state_dict(inner.state_dict())
        with torch.no_grad():
            model.classifier.weight.copy_(torch.from_numpy(self.weight))
            model.classifier.bias.copy_(torch.from_numpy(self.bias))
        model.save_pretrained(folder)
        tokenizer = load_pretrained(AutoTokenizer, self.encoder.name)
        tokenizer.model_max_length = self.encoder.max_tokens
        tokenizer.save_pretrained(folder)


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


def load_student(folder: Path | str, *, encoder: Encoder | None = None, device_name: str = "auto") -> Student:
    """Load a student that `save` or `export` wrote.

    Args:
        folder: the student's folder.
        encoder: reused for a head student if it is the one the head was trained on.
        device_name: `auto`, `cpu`, `cuda`, `mps`.

    Raises:
        InputError: the folder does not hold a student.
    """
    folder = Path(folder)
    if (folder / _HEAD).exists():
        return _load_head(folder, encoder, device_name)
    if not (folder / "config.json").exists():
        raise InputError(f"{folder} holds no student (no config.json); give a run folder or a saved model")
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / 'config.json'} cannot be read: {error}") from error
    auto: Any = AutoModelForSequenceClassification
    if kind == "tutelage-head":
        from tutelage.student.modeling_head import HeadConfig, HeadModel

        auto = HeadModel
        # Known here, its code need not be run from the folder, nor anyone be asked whether it may.
        AutoConfig.register(HeadConfig.model_type, HeadConfig, exist_ok=True)
    model = load_pretrained(auto, str(folder)).to(device(device_name))
    tokenizer = load_pretrained(AutoTokenizer, str(folder))
    names = [model.config.id2label[i] for i in range(model.config.num_labels)]
    tokens = longest(tokenizer, model.config, tokenizer.model_max_length)
    return FullStudent(model, tokenizer, names, tokens, tuple(getattr(model.config, "text_fields", ONE)))


def _load_head(folder: Path, encoder: Encoder | None, device_name: str) -> HeadStudent:
    try:
        with np.load(folder / _HEAD) as stored:
            about = json.loads(str(stored["about"]))
            weight, bias = stored["weight"], stored["bias"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{folder / _HEAD} cannot be read: {error}") from error
    if encoder is None or (encoder.name, encoder.max_tokens) != (about["encoder"], about["max_tokens"]):
        encoder = Encoder(about["encoder"], max_tokens=about["max_tokens"], device=device_name)
    return HeadStudent(encoder, weight, bias, about["labels"], tuple(about.get("fields", ONE)))
