"""The labeler: labels texts blind, in a fresh context, in batches, with measured confidence."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import mean

from tutelage.agents.analyst import Brief, fields_of
from tutelage.agents.ask import Ask, Told
from tutelage.agents.calibration import Calibration, calibrated
from tutelage.agents.forms import Form, GivenLabel, labels_form
from tutelage.agents.hostile import apart
from tutelage.agents.teacher import Teacher
from tutelage.student.corpus import Sample, changed
from tutelage.student.fields import split

TEXTS_A_CALL = 12
FEW = 3  # texts a call when those that a call left out are asked for once more
_STRIDE = 10_000  # between the seeds of two turns: more than calls are ever made in one


def label(
    teacher: Teacher,
    brief: Brief,
    samples: Sequence[Sample],
    *,
    seed: int,
    votes: int = 1,
    calibration: Calibration | None = None,
) -> list[Sample]:
    """Give each sample a label and a confidence; it never sees for which label a text was written.

    The confidence is the probability of the label's tokens where the endpoint offers it
    (`confidence_source` `logprobs`); else, with more than one vote, the share of the votes that agree
    (`votes`, self-consistency: Wang et al. 2023, arXiv 2203.11171); else the teacher's own statement
    (`stated`). `confidence_raw` is as measured, `confidence` calibrated if a calibration is given.

    Args:
        teacher: the door.
        brief: the task.
        samples: what to label.
        seed: of the first call; others count on from it.
        votes: times each text is labelled where there are no log-probabilities.
        calibration: fitted on the user's own labels.

    Returns:
        The samples; one that stays without a label has status `unlabelled` and the reason.
    """
    form = labels_form(tuple(brief["labels"]))
    given, problems = _turn(teacher, brief, form, samples, seed, TEXTS_A_CALL)
    missing = [sample for sample in samples if sample["id"] not in given]
    found, again = _turn(teacher, brief, form, missing, seed + _STRIDE, FEW)
    given |= found
    answers: dict[str, list[Told[GivenLabel]]] = {key: [told] for key, told in given.items()}
    _vote(teacher, brief, form, samples, answers, seed, votes)
    reasons = {**problems, **again}
    return [
        _labelled(sample, answers[sample["id"]], calibration)
        if sample["id"] in answers
        else changed(sample, status="unlabelled", reason=f"no label: {reasons[sample['id']]}")
        for sample in samples
    ]


def _vote(
    teacher: Teacher,
    brief: Brief,
    form: Form[GivenLabel],
    samples: Sequence[Sample],
    answers: dict[str, list[Told[GivenLabel]]],
    seed: int,
    votes: int,
) -> None:
    """Add further labellings, each in another order, of those whose first came without a probability."""
    unsure = [s for s in samples if s["id"] in answers and answers[s["id"]][0].probability is None]
    for vote in range(2, votes + 1):
        shuffled = random.Random(f"{seed} {vote}").sample(unsure, len(unsure))
        found, _ = _turn(teacher, brief, form, shuffled, seed + _STRIDE * vote, TEXTS_A_CALL)
        for key, told in found.items():
            answers[key].append(told)


def asks(
    brief: Brief, form: Form[GivenLabel], samples: Sequence[Sample], seed: int, size: int = TEXTS_A_CALL
) -> Iterator[tuple[Sequence[Sample], Ask[GivenLabel]]]:
    """The requests for these samples, each with those it is about."""
    for number, batch in enumerate(apart(samples, size)):
        fields = fields_of(brief)
        texts = [{"id": str(i), **split(sample["text"], fields)} for i, sample in enumerate(batch, 1)]
        wanted = [text["id"] for text in texts]
        yield batch, Ask("labeler", {**brief, "texts": texts}, form, seed + number, wanted)


def _turn(
    teacher: Teacher, brief: Brief, form: Form[GivenLabel], samples: Sequence[Sample], seed: int, size: int
) -> tuple[dict[str, Told[GivenLabel]], dict[str, str]]:
    """(sample id -> what was said of it, sample id -> why nothing was)."""
    planned = list(asks(brief, form, samples, seed, size))
    given: dict[str, Told[GivenLabel]] = {}
    problems: dict[str, str] = {}
    for (batch, _), reply in zip(planned, teacher.ask([ask for _, ask in planned]), strict=True):
        named = {str(i): sample["id"] for i, sample in enumerate(batch, 1)}
        for told in reply.told:
            if told.item.id in named:
                given.setdefault(named[told.item.id], told)
        why = reply.problems[0] if reply.problems else "the teacher left it out"
        problems |= {sample["id"]: why for sample in batch if sample["id"] not in given}
    return given, problems


def _labelled(sample: Sample, answers: Sequence[Told[GivenLabel]], calibration: Calibration | None) -> Sample:
    """The label most answers give (on a tie the earliest), and how sure that is."""
    camps: dict[str, list[Told[GivenLabel]]] = defaultdict(list)
    for told in answers:
        camps[told.item.label].append(told)
    label, camp = max(camps.items(), key=lambda item: len(item[1]))
    if (probability := camp[0].probability) is not None:
        raw, source = probability, "logprobs"
    elif len(answers) > 1:
        raw, source = len(camp) / len(answers), "votes"
    else:
        raw, source = mean(told.item.confidence for told in camp), "stated"
    fits = calibration is not None and calibration["source"] == source
    return changed(
        sample,
        label=label,
        confidence=calibrated(raw, calibration) if fits and calibration else raw,
        confidence_raw=raw,
        confidence_source=source,
        labelled_by=camp[0].call,
    )
