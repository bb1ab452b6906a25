"""The critic: accepts a labelled sample, refuses it with a reason, or sends it back."""

from collections.abc import Sequence

from tutelage.agents.analyst import Brief
from tutelage.agents.forms import Form, Verdict
from tutelage.agents.teacher import Ask, Teacher
from tutelage.student.corpus import Sample, changed

TEXTS_A_CALL = 12
FORM = Form("Verdicts", "verdicts", Verdict)


def judge(teacher: Teacher, brief: Brief, samples: Sequence[Sample], *, seed: int) -> list[Sample]:
    """Give each labelled sample a `verdict`: accept, relabel, rewrite or refuse, with the reason.

    A sample the critic leaves out is refused: what nobody vouched for is not trained on.
    """
    batches = [samples[i : i + TEXTS_A_CALL] for i in range(0, len(samples), TEXTS_A_CALL)]
    asks = []
    for number, batch in enumerate(batches):
        shown = [{"id": str(i), "text": s["text"], "label": s["label"]} for i, s in enumerate(batch, 1)]
        asks.append(Ask("critic", {**brief, "samples": shown}, FORM, seed + number))
    result = []
    for batch, reply in zip(batches, teacher.ask(asks), strict=True):
        said = {item.id: item for item in reply.items}
        for i, sample in enumerate(batch, 1):
            item = said.get(str(i))
            left_out = reply.problems[-1] if reply.problems else "the critic left it out"
            verdict, reason = (item.verdict, item.reason) if item else ("refuse", f"not judged: {left_out}")
            result.append(changed(sample, verdict=verdict, reason=reason, judged_by=reply.call))
    return result
