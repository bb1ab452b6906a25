"""The comparison: what the teacher's labels were worth, beside what the user would have had without them."""

import json
from collections.abc import Mapping
from typing import NotRequired, TypedDict

from tutelage.graph.context import Workshop
from tutelage.graph.report.run_section import named
from tutelage.graph.students.predictions import graded, marks
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
    """A student of the comparison: how many of the user's own rows it learnt, how many texts with the
    teacher's label and how many unlabelled ones. `low` and `high` are the ends of the 95 % interval of its
    score; `gain` is the difference to the student that saw no teacher, with its interval, and missing without
    teacher labels.
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
    """What a run gained: `measured_on` is `test` or, without a test set, `out of fold` (with separate sets:
    `gate`). `worth` is how many random labels would have brought as much as the chosen ones, None where
    random ones brought no gain beyond noise.
    """

    metric: str
    measured_on: str
    arms: list[ArmScore]
    worth: int | None
    sentence: str


def compare(shop: Workshop, best: int) -> Comparison | None:
    """Compare the student that the run leaves with those of the user's labels alone, and of labels drawn at
    random; on test or, without a test set, out of fold.

    Returns:
        None where no student is refitted, or nothing is held out.
    """
    path = shop.folder.path / "sealed" / "arms.json"
    if not path.exists():
        return None
    told = json.loads(path.read_text(encoding="utf-8"))
    if shop.splits.test:
        stored = {one["name"]: f"arm-{one['name']}" for one in told}
        return _comparison(shop, told, stored, "test")
    if shop.splits.gate and best:
        chosen = next((one for one in told if one["name"] == "chosen"), None)
        if chosen:
            return _comparison(shop, [told[0], chosen], {"own": 0, "chosen": best}, "gate")
    return None


def _comparison(
    shop: Workshop, told: list[dict[str, int | str]], stored: Mapping[str, int | str], exam: str
) -> Comparison:
    kind, labels, metric = shop.task.form, shop.labels, shop.task.metric
    statistics = {name: marks(shop, place, exam) for name, place in stored.items()}
    # The better of the students without a teacher: a gain over the worse one would flatter the teacher.
    base = max(
        (name for name in ("own", "self_trained") if name in statistics),
        key=lambda name: score(kind, statistics[name], labels, metric),
    )
    arms, gains = [], dict[str, Gain]()
    for one in told:
        name, count = str(one["name"]), int(one["teacher_labels"])
        low, high = interval(kind, statistics[name], labels, metric)
        arm = ArmScore(
            name=name,
            title=_title(shop, name, count),
            rows=int(one["rows"]) - count - int(one["soft"]),
            teacher_labels=count,
            unlabelled=int(one["soft"]) if exam == "test" else 0,  # fold students learn no such texts
            score=graded(shop, stored[name], exam)["metric"],
            low=low,
            high=high,
            delivered=exam == "test" and one is told[-1],
        )
        if count:
            gains[name] = gain(kind, statistics[base], statistics[name], labels, metric)
            arm["gain"] = [gains[name].difference, gains[name].low, gains[name].high]
        arms.append(arm)
    scores = {arm["name"]: arm for arm in arms}
    equal = None
    if "chosen" in scores and "random" in scores and gains["random"].low > 0:
        drawn = scores["random"]
        equal = worth(
            scores[base]["score"], drawn["score"], scores["chosen"]["score"], drawn["teacher_labels"]
        )
    where = exam if exam == "test" or not shop.splits.folded else "out of fold"
    return Comparison(
        metric=title(metric),
        measured_on=where,
        arms=arms,
        worth=equal,
        sentence=_sentence(named(metric), scores, base, gains, equal, where),
    )


def _title(shop: Workshop, name: str, count: int) -> str:
    if name == "own" and shop.folder.first_labels.exists():
        return "the first labels alone (the teacher's)"
    return NAMES[name].format(count)


def _sentence(
    metric: str,
    scores: dict[str, ArmScore],
    base: str,
    gains: dict[str, Gain],
    equal: int | None,
    where: str,
) -> str:
    """Say in plain words what the teacher's labels brought."""
    before = scores[base]["score"]
    if "chosen" not in scores:
        return f"No teacher label was kept: {NAMES[base]} reach {metric} {before:.2f} ({where})."
    count, after, found = scores["chosen"]["teacher_labels"], scores["chosen"]["score"], gains["chosen"]
    span = f"95 % interval of the gain {found.low:.2f} to {found.high:.2f}"
    start = "" if base == "own" else " over what your labels and unlabelled texts bring without a teacher"
    if found.low <= 0:
        brought = "brought no gain beyond noise" if found.high >= 0 else "did harm"
        result = (
            f"The teacher's {count} labels {brought}{start}: {metric} {before:.2f} without them,"
            f" {after:.2f} with them ({where}; {span})"
        )
    else:
        result = (
            f"The teacher's {count} labels raised {metric} from {before:.2f} to {after:.2f}{start}"
            f" ({where}; {span})"
        )
    if equal is not None and found.low > 0:
        least = "at least " if equal > scores["random"]["teacher_labels"] else ""  # beyond the line's data
        result += f"; chosen labels were worth {least}as much as about {equal} random ones"
    if "all" in scores:
        every = scores["all"]
        result += f". With all {every['teacher_labels']} labels that were paid for it is {every['score']:.2f}"
    return result + "."
