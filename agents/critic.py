"""The critic: accepts a labelled sample, refuses it with a reason, or asks for a new label or text."""

from collections.abc import Iterator, Sequence

from tutelage.agents.brief import Brief, labelled_entry
from tutelage.agents.prompt_injection import batches_isolating_injections
from tutelage.agents.request import Reply, Request
from tutelage.agents.schemas import Verdict, verdicts_schema
from tutelage.agents.teacher.teacher import Teacher
from tutelage.student.corpus import Sample, changed

TEXTS_A_CALL = 12


def judge(teacher: Teacher, brief: Brief, samples: Sequence[Sample], *, seed: int) -> list[Sample]:
    """Give each labelled sample a `verdict` (accept, relabel, rewrite or refuse) with the reason.

    A sample that the critic leaves out gets the verdict `unjudged` and is not trained on.
    """
    planned = list(verdict_requests(brief, samples, seed))
    replies = teacher.ask([request for _, request in planned])
    judged: dict[str, Sample] = {}
    for (batch, _), reply in zip(planned, replies, strict=True):
        judged |= {sample["id"]: sample for sample in _judged(batch, reply)}
    return [judged[sample["id"]] for sample in samples]


def verdict_requests(
    brief: Brief, samples: Sequence[Sample], seed: int
) -> Iterator[tuple[Sequence[Sample], Request[Verdict]]]:
    """Yield the requests for these samples, each with the samples that it covers."""
    for number, batch in enumerate(batches_isolating_injections(samples, TEXTS_A_CALL)):
        shown = [{"id": str(i), **labelled_entry(one, brief)} for i, one in enumerate(batch, 1)]
        wanted = [str(entry["id"]) for entry in shown]
        yield batch, Request("critic", {**brief, "samples": shown}, verdicts_schema(), seed + number, wanted)


def _judged(batch: Sequence[Sample], reply: Reply[Verdict]) -> list[Sample]:
    verdicts = {parsed.item.id: parsed for parsed in reversed(reply.parsed)}  # the first one of an id counts
    result = []
    for i, sample in enumerate(batch, 1):
        if parsed := verdicts.get(str(i)):
            about = {"verdict": parsed.item.verdict, "reason": parsed.item.reason, "judged_by": parsed.call}
        else:
            why = reply.problems[0] if reply.problems else "the critic left it out"
            about = {"verdict": "unjudged", "reason": f"not judged: {why}"}
        result.append(changed(sample, **about))
    return result
