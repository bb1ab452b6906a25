"""The history of a sample: where its text came from, who labelled it and how it was used."""

from typing import Any, TypedDict

from tutelage.graph.history.calls import Call
from tutelage.graph.history.evidence import (
    ShownRow,
    WeaknessShown,
    label_text,
    rows_shown,
    weakness_shown,
)
from tutelage.graph.history.origins import source_name
from tutelage.graph.history.records import Found, Purpose, Records
from tutelage.student.corpus import Sample, is_drawn
from tutelage.student.data.rows import content_id

UNASKED = ("duplicate", "leak", "surplus")  # statuses of texts that are refused before they are labelled
SCREENED = (
    "kept",
    "refused",
    "unjudged",
    "surplus",
)  # statuses of texts that no near-duplicate was found for


class Origin(TypedDict):
    """Where a text came from. A drawn one has the `file` of the user's texts, its `place` in it if this was
    looked up, and `uncertainty`, by which it was selected, unless it was drawn at random. A written one has
    the generator's `call`, the label and kind that were `requested`, and the labelled rows that it was
    `shown`.
    """

    how: str
    file: str
    place: str
    uncertainty: float | None
    call: str
    requested: str
    kind: str
    shown: list[ShownRow]
    weakness: WeaknessShown | None


class Statement(TypedDict):
    """What a call said about a sample: a label as text or a verdict, "" if it said nothing usable; its
    reason, and the confidence that the model stated (None for a verdict).
    """

    role: str
    call: str
    node: str
    round: int | None
    said: str
    reason: str
    stated: float | None


class Nearest(TypedDict):
    """The text that a refused text was too similar to. Of a held-out text only its id is known, and `text` is
    "". `sample` is its id if it is a sample of this run too, otherwise "".
    """

    text: str
    sample: str
    held_out: str
    similarity: float


class Training(TypedDict):
    """The rounds whose students were trained on a sample. `not_fold` is the fold whose student was not,
    because the teacher was shown rows of this fold with the sample. `delivered` says whether the student that
    the run delivers was trained on it, None while the run is unfinished.
    """

    rounds: list[int]
    not_fold: int | None
    delivered: bool | None
    rolled_back: bool


class History(TypedDict):
    """All that is known about a sample. `calls` are the ids of the calls that it names, in order. `review`
    is a sentence about the decision of a person, "" if there is none.
    """

    id: str
    purpose: Purpose
    text: str
    round: int
    attempt: int
    status: str
    reason: str
    label: str | None
    confidence: float | None
    confidence_raw: float | None
    confidence_source: str
    verdict: str
    review: str
    predicted_before: str | None
    origin: Origin
    statements: list[Statement]
    nearest: Nearest | None
    screened: bool
    training: Training
    calls: list[str]


def history(records: Records, found: Found) -> History:
    """Return the history of a sample. The places of rows in the user's files are left out ("")."""
    sample, task_type = found.sample, records.task_type
    origin, statements = _origin(records, found), _statements(records, sample)
    weakness = origin["weakness"]
    named = [origin["call"], weakness["found_by"] if weakness else ""]
    named += [one["call"] for one in statements]
    named += [sample.get("labelled_by", ""), sample.get("judged_by", "")]
    label = sample.get("label")
    return History(
        id=sample["id"],
        purpose=found.purpose,
        text=sample["text"],
        round=sample["round"],
        attempt=sample["attempt"],
        status=sample["status"] if found.purpose == "sample" else "",
        reason=sample.get("reason", ""),
        label=None if label is None else task_type.to_text(label, sample["text"]),
        confidence=sample.get("confidence"),
        confidence_raw=sample.get("confidence_raw"),
        confidence_source=sample.get("confidence_source", ""),
        verdict=sample.get("verdict", ""),
        review=_review(records, sample),
        predicted_before=_predicted(records, sample),
        origin=origin,
        statements=statements,
        nearest=_nearest(records, sample),
        screened=found.purpose == "sample" and sample["status"] in SCREENED,
        training=_training(records, found),
        calls=[key for key in dict.fromkeys(named) if key in records.calls],
    )


def _origin(records: Records, found: Found) -> Origin:
    sample = found.sample
    call = records.calls.get(sample["written_by"]) or _writer(records, found)
    drawn = is_drawn(sample) and call is None
    return Origin(
        how="drawn" if drawn else "written",
        file=source_name(records.about["task"]["data"], "unlabelled") if drawn else "",
        place="",
        uncertainty=sample.get("uncertainty"),
        call=call.id if call else sample["written_by"],
        requested=sample["requested"],
        kind="" if drawn else sample["kind"],
        shown=rows_shown(records, call) if call else [],
        weakness=weakness_shown(records, sample, call) if sample["weakness"] else None,
    )


def _writer(records: Records, found: Found) -> Call | None:
    """Return the call that wrote one of the first texts, which are stored without it."""
    if found.purpose != "first_label":
        return None
    written = (call for call in records.calls.values() if call.role == "generator")
    return next(
        (c for c in written if any(found.sample["text"] == item.written.strip() for item in c.items)), None
    )


def _statements(records: Records, sample: Sample) -> list[Statement]:
    if sample["status"] in UNASKED:  # what was said about the same text concerns an earlier sample
        return []
    return [_statement(records, sample, call, item) for call, item in records.by_text.get(sample["text"], ())]


def _statement(records: Records, sample: Sample, call: Call, item: Any) -> Statement:
    said, stated = "", None
    if item is not None and call.role == "critic":
        said = item.verdict
    elif item is not None:
        task_type, stated = records.task_type, item.confidence
        try:
            label = task_type.parse_reply(getattr(item, task_type.label_field), sample["text"])
            said = task_type.to_text(label, sample["text"])
        except ValueError:  # the label did not fit the text, so it did not count
            said = ""
    return Statement(
        role=call.role,
        call=call.id,
        node=call.node,
        round=call.round,
        said=said,
        reason=item.reason if item is not None else "",
        stated=stated,
    )


def _predicted(records: Records, sample: Sample) -> str | None:
    return label_text(records, sample["answered"], sample["text"]) if "answered" in sample else None


def _review(records: Records, sample: Sample) -> str:
    """Say what a person did with a sample in the review; "" if nobody judged it."""
    match sample.get("reviewed"):
        case "accept":
            return "a person accepted the label"
        case "refuse":
            return "a person refused the sample"
        case "relabel" if "teacher_label" in sample:
            before = label_text(records, sample["teacher_label"], sample["text"])
            return f"a person replaced the teacher's label {before}"
        case "relabel":
            return "a person gave the label, before the teacher was asked"
    return ""


def _nearest(records: Records, sample: Sample) -> Nearest | None:
    if "neighbour" not in sample:
        return None
    text, held_out = sample["neighbour"], sample["status"] == "leak"
    key = "" if held_out else content_id(text, records.task_type)
    return Nearest(
        text="" if held_out else text,
        sample=key if key in records.by_id else "",
        held_out=text if held_out else "",
        similarity=sample["similarity"],
    )


def _training(records: Records, found: Found) -> Training:
    sample, delivered = found.sample, None
    if found.purpose != "sample":
        return _training_of_extra(records, found)
    accepted = {line["round"]: line["accepted"] for line in records.rounds}
    own, kept = sample["round"], sample["status"] == "kept"
    promoted = accepted.get(own, False)
    lasting = kept and (promoted or "reviewed" in sample)  # judged samples stay when a round is rolled back
    rounds = [number for number in accepted if kept and (number == own or (lasting and number > own))]
    used = {event["round"]: event["used"] for event in records.events if "used" in event}
    rounds = [number for number in rounds if sample["id"] in used.get(number, (sample["id"],))]
    if records.finished:
        refitted = records.folder.arms.exists()
        delivered = lasting and (refitted or records.about["best"] in rounds)
    return Training(
        rounds=rounds,
        not_fold=sample.get("fold") if rounds else None,
        delivered=delivered,
        rolled_back=kept and own in accepted and not promoted,
    )


def _training_of_extra(records: Records, found: Found) -> Training:
    """Return how one of the first labels, which serve as the user's own, or a random text was used."""
    first = found.purpose == "first_label"
    arms = (records.about.get("comparison") or {"arms": []})["arms"]
    whole = any(arm["name"] == "all" and arm["delivered"] for arm in arms)
    return Training(
        rounds=[line["round"] for line in records.rounds] if first else [],
        not_fold=None,
        delivered=(first or whole) if records.finished else None,
        rolled_back=False,
    )
