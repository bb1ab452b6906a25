"""The analyst: from right and wrong answers to named weaknesses with evidence."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from tutelage.agents.ask import Ask, Reply
from tutelage.agents.forms import FoundWeakness, diagnosis_form
from tutelage.agents.teacher import Teacher
from tutelage.student.fields import ONE, Fields, split

EXAMPLES = 4  # wrong texts that show the generator what a weakness is


class Brief(TypedDict):
    """What every agent is told of the task: its instruction, label -> description, and what the two texts of
    a pair are called.
    """

    task: str
    labels: dict[str, str]
    fields: NotRequired[list[str]]


def fields_of(brief: Mapping[str, Any]) -> Fields:
    """What a text of the task consists of, by its brief or any payload."""
    return tuple(brief.get("fields", ONE))


class Answer(TypedDict):
    """One diagnose text with its gold label and the student's answer."""

    id: str
    text: str
    label: str
    predicted: str


class Weakness(TypedDict):
    """A pattern of errors: texts of `label` that the student takes for `confused_with`."""

    id: str
    round: int
    name: str
    hypothesis: str
    label: str
    confused_with: str
    evidence: list[str]
    examples: list[str]
    found_by: str


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
    return _with_evidence(reply, wrong, round)[:limit]


def grouped(wrong: Sequence[Answer], *, limit: int, round: int) -> list[Weakness]:
    """The same pairs of labels with nobody's analysis, most errors first: what EvoKD's P1 adds is measured
    against this.
    """
    pairs: dict[tuple[str, str], list[Answer]] = defaultdict(list)
    for answer in wrong:
        pairs[answer["label"], answer["predicted"]].append(answer)
    ranked = sorted(pairs.items(), key=lambda item: -len(item[1]))[:limit]
    return [
        Weakness(
            id=f"w{round:02d}-{number}",
            round=round,
            name=f"{label} taken for {predicted}",
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
    fields = fields_of(brief)
    answers = [{"id": a["id"], **split(a["text"], fields), "label": a["label"]} for a in [*right, *wrong]]
    failed = [
        {**told, "predicted": a["predicted"]} for told, a in zip(answers[len(right) :], wrong, strict=True)
    ]
    payload = {**brief, "right": answers[: len(right)], "wrong": failed, "report": report}
    return Ask("analyst", payload, diagnosis_form(tuple(brief["labels"])), seed)


def _with_evidence(reply: Reply[FoundWeakness], wrong: Sequence[Answer], round: int) -> list[Weakness]:
    """The reply's weaknesses that cite a wrong text of their pair, one for each pair."""
    shown = {answer["id"]: answer for answer in wrong}
    found: dict[tuple[str, str], Weakness] = {}
    for told in reply.told:
        item = told.item
        pair = item.label, item.confused_with
        fitting = {key for key, a in shown.items() if pair == (a["label"], a["predicted"])}
        cited = [key for key in item.evidence if key in fitting]
        if not cited or pair in found:
            continue
        found[pair] = Weakness(
            id=f"w{round:02d}-{len(found) + 1}",
            round=round,
            name=item.name,
            hypothesis=item.hypothesis,
            label=item.label,
            confused_with=item.confused_with,
            evidence=cited,
            examples=[shown[key]["text"] for key in cited[:EXAMPLES]],
            found_by=told.call,
        )
    return list(found.values())
