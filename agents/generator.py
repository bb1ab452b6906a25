"""The generator: writes texts for named weaknesses and labels."""

from collections.abc import Collection, Iterator, Sequence
from typing import NotRequired, TypedDict

from tutelage.agents.analyst import Brief, Weakness, fields_of
from tutelage.agents.ask import Ask, Reply
from tutelage.agents.forms import Draft, Kind, drafts_form
from tutelage.agents.teacher import Teacher
from tutelage.student.corpus import Sample
from tutelage.student.fields import Fields, split
from tutelage.student.rows import LONGEST, Row, content_id

TEXTS_A_CALL = 12  # more, and models begin to repeat themselves or stop early


class Request(TypedDict):
    """An order: `count` texts of a label; `weakness` is the id it serves, or ""; `of` what to paraphrase, by
    field in the payload.
    """

    label: str
    kind: Kind
    count: int
    weakness: str
    of: NotRequired[str]


def write(
    teacher: Teacher,
    brief: Brief,
    requests: Sequence[Request],
    weaknesses: Sequence[Weakness],
    shots: Sequence[Row],
    avoid: Sequence[dict[str, str]],
    *,
    fed: Sequence[Row] = (),
    length: tuple[int, int] = (1, LONGEST),
    round: int,
    attempt: int,
    seed: int,
) -> list[Sample]:
    """Ask for the texts, some calls side by side.

    Drafts for a label nobody asked for are kept (the labeler decides what they are); a text of only
    spaces, with a NUL byte or of another `length` in characters (a pair: either text) is not. Requests of
    kind `like` are shown the texts in `fed`.

    Returns:
        Draft samples in order, their `weakness` one of those asked for or "".
    """
    known = {weakness["id"] for weakness in weaknesses}
    planned = list(asks(brief, requests, weaknesses, shots, avoid, seed, fed))
    return _samples(teacher.ask(planned), known, fields_of(brief), length, round, attempt)


def asks(
    brief: Brief,
    requests: Sequence[Request],
    weaknesses: Sequence[Weakness],
    shots: Sequence[Row],
    avoid: Sequence[dict[str, str]],
    seed: int,
    fed: Sequence[Row] = (),
) -> Iterator[Ask[Draft]]:
    """The requests for these orders."""
    fields = fields_of(brief)
    form = drafts_form(tuple(brief["labels"]), fields)
    for number, part in enumerate(_portions(requests)):
        served = {request["weakness"] for request in part}
        labels = {request["label"] for request in part}
        payload = {
            **brief,
            "weaknesses": [_told(weakness, fields) for weakness in weaknesses if weakness["id"] in served],
            "requests": [_order(request, fields) for request in part],
            "shots": _examples(shots, fields, labels),
            "avoid": [{**split(one["text"], fields), "reason": one["reason"]} for one in avoid],
        }
        if any(request["kind"] == "like" for request in part):
            payload["feedback"] = _examples(fed, fields)
        wanted = sum(request["count"] for request in part)
        yield Ask("generator", payload, form, seed + number, wanted)


def _examples(
    rows: Sequence[Row], fields: Fields, labels: Collection[str] | None = None
) -> list[dict[str, str]]:
    chosen = [row for row in rows if labels is None or row["label"] in labels]
    return [{**split(row["text"], fields), "label": row["label"]} for row in chosen]


def _alone(text: str, fields: Fields) -> str | dict[str, str]:
    """A text where it stands by itself: as it is; a pair by field."""
    return text if len(fields) == 1 else split(text, fields)


def _order(request: Request, fields: Fields) -> dict[str, object]:
    return {**request, "of": _alone(request["of"], fields)} if "of" in request else {**request}


def _samples(
    replies: Sequence[Reply[Draft]],
    known: set[str],
    fields: Fields,
    length: tuple[int, int],
    round: int,
    attempt: int,
) -> list[Sample]:
    """Drafts of one reply in the order of their ids, which is no order: what a model happens to write
    first, or again after a repair, decides nothing.
    """
    samples: list[Sample] = []
    for reply in replies:
        for told in sorted(reply.told, key=lambda told: content_id(told.item.written)):
            item, text = told.item, told.item.written.strip()
            if "\0" in text or not all(length[0] <= size <= length[1] for size in _sizes(text, fields)):
                continue
            samples.append(
                Sample(
                    id=content_id(text),
                    text=text,
                    round=round,
                    attempt=attempt,
                    place=len(samples),
                    kind=item.kind,
                    requested=item.label,
                    weakness=item.weakness if item.weakness in known else "",
                    written_by=told.call,
                    status="draft",
                )
            )
    return samples


def _portions(requests: Sequence[Request]) -> list[list[Request]]:
    """Split orders so that no call is asked for more than TEXTS_A_CALL texts."""
    portions: list[list[Request]] = [[]]
    room = TEXTS_A_CALL
    for request in requests:
        left = request["count"]
        while left > 0:
            if room == 0:
                portions.append([])
                room = TEXTS_A_CALL
            take = min(left, room)
            portions[-1].append({**request, "count": take})
            left, room = left - take, room - take
    return [portion for portion in portions if portion]


def _sizes(text: str, fields: Fields) -> list[int]:
    return [len(part) for part in split(text, fields).values()]


def _told(weakness: Weakness, fields: Fields) -> dict[str, object]:
    names = ("id", "name", "hypothesis", "label", "confused_with")
    told = {name: weakness[name] for name in names}  # type: ignore[literal-required]
    return {**told, "examples": [_alone(text, fields) for text in weakness["examples"]]}
