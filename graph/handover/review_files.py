"""Write the kept samples of a run as files that annotation tools open, for a person to review."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from tutelage.graph.run_folder.folder import RunFolder
from tutelage.student.errors import InputError
from tutelage.student.tasks.fields import Fields
from tutelage.student.tasks.registry import TASK_TYPES

Tool = Literal["label-studio", "argilla", "csv"]
Sample = dict[str, Any]  # a line of samples.jsonl


def write_for_review(run: Path, path: Path, tool: Tool) -> int:
    """Write the kept samples of a run with the teacher's labels, those with the lowest confidence first.

    - `label-studio`: a JSON array of tasks to import. The labels are predictions, which can be accepted or
      corrected; `label` and `text` are the names in the labelling configuration.
    - `argilla`: a JSON array for `Dataset.records.from_json`; the labels are suggestions for the question
      `label`.
    - `csv`: the texts, `label`, `confidence`, and an empty column `right_label`.

    Args:
        run: the run folder.
        path: the file, which must not exist.
        tool: the tool that the file is for.

    Returns:
        The number of samples.

    Raises:
        InputError: the run has no kept samples yet, or the file exists or cannot be written.
    """
    folder = RunFolder(run)
    task = folder.about()["task"]
    kept = [one for one in folder.read_lines(folder.samples) if one["status"] == "kept"]
    if not kept:
        raise InputError(f"{run} has no kept samples yet; nothing is written")
    if path.exists():
        raise InputError(f"{path} exists already; choose another file, or remove it")
    kept.sort(key=lambda sample: sample.get("confidence", 1.0))
    task_type = TASK_TYPES[task["kind"]]
    content = _WRITERS[tool](kept, tuple(task["fields"]), task_type.label_field)
    try:
        path.write_text(content, encoding="utf-8", newline="")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error}") from error
    return len(kept)


def _label_studio(samples: Sequence[Sample], fields: Fields, label: str) -> str:
    tasks = [
        {
            "data": {field: sample[field] for field in fields},
            "meta": {"id": sample["id"], "round": sample["round"]},
            "predictions": [
                {
                    "model_version": "teacher",
                    "score": sample.get("confidence"),
                    "result": _results(sample[label], fields[0], written=label == "target"),
                }
            ],
        }
        for sample in samples
    ]
    return json.dumps(tasks, ensure_ascii=False, indent=1)


def _results(label: Any, text: str, *, written: bool) -> list[dict[str, Any]]:
    """Return a label as results of Label Studio: choices, spans, or a written text."""
    names = {"from_name": "label", "to_name": text}
    if written:
        return [{**names, "type": "textarea", "value": {"text": [label]}}]
    if isinstance(label, list) and label and isinstance(label[0], dict):
        return [
            {
                **names,
                "type": "labels",
                "value": {
                    "start": one["start"],
                    "end": one["end"],
                    "text": one["text"],
                    "labels": [one["type"]],
                },
            }
            for one in label
        ]
    choices = label if isinstance(label, list) else [label]
    return [{**names, "type": "choices", "value": {"choices": choices}}] if choices else []


def _argilla(samples: Sequence[Sample], fields: Fields, label: str) -> str:
    records = [
        {
            "id": sample["id"],
            "fields": {field: sample[field] for field in fields},
            "metadata": {"round": sample["round"]},
            "suggestions": {
                "label": {
                    "value": _suggestion(sample[label]),
                    "score": sample.get("confidence"),
                    "agent": "teacher",
                }
            },
            "responses": {},
            "vectors": {},
        }
        for sample in samples
    ]
    return json.dumps(records, ensure_ascii=False, indent=1)


def _suggestion(label: Any) -> Any:
    if isinstance(label, list) and label and isinstance(label[0], dict):
        return [{"start": one["start"], "end": one["end"], "label": one["type"]} for one in label]
    return label


def _csv(samples: Sequence[Sample], fields: Fields, label: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*fields, label, "confidence", "right_label"])
    for sample in samples:
        value = sample[label]
        value = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        writer.writerow([*(sample[field] for field in fields), value, sample.get("confidence", ""), ""])
    return text.getvalue()


_WRITERS: dict[Tool, Callable[[Sequence[Sample], Fields, str], str]] = {
    "label-studio": _label_studio,
    "argilla": _argilla,
    "csv": _csv,
}
