"""The node that measures the teacher on the user's own rows: its accuracy, and the calibration of its
confidence.
"""

import random
from collections import Counter
from collections.abc import Sequence
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray
from tutelage.agents import labeler
from tutelage.agents.endpoints.endpoint import TeacherDownError
from tutelage.agents.teacher.calibration import Answer, Baselines
from tutelage.agents.teacher.calibration import calibrate as calibrate_on
from tutelage.agents.teacher.teacher import Teacher
from tutelage.graph.context import RunContext
from tutelage.graph.requests.evidence import shots as shots_of
from tutelage.graph.state import State
from tutelage.graph.stopping import teacher_too_weak
from tutelage.graph.students.predictions import predictions_on_diagnose
from tutelage.graph.task.schema import Task
from tutelage.student.corpus import Sample, drawn_sample
from tutelage.student.data.folds import first_label, stratified_sample
from tutelage.student.data.rows import Row
from tutelage.student.evaluation.gains import interval, score
from tutelage.student.tasks.task_type import TaskType

DOUBTFUL = 0.7  # accuracy below which the user is warned (ours)


def calibrate(ctx: RunContext, state: State) -> State:
    """Measure the teacher before anything else is paid for, and stop if it is no better than the student."""
    return {"stop": _measure(ctx)}


def _measure(ctx: RunContext) -> str:
    """Let the teacher label labelled texts blind, compare with the gold labels, and write calibration.json.

    Return the reason why the run stops, or "" if it goes on.
    """
    part = ctx.task.teacher
    rows = stratified_sample(ctx.splits.diagnose, ctx.task.type, part.calibrate, ctx.task.seed)
    if not rows or ctx.folder.first_labels.exists():  # the teacher cannot be measured by its own labels
        return ctx.teacher.refusal() or ""
    seed = random.Random(f"{ctx.task.seed} calibrate").randrange(2**30)  # agents count up from it
    asked = [drawn_sample(row, place=place) for place, row in enumerate(rows)]
    measured_ids = {row["id"] for row in rows}  # without a diagnose set, these rows are seeds
    shown = shots_of(ctx.task, ctx.strategy, ctx.splits, 0)
    shots = [row for row in shown if row["id"] not in measured_ids]
    labelled = labeler.label(
        ctx.teacher, ctx.task.brief(), asked, labeler.LabelerSettings(part.votes, shots=shots), seed=seed
    )
    answered = [(s, row) for s, row in zip(labelled, rows, strict=True) if "label" in s]
    if not answered and not ctx.teacher.refusal():
        _stop(ctx.teacher, ctx.task, labelled[0])
    [(source, _)] = Counter(s["confidence_source"] for s, _ in answered).most_common(1) or [("", 0)]
    measured = [(s, row) for s, row in answered if s["confidence_source"] == source]
    correct = [sample["label"] == row["label"] for sample, row in measured]
    found = calibrate_on(
        [s["confidence"] for s, _ in measured], correct, source, ctx.task.type.choice_count(ctx.labels)
    )
    found["answers"] = [
        Answer(id=row["id"], label=s["label"], confidence=s["confidence"]) for s, row in measured
    ]
    found["left_out"] = "; ".join(_left_out(labelled, len(answered) - len(measured), source))
    found["note"] = "; ".join(note for note in (found["left_out"], found["note"]) if note)
    if baselines := _baselines(ctx, answered):
        found["baselines"] = baselines
    ctx.folder.write_json(ctx.folder.calibration, found)
    accuracy = found["accuracy"]
    if accuracy is not None and accuracy < DOUBTFUL:
        ctx.folder.add_note(
            f"the teacher is right on only {accuracy:.0%} of {found['rows']} of your own texts: check the"
            " instruction and the label descriptions before you spend more"
        )
    figures = {
        name: value for name, value in found.items() if not name.startswith(("bins", "answers", "left_out"))
    }
    ctx.trace.log(**figures, right=sum(correct))
    return ctx.teacher.refusal() or teacher_too_weak(ctx.task, ctx.folder)


def _baselines(ctx: RunContext, labelled: Sequence[tuple[Sample, Row]]) -> Baselines | None:
    """Score the teacher's labels, the answers of a student not trained on these rows, and the most frequent
    label. Return None if there is no such student (no folds and no diagnose set).
    """
    if not labelled or (not ctx.splits.folded and ctx.task.data.diagnose is None):
        return None
    task_type, labels = ctx.task.type, ctx.labels
    metric = "accuracy" if "accuracy" in task_type.metrics else ctx.task.metric
    texts, gold = [row["text"] for _, row in labelled], [row["label"] for _, row in labelled]
    student = {one["id"]: one["predicted"] for one in predictions_on_diagnose(ctx.folder, ctx.splits, 0)}
    majority_class = Counter(row["label"] for row in ctx.splits.diagnose).most_common(1)[0][0]
    answers = {
        "teacher": [sample["label"] for sample, _ in labelled],
        "student": [student[row["id"]] for _, row in labelled],
        "majority_class": [majority_class] * len(gold),
    }
    scores = {}
    for name, predicted in answers.items():
        if metric == "accuracy":
            found = _accuracy(np.equal(predicted, gold), _weights(task_type, gold, ctx.splits.diagnose))
        else:
            example_statistics = task_type.example_statistics(texts, gold, predicted, labels, metric)
            found = (
                score(task_type, example_statistics, metric),
                *interval(task_type, example_statistics, metric),
            )
        scores[name] = [round(part, 4) for part in found]
    return Baselines(
        metric=metric,
        rows=len(labelled),
        teacher=scores["teacher"],
        student=scores["student"],
        majority_class=scores["majority_class"],
    )


def _weights(task_type: TaskType, gold: Sequence[str], rows: Sequence[Row]) -> NDArray[np.float64]:
    """Return the weight of each row of the sample, balanced by label: how many rows it stands for."""
    every = Counter(first_label(row["label"], task_type) for row in rows)
    strata = [first_label(label, task_type) for label in gold]
    drawn = Counter(strata)
    return np.array([every[stratum] / drawn[stratum] for stratum in strata])


def _accuracy(right: NDArray[np.bool_], weights: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the weighted accuracy with its 95 % interval (percentile bootstrap, 1,000 draws)."""
    random = np.random.default_rng(0)
    indices = random.integers(0, len(right), (1000, len(right)))
    drawn = (right * weights)[indices].sum(1) / weights[indices].sum(1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float((right * weights).sum() / weights.sum()), float(low), float(high)


def _stop(teacher: Teacher, task: Task, sample: Sample) -> NoReturn:
    """Stop a run whose teacher gives no usable label. The replies are dropped: a resumed run asks again."""
    teacher.journal.void("labeler")
    raise TeacherDownError(
        f"the teacher {task.model_specs()['labeler'].display_name} labelled none of your texts"
        f" ({sample.get('reason', 'no reason')}); see what `tutelage doctor` finds"
    )


def _left_out(labelled: Sequence[Sample], other: int, source: str) -> list[str]:
    """Return notes on the texts that were not measured, and why."""
    without = [sample for sample in labelled if "label" not in sample]
    notes = [f"{other} more texts were labelled without {source} confidence"] if other else []
    if without:
        reason = without[0]["reason"].removeprefix("no label: ")
        notes.append(f"{len(without)} of {len(labelled)} texts got no label: {reason}")
    return notes
