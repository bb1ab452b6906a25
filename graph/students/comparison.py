"""The comparison at the end of a run: students trained with the teacher's labels against students without."""

import json
from collections.abc import Mapping
from typing import NotRequired, TypedDict

from tutelage.graph.context import RunContext
from tutelage.graph.report.run_section import named
from tutelage.graph.students.predictions import evaluation, example_statistics
from tutelage.student.evaluation.gains import Gain, gain, interval, score, worth
from tutelage.student.tasks.user_functions import title

NAMES = {
    "own": "your labels alone",
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
    path = ctx.folder.path / "sealed" / "arms.json"
    if not path.exists():
        return None
    trained = json.loads(path.read_text(encoding="utf-8"))
    if ctx.splits.test:
        stored = {one["name"]: f"arm-{one['name']}" for one in trained}
        return _comparison(ctx, trained, stored, "test")
    if ctx.splits.gate and best:
        chosen = next((one for one in trained if one["name"] == "chosen"), None)
        if chosen:
            return _comparison(ctx, [trained[0], chosen], {"own": 0, "chosen": best}, "gate")
    return None


def _comparison(
    ctx: RunContext, trained: list[dict[str, int | str]], stored: Mapping[str, int | str], set_name: str
) -> Comparison:
    task_type, labels, metric = ctx.task.type, ctx.labels, ctx.task.metric
    statistics = {name: example_statistics(ctx, place, set_name) for name, place in stored.items()}
    # Gains are relative to the better student without a teacher: the worse one would flatter the teacher.
    base = max(
        (name for name in ("own", "self_trained") if name in statistics),
        key=lambda name: score(task_type, statistics[name], labels, metric),
    )
    arms, gains = [], dict[str, Gain]()
    for one in trained:
        name, count = str(one["name"]), int(one["teacher_labels"])
        low, high = interval(task_type, statistics[name], labels, metric)
        arm = ArmScore(
            name=name,
            title=_title(ctx, name, count),
            rows=int(one["rows"]) - count - int(one["soft"]),
            teacher_labels=count,
            unlabelled=int(one["soft"]) if set_name == "test" else 0,  # fold students learn from none
            score=evaluation(ctx, stored[name], set_name)["metric"],
            low=low,
            high=high,
            delivered=set_name == "test" and one is trained[-1],
        )
        if count:
            gains[name] = gain(task_type, statistics[base], statistics[name], labels, metric)
            arm["gain"] = [gains[name].difference, gains[name].low, gains[name].high]
        arms.append(arm)
    scores = {arm["name"]: arm for arm in arms}
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
        arms=arms,
        worth=equal,
        sentence=_sentence(named(metric), scores, base, gains, equal, where),
    )


def _title(ctx: RunContext, name: str, count: int) -> str:
    if name == "own" and ctx.folder.first_labels.exists():
        return "the teacher's first labels alone"
    return NAMES[name].format(count)


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
    rival = "" if base == "own" else ", compared with your labels and unlabelled texts without a teacher"
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
