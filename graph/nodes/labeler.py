"""The node that has texts labelled."""

from collections.abc import Sequence

from tutelage.agents import labeler as the_labeler
from tutelage.graph.context import Workshop
from tutelage.graph.requests import evidence
from tutelage.graph.requests.attempts import batch, seed_for
from tutelage.graph.state import State
from tutelage.graph.students.committee import Fold
from tutelage.student.corpus import Sample, changed, is_drawn

_APART = 100_000  # between the seeds of two folds' labels: more than calls are ever made in one node


def labeler(shop: Workshop, state: State) -> State:
    """Label blind what has no label; on the critic's word, label a second time. Where labelling is not apart,
    a text has the label it was written with.
    """
    again = state.get("rejudge", False)
    under_way = batch(shop, state)
    found = [s for s in under_way if "label" not in s or (again and s.get("verdict") == "relabel")]
    given: list[str] = []
    if not (shop.strategy.label_apart or again):
        given = [s["id"] for s in under_way if "label" in s]
        found = [s for s in found if is_drawn(s)]
    for sample in found:
        sample.pop("verdict", None)
    labelled: list[Sample] = []
    for number, (fold, part) in enumerate(_by_fold_shown(shop, found)):
        labelled += the_labeler.label(
            shop.teacher,
            shop.task.brief(),
            part,
            seed=seed_for(shop, state, 4 if again else 3) + number * _APART,
            votes=shop.task.teacher.votes,
            calibration=shop.folder.read_calibration(),
            shots=evidence.shots(shop, state["round"], fold),
        )
    shop.corpus.update(labelled)
    shop.trace.tell(labelled=given + [s["id"] for s in labelled if "label" in s], again=again)
    return {}


def _by_fold_shown(shop: Workshop, samples: Sequence[Sample]) -> list[tuple[Fold, list[Sample]]]:
    """Divide samples by the fold whose rows the labeler is shown with them.

    Only where labelled rows are folded and the labeler is shown any: a written text keeps its fold, and a
    drawn one gets one, in turn, since its label was given with rows of that fold in view.
    """
    if not shop.splits.folded or not shop.task.form.shots:
        return [(None, list(samples))]
    count = shop.task.fold_count
    parts: list[list[Sample]] = [[] for _ in range(count)]
    for number, sample in enumerate(samples):
        fold = sample.get("fold", number % count)
        parts[fold].append(changed(sample, fold=fold))
    return [(fold, part) for fold, part in enumerate(parts) if part]
