"""Records of annotation tools as plain records: Label Studio, Argilla, doccano and Prodigy.

The forms are those of the tools' documentation: labelstud.io/guide/task_format (JSON), docs.argilla.io
(`records.to_json`, `records.to_datasets`), doccano's JSONL, and prodi.gy/docs/api-interfaces.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

Record = dict[str, Any]
UNANNOTATED = "_unannotated"  # marks a record that nobody has labelled yet, or that annotators rejected
_RESPONSES = ".responses"


def plain_record(record: Record) -> Record:
    """Return a tool's record as a plain one: its texts, and `label`, `labels` (chosen names) or `entities`
    (spans with `start`, `end` and `type`). Other records are returned as they are.

    Of several annotations of a text, the most frequent one is taken, and of equally frequent ones the first.
    """
    if isinstance(record.get("data"), dict) and ("annotations" in record or "predictions" in record):
        return _label_studio(record)
    if isinstance(record.get("fields"), dict) and isinstance(record.get("responses"), dict):
        return _argilla(record)
    if any(key.endswith(_RESPONSES) for key in record):
        return _argilla_row(record)
    if "_input_hash" in record and "answer" in record:
        return _prodigy(record)
    spans = record.get("label", record.get("labels"))
    if isinstance(spans, list) and spans and all(_is_triple(one) for one in spans):  # doccano
        return {**record, "entities": [{"start": s, "end": e, "type": name} for s, e, name in spans]}
    return record


def _label_studio(task: Record) -> Record:
    """One annotation has results of type `choices` (classification) or `labels` (spans)."""
    found = []
    for annotation in task.get("annotations", []):
        if not annotation.get("was_cancelled"):
            values = [one.get("value", {}) for one in annotation.get("result", [])]
            names = [name for value in values for name in value.get("choices", [])]
            spans = [
                _span(value["start"], value["end"], name)
                for value in values
                for name in value.get("labels", [])
            ]
            found.append((names, spans))
    return _annotated(task["data"], found)


def _argilla(record: Record) -> Record:
    """Responses by question, each a list of values with their users."""
    answers = [
        one["value"]
        for several in record["responses"].values()
        for one in several
        if one.get("status", "submitted") == "submitted"
    ]
    return _annotated(record["fields"], [_answer(value) for value in answers])


def _argilla_row(row: Record) -> Record:
    """A row of a data set: for each question, columns `….responses` and `….responses.status`."""
    found = []
    for key, values in row.items():
        if key.endswith(_RESPONSES) and values:
            states = row.get(f"{key}.status") or ["submitted"] * len(values)
            found += [
                _answer(value)
                for value, status in zip(values, states, strict=True)
                if status == "submitted" and value is not None
            ]
    return _annotated(row, found)


def _answer(value: Any) -> tuple[list[str], list[Record]]:
    """Return the names and spans of a response: a name, a list of names, or a list of spans."""
    values = value if isinstance(value, list) else [value]
    spans = [one for one in values if isinstance(one, dict)]
    names = [str(one) for one in values if not isinstance(one, dict)]
    return names, [_span(one["start"], one["end"], one["label"]) for one in spans]


def _prodigy(task: Record) -> Record:
    """Chosen options, the label of a binary question, or spans; only accepted answers count."""
    if task["answer"] != "accept":
        return _annotated(task, [])
    names = task["accept"] if "accept" in task else [task["label"]] if "label" in task else []
    spans = [_span(one["start"], one["end"], one["label"]) for one in task.get("spans") or []]
    return _annotated(task, [(list(names), spans)])


def _annotated(fields: Record, annotations: Sequence[tuple[list[str], list[Record]]]) -> Record:
    """Return the fields of a record with its most frequent annotation."""
    if not annotations:
        return {**fields, UNANNOTATED: True}
    by_form = {repr(one): one for one in reversed(annotations)}
    form, _ = Counter(map(repr, annotations)).most_common(1)[0]
    names, spans = by_form[form]
    record = {**fields, "labels": names, "entities": spans}
    return {**record, "label": names[0]} if len(names) == 1 else record


def _span(start: int, end: int, name: str) -> Record:
    return {"start": start, "end": end, "type": name}


def _is_triple(value: Any) -> bool:
    return isinstance(value, list) and [type(one) for one in value] == [int, int, str]
