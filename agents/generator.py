"""The generator: writes texts for named weaknesses and labels."""

from collections.abc import Collection, Iterator, Sequence
from typing import NotRequired, TypedDict

from tutelage.agents.analyst import Brief, Weakness
from tutelage.agents.ask import Ask, Reply
from tutelage.agents.forms import Draft, Kind, drafts_form
from tutelage.agents.teacher import Teacher
from tutelage.student.corpus import Sample
from tutelage.student.rows import LONGEST, Row, content_id

TEXTS_A_CALL = 12  # more, and models begin to repeat themselves or stop early


class Request(TypedDict):
    """An order: `count` texts of a label; `weakness` is the id it serves, or ""; `of` what to paraphrase."""

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
    spaces, with a NUL byte or of another `length` in characters is not. Requests of kind `like` are shown
    the texts in `fed`.

    Returns:
        Draft samples in order, their `weakness` one of those asked for or "".
    """
    known = {weakness["id"] for weakness in weaknesses}
    planned = list(asks(brief, requests, weaknesses, shots, avoid, seed, fed))
    return _samples(teacher.ask(planned), known, length, round, attempt)


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
    form = drafts_form(tuple(brief["labels"]))
    for number, part in enumerate(_portions(requests)):
        served = {request["weakness"] for request in part}
        labels = {request["label"] for request in part}
        payload = {
            **brief,
            "weaknesses": [_told(weakness) for weakness in weaknesses if weakness["id"] in served],
            "requests": part,
            "shots": _examples(shots, labels),
            "avoid": list(avoid),
        }
        if any(request["kind"] == "like" for request in part):
            payload["feedback"] = _examples(fed)
        wanted = sum(request["count"] for request in part)
        yield Ask("generator", payload, form, seed + number, wanted)


def _examples(rows: Sequence[Row], labels: Collection[str] | None = None) -> list[dict[str, str]]:
    return [{"text": r["text"], "label": r["label"]} for r in rows if labels is None or r["label"] in labels]


def _samples(
    replies: Sequence[Reply[Draft]], known: set[str], length: tuple[int, int], round: int, attempt: int
) -> list[Sample]:
    """Drafts of one reply in the order of their ids, which is no order: what a model happens to write
    first, or again after a repair, decides nothing.
    """
    samples: list[Sample] = []
    for reply in replies:
        for told in sorted(reply.told, key=lambda told: content_id(told.item.text)):
            item, text = told.item, told.item.text.strip()
            if "\0" in text or not length[0] <= len(text) <= length[1]:
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


def _told(weakness: Weakness) -> dict[str, object]:
    fields = ("id", "name", "hypothesis", "label", "confused_with", "examples")
    return {field: weakness[field] for field in fields}  # type: ignore[literal-required]
