"""The recorded teacher replays labels that a real language model once gave."""

from collections.abc import Mapping, Sequence
from typing import Any

from tutelage.agents.brief import fields_of
from tutelage.student.data.rows import Row, content_id
from tutelage.student.tasks.fields import join

_CERTAIN = 1.0  # used if no confidence was recorded; the same for all texts, so it ranks none of them


class Recorded:
    """Answer the labeler's payload from rows with a text, its recorded label, and optionally `confidence`.

    Use it in a `RehearsalModel` with `logprobs: false`: that model invents log-probabilities, which would
    otherwise override the recorded confidence. The replies of the other three roles are not recorded.
    """

    def __init__(self, rows: Sequence[Row]):
        self._rows = {row["id"]: row for row in rows}

    def answer(self, payload: Mapping[str, Any], seed: int) -> dict[str, object]:
        """Return the reply to a labeler's payload; the seed has no effect.

        Raises:
            ValueError: the payload belongs to another role, or a text has no recorded label.
        """
        if "texts" not in payload:
            raise ValueError(f"only labels were recorded; got the payload of another role: {sorted(payload)}")
        fields = fields_of(payload)
        return {"labels": [self._label(entry["id"], join(entry, fields)) for entry in payload["texts"]]}

    def _label(self, id: str, text: str) -> dict[str, object]:
        row = self._rows.get(content_id(text))
        if row is None:
            raise ValueError(f"no label is recorded for {text[:60]!r}")
        confidence = row.get("confidence", _CERTAIN)
        return {"id": id, "reason": "recorded", "label": row["label"], "confidence": confidence}
