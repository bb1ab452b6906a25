"""The node in which the labeler labels texts."""

from collections.abc import Sequence

from tutelage.agents import labeler as the_labeler
from tutelage.graph.context import RunContext
from tutelage.graph.requests import evidence
from tutelage.graph.state import State
from tutelage.graph.students.committee import Fold
from tutelage.graph.task.schema import Task
from tutelage.graph.task.splits import Splits
from tutelage.student.corpus import Sample, changed, is_drawn

_STRIDE = 100_000  # distance between the seeds of two folds: more than the calls of one node


def labeler(ctx: RunContext, state: State) -> State:
    """Label blind the samples without a label and, a second time, those that the critic disputes. Without
    `blind_labels`, a text keeps the label it was written with.
    """
    again = state.get("rejudge", False)
    unfinished = ctx.unfinished(state)
    found = [s for s in unfinished if "label" not in s or (again and s.get("verdict") == "relabel")]
    written_with: list[str] = []
    if not (ctx.strategy.blind_labels or again):
        written_with = [s["id"] for s in unfinished if "label" in s]
        found = [s for s in found if is_drawn(s)]
    for sample in found:
        sample.pop("verdict", None)
    labelled: list[Sample] = []
    for number, (fold, part) in enumerate(_by_fold_shown(ctx.task, ctx.splits, found)):
        with ctx.trace.fold(fold):
            labelled += the_labeler.label(
                ctx.teacher,
                ctx.task.brief(),
                part,
                evidence.labeler_settings(ctx, state["round"], fold),
                seed=ctx.call_seed(state, 4 if again else 3) + number * _STRIDE,
            )
    ctx.corpus.update(labelled)
    ctx.trace.log(labelled=written_with + [s["id"] for s in labelled if "label" in s], again=again)
    return {}


def _by_fold_shown(task: Task, splits: Splits, samples: Sequence[Sample]) -> list[tuple[Fold, list[Sample]]]:
    """Divide samples by the fold whose rows the labeler is shown with them.

    This matters only if the rows are folded and the labeler is shown some: a written text keeps its fold, and
    drawn texts get the folds in turn, because their label depends on rows of that fold.
    """
    if not splits.folded or not task.type.needs_examples:
        return [(None, list(samples))]
    count = task.fold_count
    parts: list[list[Sample]] = [[] for _ in range(count)]
    for number, sample in enumerate(samples):
        fold = sample.get("fold", number % count)
        parts[fold].append(changed(sample, fold=fold))
    return [(fold, part) for fold, part in enumerate(parts) if part]
