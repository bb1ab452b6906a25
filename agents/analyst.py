"""The analyst: from right and wrong answers to named weaknesses with evidence."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from tutelage.agents.request import Ask, Reply
from tutelage.agents.schemas import FoundWeakness, diagnosis_form
from tutelage.agents.teacher.teacher import Teacher
from tutelage.student.tasks import BOUNDARY, INVENTED, KINDS, MISSED, Kind
from tutelage.student.tasks.fields import ONE, Fields, split

EXAMPLES = 4  # wrong texts that show the generator what a weakness is


class Brief(TypedDict):
    """What every agent is told of the task: its instruction, label -> description, what the two texts of a
    pair are called, and the kind of a task that is no classification, whose agents have prompts of their own.
    """

    task: str
    labels: NotRequired[dict[str, str]]
    fields: NotRequired[list[str]]
    kind: NotRequired[str]


def fields_of(brief: Mapping[str, Any]) -> Fields:
    """What a text of the task consists of, by its brief or any payload."""
    return tuple(brief.get("fields", ONE))


def kind_of(brief: Mapping[str, Any]) -> Kind:
    """What a label of the task is, by its brief or any payload."""
    return KINDS[brief.get("kind", "classification")]


def labels_of(brief: Mapping[str, Any]) -> list[str]:
    """The task's labels."""
    return list(brief.get("labels", ()))


def told(text: str, label: str, brief: Mapping[str, Any]) -> dict[str, Any]:
    """A text with its label, as payloads hold them."""
    kind = kind_of(brief)
    return {**split(text, fields_of(brief)), kind.key: kind.shown(label, text)}


class Answer(TypedDict):
    """One labelled text with its gold label and the student's answer; `fold` is that of the text, where the
    labelled rows are divided into folds.
    """

    id: str
    text: str
    label: str
    predicted: str
    fold: NotRequired[int]


class Weakness(TypedDict):
    """A pattern of errors: texts of `label` that the student takes for `confused_with`, or what a kind of
    task has in its place (`outcomes` in student/kinds/). Where texts have no labels, `slice` are ids of the
    diagnose texts that it is measured on. `fold` is the fold of the texts that show it.
    """

    id: str
    round: int
    name: str
    hypothesis: str
    label: str
    confused_with: str
    evidence: list[str]
    examples: list[str]
    found_by: str
    slice: NotRequired[list[str]]
    fold: NotRequired[int]


def diagnose(
    teacher: Teacher,
    brief: Brief,
    right: Sequence[Answer],
    wrong: Sequence[Answer],
    report: dict[str, object],
    *,
    limit: int,
    round: int,
    seed: int,
) -> list[Weakness]:
    """Ask for the patterns behind the errors (EvoKD's P1: analysis of right and wrong; figure 2).

    A weakness that cites no wrong text shown with its two labels has no evidence and is dropped; so is
    a second one for the same pair.

    Returns:
        At most `limit` weaknesses, most harmful first; none when nothing was wrong.
    """
    if not wrong:
        return []
    [reply] = teacher.ask([ask(brief, right, wrong, report, seed)])
    return _with_evidence(kind_of(brief), reply, wrong, round)[:limit]


def grouped(kind: Kind, wrong: Sequence[Answer], *, limit: int, round: int) -> list[Weakness]:
    """The same pairs of labels with nobody's analysis, most errors first: what EvoKD's P1 adds is measured
    against this.
    """
    pairs: dict[tuple[str, str], list[Answer]] = defaultdict(list)
    for answer in wrong:
        for pair in kind.slips(answer["label"], answer["predicted"]):
            pairs[pair].append(answer)
    ranked = sorted(pairs.items(), key=lambda item: -len(item[1]))[:limit]
    return [
        Weakness(
            id=f"w{round:02d}-{number}",
            round=round,
            name=named(label, predicted),
            hypothesis="",
            label=label,
            confused_with=predicted,
            evidence=[answer["id"] for answer in answers],
            examples=[answer["text"] for answer in answers[:EXAMPLES]],
            found_by="",
        )
        for number, ((label, predicted), answers) in enumerate(ranked, 1)
    ]


def ask(
    brief: Brief, right: Sequence[Answer], wrong: Sequence[Answer], report: dict[str, object], seed: int
) -> Ask[FoundWeakness]:
    """The request for a diagnosis."""
    kind = kind_of(brief)
    answers = [{"id": a["id"], **told(a["text"], a["label"], brief)} for a in [*right, *wrong]]
    failed = [
        {**shown, "predicted": kind.shown(a["predicted"], a["text"])}
        for shown, a in zip(answers[len(right) :], wrong, strict=True)
    ]
    payload = {**brief, "right": answers[: len(right)], "wrong": failed, "report": report}
    return Ask("analyst", payload, diagnosis_form(labels_of(brief), kind.outcomes), seed)


def identity(weakness: Weakness) -> tuple[str, str, int]:
    """By what two weaknesses are one: their pair of labels or, where texts have none, their name; and the
    fold of the texts that show them.
    """
    fold = weakness.get("fold", -1)
    if not weakness["label"]:
        return weakness["name"], "", fold
    return weakness["label"], weakness["confused_with"], fold


def named(label: str, confused_with: str) -> str:
    """What a weakness is called that nobody has given a name."""
    told = {MISSED: "is missed", INVENTED: "is invented", BOUNDARY: "has other borders"}
    return f"{label} {told.get(confused_with, f'taken for {confused_with}')}" if label else "wrong answers"


def _with_evidence(
    kind: Kind, reply: Reply[FoundWeakness], wrong: Sequence[Answer], round: int
) -> list[Weakness]:
    """The reply's weaknesses that cite a wrong text of their pair, one for each pair."""
    shown = {answer["id"]: answer for answer in wrong}
    slips = {key: kind.slips(a["label"], a["predicted"]) for key, a in shown.items()}
    found: dict[tuple[str, str, int], Weakness] = {}
    for told in reply.told:
        item = told.item
        cited = [key for key in item.evidence if item.pair in slips.get(key, ())]
        if not cited:
            continue
        one = Weakness(
            id=f"w{round:02d}-{len(found) + 1}",
            round=round,
            name=item.name,
            hypothesis=item.hypothesis,
            label=item.pair[0],
            confused_with=item.pair[1],
            evidence=cited,
            examples=[shown[key]["text"] for key in cited[:EXAMPLES]],
            found_by=told.call,
        )
        found.setdefault(identity(one), one)
    return list(found.values())
