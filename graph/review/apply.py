"""Apply a person's decisions to samples and to the user's own rows."""

from collections.abc import Collection, Mapping, Sequence
from typing import TypedDict

from tutelage.graph.review.decisions import Decision
from tutelage.student.corpus import Sample, changed
from tutelage.student.evaluation.evaluate import wilson

SOURCE = "person"  # the source of the confidence in a label that a person gave


class ReviewCounts(TypedDict):
    """The result of a review: the number of decisions of each kind, about samples and about the user's own
    rows. `drawn` counts the samples drawn at random that got a label of a person, and `right` those on which
    the teacher's label was the same; `interval` is the 95 % interval of this share (Wilson).
    """

    samples: dict[str, int]
    own_rows: dict[str, int]
    drawn: int
    right: int
    interval: list[float]


def judged_sample(sample: Sample, decision: Decision) -> Sample:
    """Return a sample after a person's decision. A label that a person gave or accepted is gold: its
    confidence is 1. A sample that was skipped or not looked at is returned unchanged.
    """
    if decision["action"] in ("skip", "unseen"):
        return sample
    if decision["action"] == "refuse":
        return changed(sample, status="refused", reason="refused in the review", reviewed="refuse")
    fields: dict[str, object] = {
        "label": decision["label"],
        "confidence": 1.0,
        "verdict": "accept",
        "reviewed": decision["action"],
    }
    if "confidence_raw" not in sample:
        fields["confidence_source"] = SOURCE
    before = sample.get("label")
    if before is None or before == decision["label"]:
        return changed(sample, **fields)
    judged = changed(sample, **fields, teacher_label=before)
    judged.pop("rationale", None)  # it argues for the label that the person replaced
    return judged


def own_labels(decisions: Mapping[str, Decision]) -> dict[str, str]:
    """Return the labels that a person gave to rows of the user's own, by the id of the row."""
    return {
        id: made["label"]
        for id, made in decisions.items()
        if made["own"] and made["action"] in ("accept", "relabel")
    }


def measured_answers(
    decisions: Mapping[str, Decision], samples: Sequence[Sample], source: str
) -> list[tuple[float, bool]]:
    """Return the teacher's confidence in its label, and whether a person found it right, of the samples that
    were drawn at random. The others were chosen because their label was in doubt: they would make the
    teacher look worse than it is.

    Args:
        decisions: all decisions by id.
        samples: all samples of the run.
        source: the source of the confidences that are compared.
    """
    found = []
    for sample in samples:
        made = decisions.get(sample["id"])
        if made and made["random"] and _settled(made) and sample.get("confidence_source") == source:
            found.append((sample["confidence_raw"], made["action"] == "accept"))
    return found


def review_counts(decisions: Collection[Decision]) -> ReviewCounts:
    """Return the result of a review from all its decisions."""
    drawn = [made for made in decisions if made["random"] and _settled(made)]
    right = sum(made["action"] == "accept" for made in drawn)
    return ReviewCounts(
        samples=_counts([made for made in decisions if not made["own"]]),
        own_rows=_counts([made for made in decisions if made["own"]]),
        drawn=len(drawn),
        right=right,
        interval=list(wilson(right, len(drawn))),
    )


def _settled(made: Decision) -> bool:
    return made["action"] in ("accept", "relabel") and "judged" in made


def _counts(decisions: Collection[Decision]) -> dict[str, int]:
    actions = [made["action"] for made in decisions]
    return {action: actions.count(action) for action in dict.fromkeys(actions)}
