"""The recorded teacher: gives the labels that a real language model once gave, and knows no others."""

from collections.abc import Mapping, Sequence
from typing import Any

from tutelage.agents.analyst import fields_of
from tutelage.student.data.rows import Row, content_id
from tutelage.student.tasks.fields import join

_SURE = 1.0  # stated where none was recorded: then it tells no text from another


class Recorded:
    """Answers the labeler's payload from rows: a text, the label it was given, and its `confidence` if any.

    It goes into a `RehearsalModel`, which makes log-probabilities up: ask it with `logprobs: false`, so
    that the recorded confidence is the one that counts. What the other three roles said is not recorded.
    """

    def __init__(self, rows: Sequence[Row]):
        self._rows = {row["id"]: row for row in rows}

    def answer(self, payload: Mapping[str, Any], seed: int) -> dict[str, object]:
        """The reply to a labeler's payload, whatever the seed.

        Raises:
            ValueError: the payload is another role's, or asks for a text without a recorded label.
        """
        if "texts" not in payload:
            raise ValueError(f"only labels were recorded, and a payload of {sorted(payload)} asks for others")
        fields = fields_of(payload)
        return {"labels": [self._label(entry["id"], join(entry, fields)) for entry in payload["texts"]]}

    def _label(self, id: str, text: str) -> dict[str, object]:
        row = self._rows.get(content_id(text))
        if row is None:
            raise ValueError(f"no label is recorded for {text[:60]!r}")
        confidence = row.get("confidence", _SURE)
        return {"id": id, "reason": "recorded", "label": row["label"], "confidence": confidence}
