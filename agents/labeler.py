"""The labeler: labels texts blind, in a fresh context, in batches, with measured confidence."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import mean
from typing import NamedTuple

from tutelage.agents.analyst import Brief, fields_of, kind_of, labels_of, told
from tutelage.agents.prompt_injection import apart
from tutelage.agents.request import Ask, Told
from tutelage.agents.schemas import GivenLabel, labels_form
from tutelage.agents.teacher.calibration import Calibration, calibrated
from tutelage.agents.teacher.teacher import Teacher
from tutelage.student.corpus import Sample, changed
from tutelage.student.data.rows import Row
from tutelage.student.tasks import Kind
from tutelage.student.tasks.fields import split

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
    shots: Sequence[Row] = (),
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
        shots: labelled texts that show what a label looks like, where kinds need it.

    Returns:
        The samples; one that stays without a label has status `unlabelled` and the reason.
    """
    turn = _Turn(teacher, brief, shots)
    given, reasons = turn.take(samples, seed, TEXTS_A_CALL)
    found, again = turn.take([s for s in samples if s["id"] not in given], seed + _STRIDE, FEW)
    given, reasons = given | found, reasons | again
    answers = {key: [one] for key, one in given.items()}
    _vote(turn, samples, answers, seed, votes)
    return [
        _labelled(kind_of(brief), sample, answers[sample["id"]], calibration)
        if sample["id"] in answers
        else changed(sample, status="unlabelled", reason=f"no label: {reasons[sample['id']]}")
        for sample in samples
    ]


class _Given(NamedTuple):
    """A label that fits its text, and what was said of it."""

    label: str
    told: Told[GivenLabel]


def _vote(
    turn: "_Turn", samples: Sequence[Sample], answers: dict[str, list[_Given]], seed: int, votes: int
) -> None:
    """Add further labellings, each in another order, of those whose first came without a probability."""
    unsure = [s for s in samples if s["id"] in answers and answers[s["id"]][0].told.probability is None]
    for vote in range(2, votes + 1):
        shuffled = random.Random(f"{seed} {vote}").sample(unsure, len(unsure))
        found, _ = turn.take(shuffled, seed + _STRIDE * vote, TEXTS_A_CALL)
        for key, one in found.items():
            answers[key].append(one)


def asks(
    brief: Brief, samples: Sequence[Sample], seed: int, size: int = TEXTS_A_CALL, shots: Sequence[Row] = ()
) -> Iterator[tuple[Sequence[Sample], Ask[GivenLabel]]]:
    """The requests for these samples, each with those it is about."""
    form = labels_form(labels_of(brief), kind_of(brief))
    about: dict[str, object] = {**brief}
    if kind_of(brief).shots and shots:
        about["shots"] = [told(row["text"], row["label"], brief) for row in shots]
    for number, batch in enumerate(apart(samples, size)):
        fields = fields_of(brief)
        texts = [{"id": str(i), **split(sample["text"], fields)} for i, sample in enumerate(batch, 1)]
        wanted = [text["id"] for text in texts]
        yield batch, Ask("labeler", {**about, "texts": texts}, form, seed + number, wanted)


class _Turn(NamedTuple):
    """Who is asked for labels of what."""

    teacher: Teacher
    brief: Brief
    shots: Sequence[Row]

    def take(
        self, samples: Sequence[Sample], seed: int, size: int
    ) -> tuple[dict[str, _Given], dict[str, str]]:
        """(sample id -> the label it was given, sample id -> why it has none)."""
        kind = kind_of(self.brief)
        planned = list(asks(self.brief, samples, seed, size, self.shots))
        given: dict[str, _Given] = {}
        problems: dict[str, str] = {}
        for (batch, _), reply in zip(planned, self.teacher.ask([ask for _, ask in planned]), strict=True):
            named = {str(i): sample for i, sample in enumerate(batch, 1)}
            for one in reply.told:
                sample = named.get(one.item.id)
                if sample is None or sample["id"] in given:
                    continue
                try:
                    label = kind.said(getattr(one.item, kind.key), sample["text"])
                except ValueError as error:
                    problems[sample["id"]] = str(error)
                else:
                    given[sample["id"]] = _Given(label, one)
            why = reply.problems[0] if reply.problems else "the teacher left it out"
            problems = {**{s["id"]: why for s in batch if s["id"] not in given}, **problems}
        return given, problems


def _labelled(
    kind: Kind, sample: Sample, answers: Sequence[_Given], calibration: Calibration | None
) -> Sample:
    """The label most answers give (on a tie the earliest), and how sure that is."""
    camps: dict[str, list[Told[GivenLabel]]] = defaultdict(list)
    for given in answers:
        camps[given.label].append(given.told)
    label, camp = max(camps.items(), key=lambda item: len(item[1]))
    if (probability := camp[0].probability) is not None:
        raw, source = probability, "logprobs"
    elif len(answers) > 1:
        raw, source = len(camp) / len(answers), "votes"
    else:
        raw, source = mean(one.item.confidence for one in camp), "stated"
    if kind.writes:
        sample = changed(sample, rationale=camp[0].item.reason.strip())
    fits = calibration is not None and calibration["source"] == source
    return changed(
        sample,
        label=label,
        confidence=calibrated(raw, calibration) if fits and calibration else raw,
        confidence_raw=raw,
        confidence_source=source,
        labelled_by=camp[0].call,
    )
