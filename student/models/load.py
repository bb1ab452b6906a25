"""Load a student that `save` or `export` wrote, or any transformers model of the same architecture."""

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tutelage.student.device import device
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.models.base import HEAD_FILE, HEAD_TYPE, FullStudent, HeadStudent, Student
from tutelage.student.models.causal import ADAPTER, CausalStudent
from tutelage.student.models.causal import load as load_causal
from tutelage.student.models.predictions import Floats
from tutelage.student.models.seq2seq import load as load_seq2seq
from tutelage.student.models.tagger import Tagger
from tutelage.student.pretrained import load_model, load_pretrained, longest
from tutelage.student.tasks.fields import ONE, Fields


def load_student(folder: Path | str, *, encoder: Encoder | None = None, device_name: str = "auto") -> Student:
    """Load a student that `save` or `export` wrote.

    Args:
        folder: a student's folder.
        encoder: reused for a head student if the head was trained on it; otherwise that encoder is loaded.
        device_name: `auto`, `cpu`, `cuda`, `mps`.

    Raises:
        InputError: the folder does not hold a student, or a file in it cannot be read.
    """
    folder = Path(folder)
    if (folder / HEAD_FILE).exists():
        return _head(folder, encoder, device_name)
    if (folder / ADAPTER).exists():
        return load_causal(folder, device_name)
    if not (folder / "config.json").exists():
        raise InputError(f"{folder} holds no student (no config.json); give a run folder or a saved model")
    try:
        about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / 'config.json'} cannot be read: {error}") from error
    architecture = next(iter(about.get("architectures") or ()), "")
    classifies = architecture.endswith(("ForSequenceClassification", "ForTokenClassification"))
    if about.get("is_encoder_decoder") and not classifies:
        return load_seq2seq(folder, device_name)
    load = next((load for suffix, load in _LOADERS.items() if architecture.endswith(suffix)), _classifier)
    return load(folder, about, device_name)


def _classifier(folder: Path, about: Mapping[str, Any], device_name: str) -> FullStudent:
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    auto: Any = AutoModelForSequenceClassification
    if about.get("model_type") == HEAD_TYPE:
        from tutelage.student.models.modeling_head import HeadConfig, HeadModel

        auto = HeadModel
        # With the class registered, transformers neither runs code from the folder nor asks for consent.
        AutoConfig.register(HeadConfig.model_type, HeadConfig, exist_ok=True)
    model = load_model(auto, str(folder)).to(device(device_name))
    tokenizer = load_pretrained(AutoTokenizer, str(folder))
    names = [model.config.id2label[i] for i in range(model.config.num_labels)]
    tokens = longest(tokenizer, model.config, tokenizer.model_max_length)
    thresholds = _thresholds(about, len(names))
    student = FullStudent(model, tokenizer, names, tokens, _fields(about), thresholds=thresholds)
    student.long = about.get("long_texts", "cut")
    return student


def _head(folder: Path, encoder: Encoder | None, device_name: str) -> HeadStudent:
    try:
        with np.load(folder / HEAD_FILE) as stored:
            about = json.loads(str(stored["about"]))
            weight, bias = stored["weight"], stored["bias"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{folder / HEAD_FILE} cannot be read: {error}") from error
    if encoder is None or (encoder.name, encoder.max_tokens) != (about["encoder"], about["max_tokens"]):
        encoder = Encoder(about["encoder"], max_tokens=about["max_tokens"], device=device_name)
    names = about["labels"]
    thresholds = _thresholds(about, len(names))
    return HeadStudent(encoder, weight, bias, names, _fields(about), thresholds=thresholds)


def _fields(about: Mapping[str, Any]) -> Fields:
    return tuple(about.get("text_fields", ONE))


def _thresholds(about: Mapping[str, Any], labels: int) -> Floats | None:
    """Return the thresholds of a multi-label classifier; 0.5 each if it was saved without any."""
    if about.get("problem_type") != "multi_label_classification":
        return None
    return np.array(about.get("thresholds") or [0.5] * labels)


def _tagger(folder: Path, about: Mapping[str, Any], device_name: str) -> Tagger:
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    model = load_model(AutoModelForTokenClassification, str(folder)).to(device(device_name))
    tokenizer = load_pretrained(AutoTokenizer, str(folder))
    tags = [model.config.id2label[i] for i in range(model.config.num_labels)]
    return Tagger(model, tokenizer, tags, longest(tokenizer, model.config, tokenizer.model_max_length))


def _causal(folder: Path, about: Mapping[str, Any], device_name: str) -> CausalStudent:
    return load_causal(folder, device_name)


_LOADERS: dict[str, Callable[[Path, Mapping[str, Any], str], Student]] = {
    "ForTokenClassification": _tagger,
    "ForCausalLM": _causal,
    "LMHeadModel": _causal,
}
