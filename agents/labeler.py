"""The labeler: labels texts blind, in batches with a fresh context, and measures its confidence."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import mean
from typing import NamedTuple

from tutelage.agents.brief import Brief, fields_of, labelled_entry, labels_of, task_type_of
from tutelage.agents.prompt_injection import batches_isolating_injections
from tutelage.agents.request import ParsedItem, Request
from tutelage.agents.schemas import GivenLabel, labels_schema
from tutelage.agents.teacher.calibration import Calibration, calibrated
from tutelage.agents.teacher.teacher import Teacher
from tutelage.student.corpus import Sample, changed
from tutelage.student.data.rows import Row
from tutelage.student.tasks.fields import split
from tutelage.student.tasks.task_type import TaskType

TEXTS_A_CALL = 12
FEW = 3  # texts a call when texts that got no label are requested once more
_STRIDE = 10_000  # distance between the seeds of two passes, which is more than the calls of one pass


class LabelerSettings(NamedTuple):
    """How texts are labelled.

    Attributes:
        votes: how often each text is labelled if there are no log-probabilities.
        calibration: fitted on the user's own labels; without it, `confidence` is `confidence_raw`.
        shots: labelled texts that show the format of a label, for task types that need examples.
    """

    votes: int = 1
    calibration: Calibration | None = None
    shots: Sequence[Row] = ()


SINGLE_VOTE = LabelerSettings()


def label(
    teacher: Teacher,
    brief: Brief,
    samples: Sequence[Sample],
    settings: LabelerSettings = SINGLE_VOTE,
    *,
    seed: int,
) -> list[Sample]:
    """Give each sample a label and a confidence; the label that a text was written for is not shown.

    The confidence is the probability of the label's tokens if the endpoint returns log-probabilities
    (`confidence_source` is `logprobs`). Otherwise it is the share of the votes that agree, if there is more
    than one vote (`votes`, self-consistency: Wang et al. 2023, arXiv 2203.11171), or else the teacher's own
    statement (`stated`). `confidence_raw` is the measured value, `confidence` the calibrated one.

    Args:
        teacher: the teacher.
        brief: the description of the task.
        samples: the samples to label.
        settings: votes, calibration and examples.
        seed: the seed of the first call; the seeds of later calls follow from it.

    Returns:
        The samples; one without a label has the status `unlabelled` and the reason.
    """
    caller = _Caller(teacher, brief, settings.shots)
    labels, reasons = caller.label(samples, seed, TEXTS_A_CALL)
    missing = [s for s in samples if s["id"] not in labels]
    more_labels, more_reasons = caller.label(missing, seed + _STRIDE, FEW)
    labels, reasons = labels | more_labels, reasons | more_reasons
    votes_of = {key: [first] for key, first in labels.items()}
    _add_votes(caller, samples, votes_of, seed, settings.votes)
    return [
        _labelled(task_type_of(brief), sample, votes_of[sample["id"]], settings.calibration)
        if sample["id"] in votes_of
        else changed(sample, status="unlabelled", reason=f"no label: {reasons[sample['id']]}")
        for sample in samples
    ]


class _Vote(NamedTuple):
    """A label that fits its text, and the parsed item that it comes from."""

    label: str
    parsed: ParsedItem[GivenLabel]


def _add_votes(
    caller: "_Caller", samples: Sequence[Sample], votes_of: dict[str, list[_Vote]], seed: int, votes: int
) -> None:
    """Label the samples whose first label has no token probability again, each time in another order."""
    pending = [s for s in samples if s["id"] in votes_of and votes_of[s["id"]][0].parsed.probability is None]
    for vote in range(2, votes + 1):
        shuffled = random.Random(f"{seed} {vote}").sample(pending, len(pending))
        labels, _ = caller.label(shuffled, seed + _STRIDE * vote, TEXTS_A_CALL)
        for key, label in labels.items():
            votes_of[key].append(label)


def label_requests(
    brief: Brief, samples: Sequence[Sample], seed: int, size: int = TEXTS_A_CALL, shots: Sequence[Row] = ()
) -> Iterator[tuple[Sequence[Sample], Request[GivenLabel]]]:
    """Yield the requests for these samples, each with the samples that it covers."""
    schema = labels_schema(labels_of(brief), task_type_of(brief))
    payload: dict[str, object] = {**brief}
    if task_type_of(brief).needs_examples and shots:
        payload["shots"] = [labelled_entry(row, brief) for row in shots]
    for number, batch in enumerate(batches_isolating_injections(samples, size)):
        fields = fields_of(brief)
        texts = [{"id": str(i), **split(sample["text"], fields)} for i, sample in enumerate(batch, 1)]
        wanted = [text["id"] for text in texts]
        yield batch, Request("labeler", {**payload, "texts": texts}, schema, seed + number, wanted)


class _Caller(NamedTuple):
    """The teacher, with what all labelling calls have in common."""

    teacher: Teacher
    brief: Brief
    shots: Sequence[Row]

    def label(
        self, samples: Sequence[Sample], seed: int, size: int
    ) -> tuple[dict[str, _Vote], dict[str, str]]:
        """Return (sample id -> its label, sample id -> the reason why it has none)."""
        task_type = task_type_of(self.brief)
        planned = list(label_requests(self.brief, samples, seed, size, self.shots))
        replies = self.teacher.ask([request for _, request in planned])
        labels: dict[str, _Vote] = {}
        problems: dict[str, str] = {}
        for (batch, _), reply in zip(planned, replies, strict=True):
            by_number = {str(i): sample for i, sample in enumerate(batch, 1)}
            for parsed in reply.parsed:
                sample = by_number.get(parsed.item.id)
                if sample is None or sample["id"] in labels:
                    continue
                try:
                    label = task_type.parse_reply(getattr(parsed.item, task_type.label_field), sample["text"])
                except ValueError as error:
                    problems[sample["id"]] = str(error)
                else:
                    labels[sample["id"]] = _Vote(label, parsed)
            why = reply.problems[0] if reply.problems else "the teacher left it out"
            problems = {**{s["id"]: why for s in batch if s["id"] not in labels}, **problems}
        return labels, problems


def _labelled(
    task_type: TaskType, sample: Sample, votes: Sequence[_Vote], calibration: Calibration | None
) -> Sample:
    """Return the sample with the label of most votes (on a tie, the earliest) and its confidence."""
    by_label: dict[str, list[ParsedItem[GivenLabel]]] = defaultdict(list)
    for vote in votes:
        by_label[vote.label].append(vote.parsed)
    label, agreeing = max(by_label.items(), key=lambda item: len(item[1]))
    if (probability := agreeing[0].probability) is not None:
        raw, source = probability, "logprobs"
    elif len(votes) > 1:
        raw, source = len(agreeing) / len(votes), "votes"
    else:
        raw, source = mean(one.item.confidence for one in agreeing), "stated"
    if task_type.generates:
        sample = changed(sample, rationale=agreeing[0].item.reason.strip())
    fits = calibration is not None and calibration["source"] == source
    return changed(
        sample,
        label=label,
        confidence=calibrated(raw, calibration) if fits and calibration else raw,
        confidence_raw=raw,
        confidence_source=source,
        labelled_by=agreeing[0].call,
    )
