"""The comparison at the end of a run: students trained with the teacher's labels against students without."""

import json
from collections.abc import Mapping
from typing import NotRequired, TypedDict

from tutelage.graph.context import RunContext
from tutelage.graph.students.predictions import example_statistics
from tutelage.graph.task.schema import Task
from tutelage.student.evaluation.gains import gain, interval, score, worth
from tutelage.student.tasks.scoring import ExampleStatistics
from tutelage.student.tasks.user_functions import title


class ArmScore(TypedDict):
    """One student of the comparison, with the numbers of texts it was trained on: the user's rows, texts with
    teacher labels, and unlabelled texts. `low` and `high` are the 95 % interval of the score. `gain` is the
    difference to the best student without teacher labels, with its interval; such students have none.
    """

    name: str
    rows: int
    teacher_labels: int
    unlabelled: int
    score: float
    low: float
    high: float
    gain: NotRequired[list[float]]
    delivered: bool


class Comparison(TypedDict):
    """The result of the comparison.

    `measured_on` is `test` or, without a test set, `out of fold` (`gate` with separate sets). `worth` is the
    number of random labels that would give the same gain as the chosen ones, or None if random labels brought
    no gain beyond noise.
    """

    metric: str
    measured_on: str
    arms: list[ArmScore]
    worth: int | None


def compare(ctx: RunContext, best: int) -> Comparison | None:
    """Compare the delivered student with students trained on the user's labels alone and on labels of random
    texts; on the test set or, without one, out of fold.

    Returns:
        None if no student was refitted or nothing is held out.
    """
    if not ctx.folder.arms.exists():
        return None
    trained = json.loads(ctx.folder.arms.read_text(encoding="utf-8"))
    if ctx.splits.test:
        stored = {one["name"]: f"arm-{one['name']}" for one in trained}
        return _comparison(ctx, trained, stored, "test")
    if ctx.splits.gate and best:
        chosen = next((one for one in trained if one["name"] == "chosen"), None)
        if chosen:
            return _comparison(ctx, [trained[0], chosen], {"labels_alone": 0, "chosen": best}, "gate")
    return None


def _comparison(
    ctx: RunContext, trained: list[dict[str, int | str]], stored: Mapping[str, int | str], set_name: str
) -> Comparison:
    task_type, metric = ctx.task.type, ctx.task.metric
    statistics = {name: example_statistics(ctx, folder, set_name) for name, folder in stored.items()}
    # Gains are relative to the better student without a teacher: the worse one would flatter the teacher.
    base = max(
        (name for name in ("labels_alone", "self_trained") if name in statistics),
        key=lambda name: score(task_type, statistics[name], metric),
    )
    scores: dict[str, ArmScore] = {}
    for one in trained:
        name = str(one["name"])
        scores[name] = arm = _arm_score(ctx.task, one, statistics[name], set_name)
        arm["delivered"] = set_name == "test" and one is trained[-1]
        if arm["teacher_labels"]:
            change = gain(task_type, statistics[base], statistics[name], metric)
            arm["gain"] = [change.difference, change.low, change.high]
    equal = None
    if "chosen" in scores and "random" in scores:  # both without soft targets, like the labels alone
        alone, drawn, chosen = (scores[name] for name in ("labels_alone", "random", "chosen"))
        change = gain(task_type, statistics["labels_alone"], statistics["random"], metric)
        if change.low > 0:
            equal = worth(alone["score"], drawn["score"], chosen["score"], drawn["teacher_labels"])
    where = set_name if set_name == "test" or not ctx.splits.folded else "out of fold"
    return Comparison(metric=title(metric), measured_on=where, arms=[*scores.values()], worth=equal)


def _arm_score(
    task: Task, one: Mapping[str, int | str], statistics: ExampleStatistics, set_name: str
) -> ArmScore:
    """Return the score of a student listed in arms.json; the gain and the delivered student are set later."""
    count, soft = int(one["teacher_labels"]), int(one["soft"])
    low, high = interval(task.type, statistics, task.metric)
    return ArmScore(
        name=str(one["name"]),
        rows=int(one["rows"]) - count - soft,
        teacher_labels=count,
        unlabelled=soft if set_name == "test" else 0,  # fold students learn from none
        score=score(task.type, statistics, task.metric),
        low=low,
        high=high,
        delivered=False,
    )
