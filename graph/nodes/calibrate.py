"""The node that measures the teacher on rows of the user's own: how often it is right, and how far its
confidence can be trusted.
"""

import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tutelage.agents import labeler
from tutelage.agents.endpoints.endpoint import TeacherDownError
from tutelage.agents.teacher.calibration import Calibration, Rivals
from tutelage.agents.teacher.calibration import calibrate as calibrate_on
from tutelage.graph.context import Workshop
from tutelage.graph.requests.evidence import shots as shots_of
from tutelage.graph.state import State
from tutelage.graph.stopping import teacher_too_weak
from tutelage.graph.students.predictions import answers_on_diagnose
from tutelage.student.corpus import Sample, drawn_sample
from tutelage.student.data.rows import Row
from tutelage.student.evaluation.gains import interval, score
from tutelage.student.tasks import Kind

DOUBTFUL = 0.7  # share of right labels below which a user is warned (ours)


def calibrate(shop: Workshop, state: State) -> State:
    """Measure the teacher before anything else is paid for: one that is no better than the student stops the
    run here.
    """
    return {"stop": _measure(shop), "before_rounds": shop.teacher.journal.spent("labeler")}


def _measure(shop: Workshop) -> str:
    """Have labelled texts labelled blind, compare with their gold labels, write calibration.json; return why
    the run stops, "" if it goes on.
    """
    part = shop.task.teacher
    rows = slice_of(shop.task.form, shop.splits.diagnose, part.calibrate, shop.task.seed)
    if not rows or shop.folder.first_labels.exists():  # its own labels cannot measure the teacher
        return shop.teacher.refusal() or ""
    seed = random.Random(f"{shop.task.seed} calibrate").randrange(2**30)  # agents count on from it
    asked = [drawn_sample(row, place=place) for place, row in enumerate(rows)]
    asked_for = {row["id"] for row in rows}  # without a diagnose set they are seeds
    shots = [row for row in shots_of(shop, 0) if row["id"] not in asked_for]
    labelled = labeler.label(shop.teacher, shop.task.brief(), asked, seed=seed, votes=part.votes, shots=shots)
    answered = [(s, row["label"]) for s, row in zip(labelled, rows, strict=True) if "label" in s]
    if not answered and not shop.teacher.refusal():
        _stop(shop, labelled[0])
    [(source, _)] = Counter(s["confidence_source"] for s, _ in answered).most_common(1) or [("", 0)]
    measured = [(s, gold) for s, gold in answered if s["confidence_source"] == source]
    correct = [sample["label"] == gold for sample, gold in measured]
    found = calibrate_on(
        [s["confidence"] for s, _ in measured], correct, source, shop.task.form.choices(shop.labels)
    )
    notes = [*_left_out(labelled, len(answered) - len(measured), source), found["note"]]
    found["note"] = "; ".join(note for note in notes if note)
    if rivals := _rivals(shop, [(s, row) for s, row in zip(labelled, rows, strict=True) if "label" in s]):
        found["rivals"] = rivals
    shop.folder.write_json(shop.folder.calibration, found)
    _warn(shop, found)
    told = {name: value for name, value in found.items() if not name.startswith("bins")}
    shop.trace.tell(**told, right=sum(correct))
    return shop.teacher.refusal() or teacher_too_weak(shop)


def _rivals(shop: Workshop, labelled: Sequence[tuple[Sample, Row]]) -> Rivals | None:
    """Score the teacher's labels of these rows beside the answers of a student that has not learnt them and
    beside the commonest label; None where the student has learnt them (no diagnose set).
    """
    if not labelled or (not shop.splits.folded and shop.task.data.diagnose is None):
        return None
    kind, labels = shop.task.form, shop.labels
    metric = "accuracy" if "accuracy" in kind.metrics else shop.task.metric
    texts, gold = [row["text"] for _, row in labelled], [row["label"] for _, row in labelled]
    student = {answer["id"]: answer["predicted"] for answer in answers_on_diagnose(shop, 0)}
    commonest = Counter(row["label"] for row in shop.splits.diagnose).most_common(1)[0][0]
    answers = {
        "teacher": [sample["label"] for sample, _ in labelled],
        "student": [student[row["id"]] for _, row in labelled],
        "commonest": [commonest] * len(gold),
    }
    scores = {}
    for name, given in answers.items():
        if metric == "accuracy":
            found = _accuracy(np.equal(given, gold), _weights(kind, gold, shop.splits.diagnose))
        else:
            marks = kind.marks(texts, gold, given, labels, metric)
            found = (score(kind, marks, labels, metric), *interval(kind, marks, labels, metric))
        scores[name] = [round(part, 4) for part in found]
    return Rivals(
        metric=metric,
        rows=len(labelled),
        teacher=scores["teacher"],
        student=scores["student"],
        commonest=scores["commonest"],
    )


def _weights(kind: Kind, gold: Sequence[str], rows: Sequence[Row]) -> NDArray[np.float64]:
    """Return how many of the user's rows each row of the slice stands for, which is balanced by label."""
    every = Counter(_stratum(kind, row["label"]) for row in rows)
    drawn = Counter(_stratum(kind, label) for label in gold)
    return np.array([every[_stratum(kind, label)] / drawn[_stratum(kind, label)] for label in gold])


def _accuracy(right: NDArray[np.bool_], weights: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the weighted accuracy with its 95 % interval (percentile bootstrap, 1,000 draws)."""
    random = np.random.default_rng(0)
    places = random.integers(0, len(right), (1000, len(right)))
    drawn = (right * weights)[places].sum(1) / weights[places].sum(1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float((right * weights).sum() / weights.sum()), float(low), float(high)


def _stop(shop: Workshop, sample: Sample) -> None:
    """End a run whose teacher gives nothing that can be used; once it does, all is asked anew."""
    shop.teacher.journal.void("labeler")
    raise TeacherDownError(
        f"the teacher {shop.task.model_specs()['labeler'].place} labelled none of your texts"
        f" ({sample.get('reason', 'no reason')}); see what `tutelage doctor` finds"
    )


def _warn(shop: Workshop, found: Calibration) -> None:
    """Note in run.json that a teacher is often wrong, before more is spent on it."""
    accuracy = found["accuracy"]
    if accuracy is None or accuracy >= DOUBTFUL:
        return
    about = shop.folder.about()
    note = (
        f"the teacher is right on only {accuracy:.0%} of {found['rows']} of your own texts: look at the"
        " instruction and the labels' descriptions before you spend more"
    )
    if note not in about["notes"]:
        shop.folder.write_json(shop.folder.run_json, {**about, "notes": [*about["notes"], note]})


def slice_of(kind: Kind, rows: Sequence[Row], size: int, seed: int) -> list[Row]:
    """At most `size` rows, drawn by the seed, as many of each (first) label as of others while they last."""
    drawn = random.Random(f"{seed} slice").sample(rows, len(rows))
    seen: Counter[str] = Counter()
    turns = []
    for number, row in enumerate(drawn):
        label = _stratum(kind, row["label"])
        turns.append((seen[label], number))
        seen[label] += 1
    picked = sorted(turns)[:size]
    return [drawn[number] for number in sorted(number for _, number in picked)]


def _stratum(kind: Kind, label: str) -> str:
    """The (first) label that a row is drawn by; texts of a pool have none."""
    return kind.groups(label)[0] if label else ""


def _left_out(labelled: Sequence[Sample], other: int, source: str) -> list[str]:
    """Which texts are not measured, and why."""
    without = [sample for sample in labelled if "label" not in sample]
    notes = [f"{other} more texts were labelled without {source} confidence"] if other else []
    if without:
        reason = without[0]["reason"].removeprefix("no label: ")
        notes.append(f"{len(without)} of {len(labelled)} texts got no label: {reason}")
    return notes
