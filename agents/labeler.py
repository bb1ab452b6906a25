"""The labeler: labels texts blind, in a fresh context, in batches."""

from collections.abc import Sequence

from tutelage.agents.analyst import Brief
from tutelage.agents.forms import GivenLabel, with_labels
from tutelage.agents.teacher import Ask, Teacher
from tutelage.student.corpus import Sample, changed

TEXTS_A_CALL = 12


def label(teacher: Teacher, brief: Brief, samples: Sequence[Sample], *, seed: int) -> list[Sample]:
    """Give each sample a label and a confidence; it never sees for which label a text was written.

    A text that a reply leaves out is asked for once more; one that stays without a label comes back
    with status `unlabelled` and the reason. Confidence is the teacher's own statement for now, and
    every sample says so in `confidence_source`.
    """
    given: dict[str, tuple[GivenLabel, str]] = {}
    problems: list[str] = []
    for turn in range(2):
        missing = [sample for sample in samples if sample["id"] not in given]
        found, wrong = _ask(teacher, brief, missing, seed + 50 * turn)
        given.update(found)
        problems += wrong
    result = []
    for sample in samples:
        if sample["id"] not in given:
            reason = problems[-1] if problems else "the teacher left it out twice"
            result.append(changed(sample, status="unlabelled", reason=f"no label: {reason}"))
            continue
        item, call = given[sample["id"]]
        told = {"label": item.label, "confidence": item.confidence, "labelled_by": call}
        result.append(changed(sample, **told, confidence_source="stated"))
    return result


def _ask(
    teacher: Teacher, brief: Brief, samples: Sequence[Sample], seed: int
) -> tuple[dict[str, tuple[GivenLabel, str]], list[str]]:
    """(sample id -> its label and the call that gave it, what was wrong with the replies)."""
    form = with_labels("Labels", "labels", GivenLabel, tuple(brief["labels"]), "label")
    batches = [samples[i : i + TEXTS_A_CALL] for i in range(0, len(samples), TEXTS_A_CALL)]
    asks = []
    for number, batch in enumerate(batches):
        texts = [{"id": str(i), "text": sample["text"]} for i, sample in enumerate(batch, 1)]
        asks.append(Ask("labeler", {**brief, "texts": texts}, form, seed + number))
    given: dict[str, tuple[GivenLabel, str]] = {}
    problems: list[str] = []
    for batch, reply in zip(batches, teacher.ask(asks), strict=True):
        named = {str(i): sample["id"] for i, sample in enumerate(batch, 1)}
        given.update({named[item.id]: (item, reply.call) for item in reply.items if item.id in named})
        problems += reply.problems
    return given, problems
