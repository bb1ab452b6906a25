"""The generator: writes texts for named weaknesses and labels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

from tutelage.agents.analyst import Weakness
from tutelage.agents.brief import Brief, fields_of, labelled_entry, labels_of, task_type_of
from tutelage.agents.request import Reply, Request
from tutelage.agents.schemas import Draft, RequestKind, drafts_schema
from tutelage.agents.teacher.teacher import Teacher
from tutelage.student.corpus import Sample, changed, drawn_sample
from tutelage.student.data.rows import LONGEST, Row, content_id
from tutelage.student.tasks.fields import Fields, split

TEXTS_A_CALL = 12  # with more, models begin to repeat themselves or stop early


class GenerationRequest(TypedDict):
    """A request for `count` texts of one label ("" means none of the task's labels, or a task without any).
    `weakness` is the id of the weakness that the texts target, or ""; `of` is the text to paraphrase.
    """

    label: str
    kind: RequestKind
    count: int
    weakness: str
    of: NotRequired[str]


@dataclass(frozen=True)
class Evidence:
    """What the generator is shown beside the task: weaknesses to target, labelled rows of the user, texts
    that were refused with their reasons, and texts that requests of kind `like` are to resemble.
    """

    weaknesses: Sequence[Weakness] = ()
    shots: Sequence[Row] = ()
    avoid: Sequence[dict[str, str]] = ()
    resemble: Sequence[Row] = ()


@dataclass(frozen=True)
class DraftRules:
    """Whether each draft is written with its label, and the fewest and most characters of a text."""

    with_labels: bool = False
    length: tuple[int, int] = (1, LONGEST)


def write(
    teacher: Teacher,
    brief: Brief,
    requests: Sequence[GenerationRequest],
    evidence: Evidence,
    rules: DraftRules = DraftRules(),
    *,
    seed: int,
) -> list[Sample]:
    """Have the generator write the requested texts; the calls run concurrently.

    Drafts for a label that was not requested are kept, because the labeler decides on the label. A text is
    dropped if it is blank, contains a NUL byte, or is shorter or longer than the rules allow (in a pair: if
    either text is). A draft whose own label does not fit its text gets the status `unlabelled`.

    Returns:
        Draft samples, numbered from 0; their `weakness` is one of the evidence or "". The caller sets `round`
        and `attempt`.
    """
    known = {weakness["id"] for weakness in evidence.weaknesses}
    planned = list(draft_requests(brief, requests, evidence, seed, with_labels=rules.with_labels))
    samples = _samples(teacher.ask(planned), known, brief, rules)
    return [changed(sample, place=place) for place, sample in enumerate(samples)]


def draft_requests(
    brief: Brief,
    requests: Sequence[GenerationRequest],
    evidence: Evidence,
    seed: int,
    *,
    with_labels: bool = False,
) -> Iterator[Request[Draft]]:
    """Yield the teacher requests for these generation requests."""
    fields, task_type = fields_of(brief), task_type_of(brief)
    schema = drafts_schema(labels_of(brief), fields, task_type=task_type, with_labels=with_labels)
    for number, part in enumerate(_portions(requests)):
        targeted = {request["weakness"] for request in part}
        labels = {request["label"] for request in part}
        payload = {
            **brief,
            "weaknesses": [
                _weakness_entry(one, fields) for one in evidence.weaknesses if one["id"] in targeted
            ],
            "requests": [_request_entry(request, fields, task_type.min_labels > 0) for request in part],
            "shots": [
                labelled_entry(row, brief)
                for row in evidence.shots
                if labels & {*task_type.labels_in(row["label"])}
            ],
            "avoid": [{**split(one["text"], fields), "reason": one["reason"]} for one in evidence.avoid],
        }
        if any(request["kind"] == "like" for request in part):
            payload["feedback"] = [labelled_entry(row, brief) for row in evidence.resemble]
        if with_labels and not task_type.single_label:
            payload["answers"] = True
        wanted = sum(request["count"] for request in part)
        aims = sorted(targeted - {""})
        yield Request("generator", payload, schema, seed + number, wanted, weaknesses=aims)


def _text_entry(text: str, fields: Fields) -> str | dict[str, str]:
    """Return the payload entry of a text without a label: the string itself, or the two fields of a pair."""
    return text if len(fields) == 1 else split(text, fields)


def _request_entry(request: GenerationRequest, fields: Fields, labelled: bool) -> dict[str, object]:
    entry: dict[str, object] = {**request} if labelled else {k: v for k, v in request.items() if k != "label"}
    return {**entry, "of": _text_entry(request["of"], fields)} if "of" in request else entry


def _samples(
    replies: Sequence[Reply[Draft]], known: set[str], brief: Brief, rules: DraftRules
) -> Iterator[Sample]:
    """Yield the drafts of each reply, sorted by content id.
    The order in which a model writes drafts, or repeats them after a repair, must not matter.
    """
    task_type, fields, length = task_type_of(brief), fields_of(brief), rules.length
    for reply in replies:
        for parsed in sorted(reply.parsed, key=lambda one: content_id(one.item.written, task_type)):
            item, text = parsed.item, parsed.item.written.strip()
            if "\0" in text or not all(length[0] <= size <= length[1] for size in _sizes(text, fields)):
                continue
            weakness = item.weakness if item.weakness in known else ""
            sample = drawn_sample(Row(id=content_id(text, task_type), text=text, label=""), place=0)
            sample = changed(
                sample, kind=item.kind, requested=item.requested, weakness=weakness, written_by=parsed.call
            )
            if not rules.with_labels:
                yield sample
                continue
            try:
                label = task_type.parse_reply(getattr(item, task_type.label_field), text)
            except ValueError as error:
                reason = f"no label: the one it was written with does not fit: {error}"
                yield changed(sample, status="unlabelled", reason=reason)
            else:
                yield changed(sample, label=label, labelled_by=parsed.call)


def _portions(requests: Sequence[GenerationRequest]) -> list[list[GenerationRequest]]:
    """Split the generation requests into calls of at most TEXTS_A_CALL texts."""
    portions: list[list[GenerationRequest]] = [[]]
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


def _weakness_entry(weakness: Weakness, fields: Fields) -> dict[str, object]:
    names = ("id", "name", "hypothesis", *(("label", "confused_with") if weakness["label"] else ()))
    entry = {name: weakness[name] for name in names}  # type: ignore[literal-required]
    return {**entry, "examples": [_text_entry(text, fields) for text in weakness["examples"]]}
