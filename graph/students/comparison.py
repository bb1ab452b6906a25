"""The comparison at the end of a run: students trained with the teacher's labels against students without."""

import json
from collections.abc import Mapping
from typing import NotRequired, TypedDict

from tutelage.graph.context import RunContext
from tutelage.graph.report.run_section import metric_title
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.students.predictions import example_statistics
from tutelage.graph.task.schema import Task
from tutelage.student.evaluation.gains import Gain, gain, interval, score, worth
from tutelage.student.tasks.scoring import ExampleStatistics
from tutelage.student.tasks.user_functions import title

NAMES = {
    "labels_alone": "your labels alone",
    "self_trained": "your labels and your unlabelled texts, no teacher",
    "random": "+ {} teacher labels at random",
    "chosen": "+ {} teacher labels, chosen",
    "all": "+ all {} teacher labels",
}


class ArmScore(TypedDict):
    """One student of the comparison, with the numbers of texts it was trained on: the user's rows, texts with
    teacher labels, and unlabelled texts. `low` and `high` are the 95 % interval of the score. `gain` is the
    difference to the best student without teacher labels, with its interval; such students have none.
    """

    name: str
    title: str
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
    sentence: str


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
    statistics = {name: example_statistics(ctx, place, set_name) for name, place in stored.items()}
    # Gains are relative to the better student without a teacher: the worse one would flatter the teacher.
    base = max(
        (name for name in ("labels_alone", "self_trained") if name in statistics),
        key=lambda name: score(task_type, statistics[name], metric),
    )
    scores, gains = dict[str, ArmScore](), dict[str, Gain]()
    for one in trained:
        name = str(one["name"])
        scores[name] = arm = _arm_score(ctx.task, ctx.folder, one, statistics[name], set_name)
        arm["delivered"] = set_name == "test" and one is trained[-1]
        if arm["teacher_labels"]:
            gains[name] = gain(task_type, statistics[base], statistics[name], metric)
            arm["gain"] = [gains[name].difference, gains[name].low, gains[name].high]
    equal = None
    if "chosen" in scores and "random" in scores and gains["random"].low > 0:
        drawn = scores["random"]
        equal = worth(
            scores[base]["score"], drawn["score"], scores["chosen"]["score"], drawn["teacher_labels"]
        )
    where = set_name if set_name == "test" or not ctx.splits.folded else "out of fold"
    return Comparison(
        metric=title(metric),
        measured_on=where,
        arms=[*scores.values()],
        worth=equal,
        sentence=_sentence(metric_title(metric), scores, base, gains, equal, where),
    )


def _arm_score(
    task: Task, folder: RunFolder, one: Mapping[str, int | str], statistics: ExampleStatistics, set_name: str
) -> ArmScore:
    """Return the score of a student listed in arms.json; the gain and the delivered student are set later."""
    name, count, soft = str(one["name"]), int(one["teacher_labels"]), int(one["soft"])
    low, high = interval(task.type, statistics, task.metric)
    by_teacher = name == "labels_alone" and folder.first_labels.exists()
    return ArmScore(
        name=name,
        title="the teacher's first labels alone" if by_teacher else NAMES[name].format(count),
        rows=int(one["rows"]) - count - soft,
        teacher_labels=count,
        unlabelled=soft if set_name == "test" else 0,  # fold students learn from none
        score=score(task.type, statistics, task.metric),
        low=low,
        high=high,
        delivered=False,
    )


def _sentence(
    metric: str,
    scores: dict[str, ArmScore],
    base: str,
    gains: dict[str, Gain],
    equal: int | None,
    where: str,
) -> str:
    """Return a sentence that states how much the teacher's labels improved the student."""
    before = scores[base]["score"]
    if "chosen" not in scores:
        return f"No teacher label was kept: {metric} is {before:.2f} with {scores[base]['title']} ({where})."
    count, after, change = scores["chosen"]["teacher_labels"], scores["chosen"]["score"], gains["chosen"]
    span = f"95 % interval of the gain {change.low:.2f} to {change.high:.2f}"
    alone = base == "labels_alone"
    rival = "" if alone else ", compared with your labels and unlabelled texts without a teacher"
    if change.low <= 0:
        effect = "brought no gain beyond noise" if change.high >= 0 else "made the student worse"
        result = (
            f"The teacher's {count} labels {effect}{rival}: {metric} is {before:.2f} without them and"
            f" {after:.2f} with them ({where}; {span})"
        )
    else:
        result = (
            f"The teacher's {count} labels raised {metric} from {before:.2f} to {after:.2f}{rival}"
            f" ({where}; {span})"
        )
    if equal is not None and change.low > 0:
        least = "at least " if equal > scores["random"]["teacher_labels"] else ""  # `worth` extrapolates
        result += f"; they were worth {least}as much as about {equal} labels of random texts"
    if "all" in scores:
        every = scores["all"]
        result += f". With all {every['teacher_labels']} paid labels, {metric} is {every['score']:.2f}"
    return result + "."
