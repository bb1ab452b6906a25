"""The generator: writes texts for named weaknesses and labels."""

from collections.abc import Iterator, Sequence
from typing import NotRequired, TypedDict

from tutelage.agents.analyst import Brief, Weakness, fields_of, kind_of, labels_of, told
from tutelage.agents.request import Ask, Reply
from tutelage.agents.schemas import Draft, Order, drafts_form
from tutelage.agents.teacher.teacher import Teacher
from tutelage.student.corpus import Sample, changed, drawn_sample
from tutelage.student.data.rows import LONGEST, Row, content_id
from tutelage.student.tasks.fields import Fields, split

TEXTS_A_CALL = 12  # more, and models begin to repeat themselves or stop early


class Request(TypedDict):
    """An order: `count` texts of a label ("": with none of the task's labels, or of a task without any);
    `weakness` is the id it serves, or ""; `of` what to paraphrase, by field in the payload.
    """

    label: str
    kind: Order
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
    answered: bool = False,
    length: tuple[int, int] = (1, LONGEST),
    round: int,
    attempt: int,
    first: int = 0,
    seed: int,
) -> list[Sample]:
    """Ask for the texts, some calls side by side.

    Drafts for a label nobody asked for are kept (the labeler decides what they are); a text of only
    spaces, with a NUL byte or of another `length` in characters (a pair: either text) is not. Requests of
    kind `like` are shown the texts in `fed`. With `answered` each draft comes with its label; one whose
    label does not fit its text is `unlabelled`.

    Returns:
        Draft samples in order, numbered from `first`, their `weakness` one of those asked for or "".
    """
    known = {weakness["id"] for weakness in weaknesses}
    planned = list(asks(brief, requests, weaknesses, shots, avoid, seed, fed, answered))
    samples = list(_samples(teacher.ask(planned), known, brief, length, answered))
    return [changed(s, round=round, attempt=attempt, place=place) for place, s in enumerate(samples, first)]


def asks(
    brief: Brief,
    requests: Sequence[Request],
    weaknesses: Sequence[Weakness],
    shots: Sequence[Row],
    avoid: Sequence[dict[str, str]],
    seed: int,
    fed: Sequence[Row] = (),
    answered: bool = False,
) -> Iterator[Ask[Draft]]:
    """The requests for these orders."""
    fields, kind = fields_of(brief), kind_of(brief)
    form = drafts_form(labels_of(brief), fields, kind=kind, answered=answered)
    for number, part in enumerate(_portions(requests)):
        served = {request["weakness"] for request in part}
        labels = {request["label"] for request in part}
        payload = {
            **brief,
            "weaknesses": [_told(weakness, fields) for weakness in weaknesses if weakness["id"] in served],
            "requests": [_order(request, fields, kind.fewest > 0) for request in part],
            "shots": [
                told(row["text"], row["label"], brief)
                for row in shots
                if labels & {*kind.groups(row["label"])}
            ],
            "avoid": [{**split(one["text"], fields), "reason": one["reason"]} for one in avoid],
        }
        if any(request["kind"] == "like" for request in part):
            payload["feedback"] = [told(row["text"], row["label"], brief) for row in fed]
        if answered and kind.key != "label":
            payload["answers"] = True
        wanted = sum(request["count"] for request in part)
        yield Ask("generator", payload, form, seed + number, wanted)


def _alone(text: str, fields: Fields) -> str | dict[str, str]:
    """A text where it stands by itself: as it is; a pair by field."""
    return text if len(fields) == 1 else split(text, fields)


def _order(request: Request, fields: Fields, labelled: bool) -> dict[str, object]:
    order: dict[str, object] = {**request} if labelled else {k: v for k, v in request.items() if k != "label"}
    return {**order, "of": _alone(request["of"], fields)} if "of" in request else order


def _samples(
    replies: Sequence[Reply[Draft]], known: set[str], brief: Brief, length: tuple[int, int], answered: bool
) -> Iterator[Sample]:
    """Drafts of one reply in the order of their ids, which is no order: what a model happens to write
    first, or again after a repair, decides nothing.
    """
    kind, fields = kind_of(brief), fields_of(brief)
    for reply in replies:
        for one in sorted(reply.told, key=lambda one: content_id(one.item.written, kind)):
            item, text = one.item, one.item.written.strip()
            if "\0" in text or not all(length[0] <= size <= length[1] for size in _sizes(text, fields)):
                continue
            weakness = item.weakness if item.weakness in known else ""
            sample = drawn_sample(Row(id=content_id(text, kind), text=text, label=""), place=0)
            sample = changed(
                sample, kind=item.kind, requested=item.ordered, weakness=weakness, written_by=one.call
            )
            if not answered:
                yield sample
                continue
            try:
                label = kind.said(getattr(item, kind.key), text)
            except ValueError as error:
                reason = f"no label: the one it was written with does not fit: {error}"
                yield changed(sample, status="unlabelled", reason=reason)
            else:
                yield changed(sample, label=label, labelled_by=one.call)


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
    names = ("id", "name", "hypothesis", *(("label", "confused_with") if weakness["label"] else ()))
    about = {name: weakness[name] for name in names}  # type: ignore[literal-required]
    return {**about, "examples": [_alone(text, fields) for text in weakness["examples"]]}
