"""Write a student as ONNX, in full and in 8-bit weights, and check both against torch."""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean, median
from typing import Any, NotRequired, TypedDict

import numpy as np
from tutelage.student.errors import InputError
from tutelage.student.models.base import FullStudent, Student
from tutelage.student.models.causal import CausalStudent
from tutelage.student.models.onnx_graphs import convert, convert_encoder_decoder, quantise
from tutelage.student.models.predictions import softmax
from tutelage.student.models.seq2seq import Seq2seqStudent
from tutelage.student.models.tagger import Tagger
from tutelage.student.models.windows import overlap
from tutelage.student.tasks.fields import columns
from tutelage.student.tasks.registry import TASK_TYPES

ALLOWED = 1e-3  # difference of a probability from torch's above which the ONNX model is refused (ours)
# Shares of answers below which a model is refused, the 8-bit one by leaving it out (ours). In 8 bits five
# classifiers kept 96.3 to 99.0 % of the answers, and their macro-F1 (benchmarks/quantisation.py); other types
# of task were not measured.
SAME, INT8_SAME = 0.98, 0.95
_MANY = 20  # texts of which one may differ, because two labels can be equally probable
_TIMED, _SECONDS = 30, 20  # texts whose latency is measured, as many as fit into these seconds

Writable = FullStudent | Tagger | Seq2seqStudent


class Parity(TypedDict):
    """How the ONNX models compare with torch on `texts` texts. `difference` is the largest difference of a
    probability; for students that write, of a token's, given torch's tokens before it. `same` is the share of
    texts with the same answer, decoded greedily. `milliseconds` is the median time of one text on one thread,
    tokenizing included, and `megabytes` the size of the weights, by model. `int8_refused` says why the 8-bit
    model was left out.
    """

    texts: int
    difference: float
    same: float
    int8_difference: float
    int8_same: float
    milliseconds: dict[str, float]
    megabytes: dict[str, float]
    int8_refused: NotRequired[str]


def why_no_onnx(student: Student) -> str:
    """Explain why a student cannot be written as ONNX; return "" if it can."""
    if isinstance(student, CausalStudent):
        return "causal models are not converted"
    if isinstance(student, Seq2seqStudent) and not student.tokenizer.is_fast:
        return "the tokenizer of the base has no tokenizer.json"
    return "" if isinstance(student, Writable) else "a head student has to be exported first"


def write_onnx(student: Student, folder: Path, texts: Sequence[str]) -> Parity:
    """Write the graphs to `onnx/`, and `predict.py` with its settings, to a folder that holds the student's
    tokenizer. Each graph has a form in 8 bits: `onnx/model.onnx` and `onnx/model_int8.onnx`, or for students
    that write, `encoder` and `decoder` of each form.

    Args:
        student: a student on the CPU.
        folder: where `student.export` wrote it.
        texts: real texts for the check, at least two.

    Raises:
        InputError: a package is missing, or the model cannot be converted or predicts differently from torch.
    """
    if why := why_no_onnx(student):
        raise InputError(f"no ONNX model can be written: {why}; leave it out with --no-onnx")
    assert isinstance(student, Writable)
    if getattr(student.model, "apart", False):
        raise InputError(
            "a head student of pairs encodes the two texts apart, which ONNX cannot express; take a full"
            " student, or leave ONNX out with --no-onnx"
        )
    _require_packages()
    graphs = folder / "onnx"
    graphs.mkdir()
    if isinstance(student, Seq2seqStudent):
        convert_encoder_decoder(student, graphs, texts[:2])
    else:
        convert(student, graphs, texts[:2])
    for path in list(graphs.glob("*.onnx")):
        quantise(path)
    _write_program(student, folder)
    return _compare_with_torch(student, folder, texts)


def _write_program(student: Writable, folder: Path) -> None:
    """Write `predict.py`, what it imports, and its settings."""
    from tutelage.student.models import standalone
    from tutelage.student.tasks import words

    shutil.copy(standalone.__file__, folder / "predict.py")
    settings: dict[str, Any] = {
        "labels": student.labels,
        "entities": False,
        "thresholds": None,
        "pairs": len(student.fields) > 1,
        "max_tokens": student.max_tokens,
        "overlap": None,
        "pad_id": student.tokenizer.pad_token_id,
        "pad_token": student.tokenizer.pad_token,
    }
    if isinstance(student, Tagger):
        shutil.copy(words.__file__, folder / "words.py")
        settings |= {"labels": student.tags, "entities": True}
    elif isinstance(student, Seq2seqStudent):
        settings["decoding"] = _decoding(student)
    else:
        if student.thresholds is not None:
            settings["thresholds"] = [float(one) for one in student.thresholds]
        if student.long == "window":
            settings["overlap"] = overlap(student.max_tokens)
    (folder / "predict.json").write_text(json.dumps(settings, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _decoding(student: Seq2seqStudent) -> dict[str, Any]:
    """Return how a student decodes: limits, and the ids of tokens at which it begins and ends."""
    tokens = student.model.generation_config
    start, end = tokens.decoder_start_token_id, tokens.eos_token_id
    return {
        "max_target": student.max_target,
        "beams": student.beams,
        "start": tokens.bos_token_id if start is None else start,
        "end": end if isinstance(end, list) else [] if end is None else [end],
        "forced_first": tokens.forced_bos_token_id,
        "forced_last": tokens.forced_eos_token_id,
    }


def _require_packages() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        if not find_spec(name):
            raise InputError(
                f"ONNX needs an extra package ({name}); run: pip install 'tutelage[onnx]', or leave it out"
                " with --no-onnx"
            )


def _compare_with_torch(student: Writable, folder: Path, texts: Sequence[str]) -> Parity:
    """Compare both models with the student; remove the 8-bit model if its answers differ too often."""
    from tutelage.student.models.standalone import open_model

    inputs = list(texts)
    pairs = list(zip(*columns(inputs, student.fields), strict=True))
    given: list[Any] = pairs if len(student.fields) > 1 else inputs
    models = {name: open_model(folder, int8=name == "int8", threads=1) for name in ("onnx", "int8")}
    labels = student.predict(inputs).answers
    probabilities = (_probabilities(one, given, labels) for one in models.values())
    differences = [
        (_apart(p, full), _apart(p, small))
        for p, full, small in zip(_probabilities(student, inputs, labels), *probabilities, strict=True)
    ]
    difference, int8_difference = (max(column) for column in zip(*differences, strict=True))
    if difference > ALLOWED:
        raise InputError(
            f"the ONNX model predicts differently from torch (a probability differs by {difference:.3f});"
            " nothing was written; use --no-onnx"
        )
    to_file = TASK_TYPES[student.kind].to_file
    expected = [to_file(label, text) for label, text in zip(labels, inputs, strict=True)]
    same, int8_same = (
        fmean(one == other for one, other in zip(expected, model.predict(given), strict=True))
        for model in models.values()
    )
    if _differ(same, len(inputs), SAME):
        raise InputError(
            f"only {same:.0%} of the ONNX model's answers are those of torch; nothing was written; use"
            " --no-onnx"
        )
    parity = Parity(
        texts=len(inputs),
        difference=difference,
        same=same,
        int8_difference=int8_difference,
        int8_same=int8_same,
        milliseconds={"torch": _milliseconds(student.predict_best, inputs)}
        | {name: _milliseconds(model.predict, given) for name, model in models.items()},
        megabytes={"onnx": _megabytes(folder, int8=False), "int8": _megabytes(folder, int8=True)},
    )
    if _differ(int8_same, len(inputs), INT8_SAME):
        for path in (folder / "onnx").glob("*_int8.onnx"):
            path.unlink()
        parity["int8_refused"] = f"only {int8_same:.0%} of its answers are those of the full model"
    return parity


def _differ(same: float, texts: int, wanted: float) -> bool:
    """Return whether more answers differ than are allowed, given the shares of texts with the same answer."""
    return round((1 - same) * texts) > max(int(texts >= _MANY), (1 - wanted) * texts)


def _probabilities(model: Any, texts: Sequence[Any], answers: Sequence[str]) -> Iterator[Any]:
    """Yield the probabilities for each text; for a model that writes, those of every token at each place of
    the answer, shape (tokens, vocabulary).
    """
    if not hasattr(model, "target_logits"):
        yield from model.predict_proba(texts)
        return
    for start in range(0, len(texts), 8):  # all of them would need much memory
        part = slice(start, start + 8)
        found = {i: softmax(logits) for i, logits, _ in model.target_logits(texts[part], answers[part])}
        yield from (found[i] for i in range(len(found)))


def _apart(p: Any, q: Any) -> float:
    """Return the largest difference of a probability; 1 if the answer was split into other tokens."""
    return float(np.abs(p - q).max()) if p.shape == q.shape else 1.0


def _megabytes(folder: Path, *, int8: bool) -> float:
    """Return the size of the graphs in full precision or in 8 bits."""
    graphs = (folder / "onnx").glob("*.onnx")
    return round(sum(one.stat().st_size for one in graphs if one.stem.endswith("_int8") == int8) / 1e6, 1)


def _milliseconds(predict: Callable[[list[Any]], Any], texts: Sequence[Any]) -> float:
    """Return the median time of one text on one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    times = list[float]()
    try:
        for text in [texts[0], *texts[:_TIMED]]:  # the first call warms up
            start = time.perf_counter()
            predict([text])
            times.append(time.perf_counter() - start)
            if len(times) > 1 and sum(times) > _SECONDS:
                break
    finally:
        torch.set_num_threads(threads)
    return round(1000 * median(times[1:]), 2)
