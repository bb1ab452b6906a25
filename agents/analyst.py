"""The analyst: finds named weaknesses, with evidence, in the student's right and wrong predictions."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple, NotRequired, TypedDict

from tutelage.agents.brief import Brief, labelled_entry, labels_of, task_type_of
from tutelage.agents.request import Reply, Request
from tutelage.agents.schemas import FoundWeakness, diagnosis_schema
from tutelage.agents.teacher.teacher import Teacher
from tutelage.student.tasks.task_type import BOUNDARY, INVENTED, MISSED, TaskType

EXAMPLES = 4  # wrong texts that the generator is shown for each weakness


class LabelledPrediction(TypedDict):
    """A text with its gold label, the student's prediction and, if the rows are in folds, the text's fold."""

    id: str
    text: str
    label: str
    predicted: str
    fold: NotRequired[int]


class GradedPredictions(NamedTuple):
    """What the analyst is shown: right and wrong predictions, and the report of the last round."""

    right: Sequence[LabelledPrediction]
    wrong: Sequence[LabelledPrediction]
    report: Mapping[str, object]


class Weakness(TypedDict):
    """A pattern of errors: the student predicts `confused_with` for texts of `label`.
    Some task types use other error kinds in place of a confused label (`error_kinds` in student/tasks/). In
    tasks without labels, `slice` holds the ids of the diagnose texts on which the weakness is measured.
    `fold` is the fold of the texts that show the weakness.
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
    teacher: Teacher, brief: Brief, predictions: GradedPredictions, *, limit: int, round: int, seed: int
) -> list[Weakness]:
    """Request the patterns behind the errors (EvoKD's P1: analysis of right and wrong; figure 2).

    A weakness counts as evidenced if it cites at least one wrong text with its pair of labels. Weaknesses
    without evidence are dropped, and so is a second weakness for the same pair.

    Returns:
        At most `limit` weaknesses, most harmful first; an empty list if no prediction is wrong.
    """
    if not predictions.wrong:
        return []
    [reply] = teacher.ask([diagnosis_request(brief, predictions, seed)])
    return _with_evidence(task_type_of(brief), reply, predictions.wrong, round)[:limit]


def grouped(
    task_type: TaskType, wrong: Sequence[LabelledPrediction], *, limit: int, round: int
) -> list[Weakness]:
    """Group the errors by pair of labels, most frequent first, without the analyst. The effect of EvoKD's P1
    is measured against this control.
    """
    pairs: dict[tuple[str, str], list[LabelledPrediction]] = defaultdict(list)
    for prediction in wrong:
        for pair in task_type.error_pairs(prediction["label"], prediction["predicted"]):
            pairs[pair].append(prediction)
    ranked = sorted(pairs.items(), key=lambda item: -len(item[1]))[:limit]
    return [
        Weakness(
            id=f"w{round:02d}-{number}",
            round=round,
            name=weakness_name(label, predicted),
            hypothesis="",
            label=label,
            confused_with=predicted,
            evidence=[prediction["id"] for prediction in predictions],
            examples=[prediction["text"] for prediction in predictions[:EXAMPLES]],
            found_by="",
        )
        for number, ((label, predicted), predictions) in enumerate(ranked, 1)
    ]


def diagnosis_request(brief: Brief, predictions: GradedPredictions, seed: int) -> Request[FoundWeakness]:
    """Build the request for a diagnosis."""
    task_type, (right, wrong, report) = task_type_of(brief), predictions
    entries = [{"id": a["id"], **labelled_entry(a, brief)} for a in [*right, *wrong]]
    errors = [
        {**entry, "predicted": task_type.to_payload(a["predicted"], a["text"])}
        for entry, a in zip(entries[len(right) :], wrong, strict=True)
    ]
    payload = {**brief, "right": entries[: len(right)], "wrong": errors, "report": report}
    return Request("analyst", payload, diagnosis_schema(labels_of(brief), task_type.error_kinds), seed)


def identity(weakness: Weakness) -> tuple[str, str, int]:
    """Return the key by which two weaknesses count as the same: the pair of labels (the name, in tasks
    without labels) and the fold of the texts.
    """
    fold = weakness.get("fold", -1)
    if not weakness["label"]:
        return weakness["name"], "", fold
    return weakness["label"], weakness["confused_with"], fold


def weakness_name(label: str, confused_with: str) -> str:
    """Return a default name for a weakness that the analyst has not named."""
    errors = {MISSED: "is missed", INVENTED: "is invented", BOUNDARY: "has a wrong boundary"}
    return f"{label} {errors.get(confused_with, f'taken for {confused_with}')}" if label else "wrong answers"


def _with_evidence(
    task_type: TaskType, reply: Reply[FoundWeakness], wrong: Sequence[LabelledPrediction], round: int
) -> list[Weakness]:
    """Return the weaknesses that cite a wrong text with their pair of labels, one for each pair."""
    shown = {prediction["id"]: prediction for prediction in wrong}
    error_pairs = {key: task_type.error_pairs(a["label"], a["predicted"]) for key, a in shown.items()}
    weaknesses: dict[tuple[str, str, int], Weakness] = {}
    for parsed in reply.parsed:
        item = parsed.item
        cited = [key for key in item.evidence if item.pair in error_pairs.get(key, ())]
        if not cited:
            continue
        weakness = Weakness(
            id=f"w{round:02d}-{len(weaknesses) + 1}",
            round=round,
            name=item.name,
            hypothesis=item.hypothesis,
            label=item.pair[0],
            confused_with=item.pair[1],
            evidence=cited,
            examples=[shown[key]["text"] for key in cited[:EXAMPLES]],
            found_by=parsed.call,
        )
        weaknesses.setdefault(identity(weakness), weakness)
    return list(weaknesses.values())
