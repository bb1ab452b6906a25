"""The critic: accepts a labelled sample, refuses it with a reason, or sends it back."""

from collections.abc import Iterator, Sequence

from tutelage.agents.analyst import Brief, told
from tutelage.agents.prompt_injection import apart
from tutelage.agents.request import Ask, Reply
from tutelage.agents.schemas import Verdict, verdicts_form
from tutelage.agents.teacher.teacher import Teacher
from tutelage.student.corpus import Sample, changed

TEXTS_A_CALL = 12


def judge(teacher: Teacher, brief: Brief, samples: Sequence[Sample], *, seed: int) -> list[Sample]:
    """Give each labelled sample a `verdict`: accept, relabel, rewrite or refuse, with the reason.

    One that the critic leaves out is `unjudged`: what nobody vouched for is not trained on.
    """
    planned = list(asks(brief, samples, seed))
    judged: dict[str, Sample] = {}
    for (batch, _), reply in zip(planned, teacher.ask([ask for _, ask in planned]), strict=True):
        judged |= {sample["id"]: sample for sample in _judged(batch, reply)}
    return [judged[sample["id"]] for sample in samples]


def asks(
    brief: Brief, samples: Sequence[Sample], seed: int
) -> Iterator[tuple[Sequence[Sample], Ask[Verdict]]]:
    """The requests for these samples, each with those it is about."""
    for number, batch in enumerate(apart(samples, TEXTS_A_CALL)):
        shown = [{"id": str(i), **told(s["text"], s["label"], brief)} for i, s in enumerate(batch, 1)]
        wanted = [str(entry["id"]) for entry in shown]
        yield batch, Ask("critic", {**brief, "samples": shown}, verdicts_form(), seed + number, wanted)


def _judged(batch: Sequence[Sample], reply: Reply[Verdict]) -> list[Sample]:
    said = {word.item.id: word for word in reversed(reply.told)}  # the first of two of one id
    result = []
    for i, sample in enumerate(batch, 1):
        if word := said.get(str(i)):
            about = {"verdict": word.item.verdict, "reason": word.item.reason, "judged_by": word.call}
        else:
            left_out = reply.problems[0] if reply.problems else "the critic left it out"
            about = {"verdict": "unjudged", "reason": f"not judged: {left_out}"}
        result.append(changed(sample, **about))
    return result
