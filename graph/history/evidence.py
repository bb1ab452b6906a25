"""What agents were shown for a sample: labelled rows, and the weakness that its text was written for."""

import json
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from tutelage.graph.history.calls import Call
from tutelage.graph.history.records import Records
from tutelage.student.corpus import Sample
from tutelage.student.data.rows import content_id


class ShownRow(TypedDict):
    """A row that an agent was shown: its label as text and, if it shows an error, the student's answer.
    `place` is where it is in the user's files, if it was looked up.
    """

    id: str
    text: str
    label: str
    predicted: NotRequired[str]
    place: NotRequired[str]


class WeaknessShown(TypedDict):
    """The weakness that a text was written for, as the generator was shown it, with the rows that are
    evidence for it. `found_by` is the analyst's call, "" if the weakness was found without one.
    """

    id: str
    name: str
    hypothesis: str
    label: str
    confused_with: str
    found_by: str
    evidence: list[ShownRow]


def rows_shown(records: Records, call: Call) -> list[ShownRow]:
    """Return the labelled rows in a generator's prompt."""
    if (key := ("rows", call.id)) not in records.shared:
        entries = [*call.payload.get("shots", ()), *call.payload.get("feedback", ())]
        records.shared[key] = [_row(records, call, entry) for entry in entries]
    found: list[ShownRow] = records.shared[key]
    return found


def _row(records: Records, call: Call, entry: Mapping[str, Any]) -> ShownRow:
    text, task_type = call.text_of(entry), records.task_type
    key = entry.get("id") or content_id(text, task_type)
    row = ShownRow(id=key, text=text, label=label_text(records, entry[task_type.label_field], text))
    if "predicted" in entry:
        row["predicted"] = label_text(records, entry["predicted"], text)
    return row


def label_text(records: Records, value: object, text: str) -> str:
    """Return a label in a payload, a file or a sample as text."""
    task_type = records.task_type
    try:
        label = task_type.parse_label(value, text, list(records.about["task"]["labels"]))
    except ValueError:  # a prediction may be no valid label
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return task_type.to_text(label, text)


def weakness_shown(records: Records, sample: Sample, call: Call | None) -> WeaknessShown:
    """Return the weakness as the writer was shown it, since a later analysis may have rewritten its card."""
    key = sample["weakness"]
    card: Mapping[str, Any] = next((card for card in records.cards if card["id"] == key), {})
    entries = call.payload.get("weaknesses", ()) if call else ()
    shown: Mapping[str, Any] = next((one for one in entries if one["id"] == key), card)
    analysis, evidence = evidence_for(records, shown.get("hypothesis", ""))
    if not evidence:
        named = zip(card.get("evidence", ()), card.get("examples", ()), strict=False)
        evidence = [ShownRow(id=one, text=text, label=card["label"]) for one, text in named]
    return WeaknessShown(
        id=key,
        name=shown.get("name", ""),
        hypothesis=shown.get("hypothesis", ""),
        label=shown.get("label", ""),
        confused_with=shown.get("confused_with", ""),
        found_by=analysis.id if analysis else "",
        evidence=evidence,
    )


def evidence_for(records: Records, hypothesis: str) -> tuple[Call | None, list[ShownRow]]:
    """Return the analyst's call that stated a hypothesis, and the wrong answers that it cited; (None, []) if
    the weakness was found without an analyst.
    """
    if (key := ("evidence", hypothesis)) not in records.shared:
        records.shared[key] = _evidence_for(records, hypothesis)
    found: tuple[Call | None, list[ShownRow]] = records.shared[key]
    return found


def _evidence_for(records: Records, hypothesis: str) -> tuple[Call | None, list[ShownRow]]:
    for call in records.calls.values():
        if call.role != "analyst" or not hypothesis:
            continue
        for item in call.items:
            if item.hypothesis == hypothesis:
                cited = [entry for entry in call.payload["wrong"] if entry["id"] in item.evidence]
                return call, [_row(records, call, entry) for entry in cited]
    return None, []
