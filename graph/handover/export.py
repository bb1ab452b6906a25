"""Write what a user takes from a run: the model in several forms, its card, and the labelled texts."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from tutelage.graph.handover.data_card import data_card
from tutelage.graph.handover.model_card import model_card
from tutelage.graph.report.run_section import read_run
from tutelage.graph.run_folder.folder import RunFolder, student_in
from tutelage.graph.task.schema import Task
from tutelage.student.errors import InputError
from tutelage.student.models.load import load_student
from tutelage.student.models.onnx import Parity, why_no_onnx, write_onnx

CHECKED = 200  # texts on which the ONNX models are compared with torch

Warn = Callable[[str], None]  # called with a sentence for the user


def export_run(run: Path, folder: Path, *, onnx: bool = True, warn: Warn = lambda _: None) -> Parity | None:
    """Write a finished run's student, samples and cards to a new folder, all or nothing.

    - the model for transformers (safetensors), README.md (the model card) and task.yaml
    - with `onnx`: `onnx/`, the model in full precision and in 8 bits, and `predict.py`, which needs neither
      torch nor transformers
    - `dataset/`: the kept samples as Parquet, with a card

    Returns:
        How the ONNX models compare with torch; None without them.

    Raises:
        InputError: the run is unfinished, the folder exists, or the ONNX model differs from torch's.
    """
    source = RunFolder(run)
    about = source.about()
    if "stop" not in about:
        raise InputError(f"{run} is unfinished; continue it with `tutelage resume {run}`")
    student = student_in(run)
    if folder.exists():
        raise InputError(f"{folder} exists already; choose another folder")
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        shutil.copytree(student, part, ignore=shutil.ignore_patterns("texts_used.json", "escalated.*"))
        kept = [one for one in source.read_lines(source.samples) if one["status"] == "kept"]
        loaded = load_student(part, device_name="cpu")
        parity = None
        if onnx and (why := why_no_onnx(loaded)):
            warn(f"note: no ONNX model is written: {why}")
        elif onnx:
            parity = write_onnx(loaded, part, _texts(kept, about["task"]))
            if refused := parity.get("int8_refused"):
                warn(f"note: the 8-bit model was left out: {refused}")
        described = read_run(source)
        (part / "README.md").write_text(model_card(described, kept, parity), encoding="utf-8")
        task = Task.model_validate(about["task"]).model_dump(mode="json", exclude_none=True)
        text = yaml.safe_dump(task, sort_keys=False, allow_unicode=True)
        (part / "task.yaml").write_text(text, encoding="utf-8")
        warn("note: task.yaml names files of this machine; look through the folder before you publish it")
        if kept:
            _write_samples(kept, part / "dataset", described.task_type.label_field)
            (part / "dataset" / "README.md").write_text(data_card(described, kept), encoding="utf-8")
        for path in part.rglob("*"):  # safetensors writes files that only their owner may read
            path.chmod(0o755 if path.is_dir() else 0o644)
        part.rename(folder)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return parity


def exported_text(folder: Path, parity: Parity | None) -> list[str]:
    """Return lines that say what an export wrote, and how to use it."""
    samples = ", the samples (dataset/)" if (folder / "dataset").exists() else ""
    lines = [f"wrote {folder}: the model, its card (README.md), task.yaml{samples}"]
    if parity:
        times, sizes = parity["milliseconds"], parity["megabytes"]
        names = [name for name in times if name != "int8" or "int8_refused" not in parity]
        shown = ", ".join(f"{name} {times[name]:.1f}" for name in names)
        lines.append(f"ONNX: answers as torch on {parity['texts']} texts; ms a text on one thread: {shown}")
        lines.append(f"MB: {', '.join(f'{name} {sizes[name]:.0f}' for name in names if name in sizes)}")
        lines.append(f'try it without torch: python {folder / "predict.py"} "a text"')
    return lines


def _texts(kept: list[Any], task: dict[str, Any]) -> list[str]:
    """Return texts to check a model on: kept samples or, without any, the descriptions of the labels or, if
    there are no labels either, the task's name and instruction.
    """
    from tutelage.student.tasks.fields import join

    fields = tuple(task["fields"])
    texts = [join(sample, fields) for sample in kept[:CHECKED]]
    described = [f"{label} {text}" for label, text in task["labels"].items()]
    described = described or [task["name"], task["instruction"]]
    return texts if len(texts) > 1 else [join(dict.fromkeys(fields, text), fields) for text in described]


def _write_samples(kept: list[Any], folder: Path, label_field: str) -> None:
    """Write samples as Parquet: their label and the fields that hold one value each."""
    import pyarrow
    import pyarrow.parquet

    folder.mkdir()
    columns = {
        name: [row.get(name) for row in kept] for name in dict.fromkeys(n for row in kept for n in row)
    }
    plain = {
        name: values
        for name, values in columns.items()
        if name == label_field or all(not isinstance(value, list | dict) for value in values)
    }
    pyarrow.parquet.write_table(pyarrow.table(plain), folder / "samples.parquet")
