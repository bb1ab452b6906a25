"""Write a classifier or a tagger as ONNX, in full and in 8-bit weights, and check both against torch."""

import json
import logging
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean, median
from typing import Any, NotRequired, TypedDict, TypeGuard

import numpy as np
from tutelage.student.errors import InputError
from tutelage.student.models.base import FullStudent, Student
from tutelage.student.models.tagger import Tagger
from tutelage.student.models.windows import overlap
from tutelage.student.tasks.fields import columns

ALLOWED = 1e-3  # difference of a probability from torch's above which the ONNX model is refused (ours)
SAME = 0.98  # share of answers below which the 8-bit model is left out (ours)
_TIMED = 30  # texts whose latency is measured


class Parity(TypedDict):
    """How the ONNX models compare with torch on `texts` texts. `difference` is the largest difference of a
    probability. `same` is the share of texts with the same answer. `milliseconds` is the median time of one
    text on one thread, tokenizing included, and `megabytes` the size of the weights, by model. `int8_refused`
    says why the 8-bit model was left out.
    """

    texts: int
    difference: float
    int8_difference: float
    int8_same: float
    milliseconds: dict[str, float]
    megabytes: dict[str, float]
    int8_refused: NotRequired[str]


def has_onnx(student: Student) -> TypeGuard[FullStudent | Tagger]:
    """Return whether a student can be written as ONNX; one that writes texts cannot."""
    return isinstance(student, FullStudent | Tagger)


def write_onnx(student: Student, folder: Path, texts: Sequence[str]) -> Parity:
    """Write `onnx/model.onnx`, `onnx/model_int8.onnx`, and `predict.py` with its settings to a folder that
    holds the student's tokenizer.

    Args:
        student: a classifier or a tagger on the CPU.
        folder: where `student.export` wrote it.
        texts: real texts for the check, at least two.

    Raises:
        InputError: a package is missing, or the model cannot be converted or predicts differently from torch.
    """
    if not has_onnx(student):
        raise InputError("only classifiers and taggers are written as ONNX; leave it out with --no-onnx")
    if getattr(student.model, "apart", False):
        raise InputError(
            "a head student of pairs encodes the two texts apart, which ONNX cannot express; take a full"
            " student, or leave ONNX out with --no-onnx"
        )
    _require_packages()
    (folder / "onnx").mkdir()
    full, small = folder / "onnx" / "model.onnx", folder / "onnx" / "model_int8.onnx"
    _convert(student, full, texts)
    _quantise(full, small)
    _write_program(student, folder)
    return _compare_with_torch(student, folder, texts)


def _write_program(student: FullStudent | Tagger, folder: Path) -> None:
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
    else:
        if student.thresholds is not None:
            settings["thresholds"] = [float(one) for one in student.thresholds]
        if student.long == "window":
            settings["overlap"] = overlap(student.max_tokens)
    (folder / "predict.json").write_text(json.dumps(settings, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _require_packages() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        if not find_spec(name):
            raise InputError(
                f"ONNX needs an extra package ({name}); run: pip install 'tutelage[onnx]', or leave it out"
                " with --no-onnx"
            )


def _convert(student: FullStudent | Tagger, path: Path, texts: Sequence[str]) -> None:
    """Write the model in full precision; batch and length stay free."""
    import onnx
    import torch

    model = student.model.eval().float().cpu()
    example = _example(student, list(texts[:2]))
    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in example]

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.model(**dict(zip(names, inputs, strict=True))).logits
            return logits

    batch, length = torch.export.Dim("batch", min=1, max=4096), torch.export.Dim("length", min=2, max=8192)
    shapes = (tuple({0: batch, 1: length} for _ in names),)
    with warnings.catch_warnings(), _quiet("torch", "onnxscript", "onnx_ir"):
        warnings.simplefilter("ignore")
        try:
            program: Any = torch.onnx.export(
                Logits(),
                tuple(example[name] for name in names),
                dynamo=True,
                verbose=False,
                input_names=names,
                output_names=["logits"],
                dynamic_shapes=shapes,
                opset_version=20,
            )
            program.save(str(path))
        except Exception as error:  # the exporter raises many types
            first = str(error).strip().split("\n")[0]
            raise InputError(f"the student cannot be written as ONNX ({first}); use --no-onnx") from error
    graph = onnx.load(str(path))
    del graph.graph.value_info[:]  # shapes of the example; quantizing would insist on them
    onnx.save(graph, str(path))


def _example(student: FullStudent | Tagger, texts: list[str]) -> Any:
    """Return the model's inputs for some texts, as tensors."""
    if isinstance(student, Tagger):
        return student.tokenizer.pad([one.inputs for one in student.words(texts)], return_tensors="pt")
    return student.tokens(texts, padding=True, return_tensors="pt")


def _quantise(path: Path, small: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet(""):
        quantize_dynamic(str(path), str(small), per_channel=True, weight_type=QuantType.QInt8)


def _compare_with_torch(student: FullStudent | Tagger, folder: Path, texts: Sequence[str]) -> Parity:
    """Compare both models with the student; remove the 8-bit model if its answers differ too often."""
    from tutelage.student.models.standalone import open_model

    inputs = list(texts)
    pairs = list(zip(*columns(inputs, student.fields), strict=True))
    given: list[Any] = pairs if len(student.fields) > 1 else inputs
    models = {name: open_model(folder, int8=name == "int8", threads=1) for name in ("onnx", "int8")}
    expected = student.predict_proba(inputs)
    difference, int8_difference = (
        max(float(np.abs(p - q).max()) for p, q in zip(model.predict_proba(given), expected, strict=True))
        for model in models.values()
    )
    if difference > ALLOWED:
        raise InputError(
            f"the ONNX model predicts differently from torch (a probability differs by {difference:.3f});"
            " nothing was written; use --no-onnx"
        )
    answers, int8_answers = (model.predict(given) for model in models.values())
    same = fmean(one == other for one, other in zip(answers, int8_answers, strict=True))
    files = {"onnx": "model.onnx", "int8": "model_int8.onnx"}
    sizes = {name: (folder / "onnx" / file).stat().st_size / 1e6 for name, file in files.items()}
    torch_time = _milliseconds(student.predict_proba, inputs)
    parity = Parity(
        texts=len(inputs),
        difference=difference,
        int8_difference=int8_difference,
        int8_same=same,
        milliseconds={"torch": torch_time}
        | {name: _milliseconds(one.predict_proba, given) for name, one in models.items()},
        megabytes={name: round(size, 1) for name, size in sizes.items()},
    )
    if same < SAME:
        (folder / "onnx" / files["int8"]).unlink()
        parity["int8_refused"] = f"only {same:.0%} of its answers are those of the full model"
    return parity


def _milliseconds(predict: Callable[[list[str]], Any], texts: Sequence[str]) -> float:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times = []
        for text in [texts[0], *texts[:_TIMED]]:  # the first call warms up
            start = time.perf_counter()
            predict([text])
            times.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return round(1000 * median(times[1:]), 2)


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Show only errors of some loggers."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
