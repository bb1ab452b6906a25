"""Print the tables of the value benchmark: scores by data set, and gains with intervals."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import sqrt
from statistics import mean, stdev
from typing import Any, get_args

from common.cells import Cell
from common.table import holm
from tutelage.student.selection import Selection

Scores = dict[tuple[str, int], float]  # by data set and seed

SINGLE = tuple(how for how in get_args(Selection) if how not in ("random", "disagreement"))

# An arm and its rival: what the user would do without it at the same spend.
RIVALS = (
    ("random", "own"),
    ("entropy", "random"),
    ("least_confidence", "random"),
    ("margin", "random"),
    ("energy", "random"),
    ("typical", "random"),
    ("uncertain_and_diverse", "random"),
    ("balanced", "random"),
    ("typical_and_uncertain", "random"),
    ("randomised", "random"),
    ("self-trained", "own"),
    ("adapted", "random"),
    ("setfit", "own"),
    ("small-text", "random"),
    ("auto: self_trained", "auto: labels_alone"),
    ("auto: random", "auto: labels_alone"),
    ("auto: chosen", "auto: random"),
    ("auto diverse: chosen", "auto diverse: random"),
    ("auto balanced: chosen", "auto balanced: random"),
    ("auto", "auto: labels_alone"),
    ("auto", "gold"),
    ("auto: chosen", "small-text"),
    ("auto writing", "random writing"),
    ("evokd", "random writing"),
    ("gold method", "random writing"),
    ("random writing", "auto: labels_alone"),
    ("llkd", "random"),
    ("llkd ask first", "random"),
    ("ksm", "random"),
    ("whole pool", "gold"),
)


def print_tables(results: Sequence[Cell], rivals: Sequence[tuple[str, str]] = RIVALS) -> None:
    """Print two tables per student and setting: the scores, and the gain of each arm over its rival."""
    groups: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    results = [found for found in results if "error" not in found]
    for found in results:
        groups[found["student"], found["setting"]] += _with_comparison(found)
    for (student, setting), found in sorted(groups.items()):
        by_arm: dict[str, Scores] = defaultdict(dict)
        for one in found:
            by_arm[one["arm"]][one["task"], one["seed"]] = one["test"]
        tasks = list(dict.fromkeys(one["task"] for one in found))
        print(f"\n### {student} student, {setting}\n")
        print(f"| arm | {' | '.join(tasks)} | tokens |\n|---{'|---' * len(tasks)}|---|")
        for arm, scores in by_arm.items():
            spent = [one["tokens"] for one in found if one["arm"] == arm and "tokens" in one]
            tokens = f"{mean(spent):,.0f}" if spent and len(spent) == len(scores) else ""
            print(f"| {arm} | {' | '.join(_cell(scores, task) for task in tasks)} | {tokens} |")
        print("\n| arm | rival | pairs | gain | 95 % | p | ahead, p < 0.05 |\n|---|---|---|---|---|---|---|")
        for arm, rival in rivals:
            if row := _gain(by_arm.get(arm, {}), by_arm.get(rival, {})):
                print(f"| {arm} | {rival} | {' | '.join(row)} |")
    _print_needed([one for found in results for one in _with_comparison(found)])


def _print_needed(results: Sequence[Cell]) -> None:
    """Print the number of random labels that give the same score as the labels of an arm, where random labels
    were measured at two sizes or more: by straight lines between the mean scores over seeds.
    """
    groups: dict[tuple[Any, ...], list[Cell]] = defaultdict(list)
    for one in results:
        if regime := one.get("regime"):
            groups[one["student"], regime["own"], regime["errors"], regime["long_tailed"]].append(one)
    for (student, own, errors, long_tailed), found in sorted(groups.items()):
        scores: dict[tuple[str, str, int], list[float]] = defaultdict(list)
        for one in found:
            count = 0 if one["arm"] == "own" else one["regime"]["labels"]
            scores[one["arm"], one["task"], count].append(one["test"])
        curves: dict[str, dict[int, float]] = defaultdict(dict)
        for (arm, task, count), values in scores.items():
            if arm in ("own", "random"):
                curves[task][count] = mean(values)
        # Arms that buy this number of labels; a run of auto delivers a student of twice as many.
        bought = {
            arm for arm, _, _ in scores if arm in SINGLE or arm.endswith(": chosen") or arm == "small-text"
        }
        curves = {task: curve for task, curve in curves.items() if len(curve) > 2}
        rows = {
            (arm, count): [
                _needed(curves[task], mean(scores[arm, task, count])) if (arm, task, count) in scores else ""
                for task in curves
            ]
            for arm, count in sorted({(arm, count) for arm, _, count in scores})
            if count and arm in bought
        }
        if curves:
            tail = ", long tail" if long_tailed else ""
            print(f"\n### Random labels for the same score: {student}, own {own}, errors {errors} %{tail}\n")
            print(f"| arm | labels | {' | '.join(curves)} |\n|---|---{'|---' * len(curves)}|")
            for (arm, count), row in rows.items():
                if any(row):
                    print(f"| {arm} | {count} | {' | '.join(row)} |")


def _needed(curve: dict[int, float], score: float) -> str:
    """Return the number of random labels at which the curve reaches the score."""
    points = sorted(curve.items())
    if score <= points[0][1]:
        return "0"
    for (before, low), (after, high) in pairwise(points):
        if score <= high:
            return f"{before + (after - before) * (score - low) / (high - low):.0f}"
    return f"> {points[-1][0]}"


def _with_comparison(found: Cell) -> Iterator[dict[str, Any]]:
    """Yield a result and, as further arms, the students of the run's own comparison."""
    yield found
    for name, score in found.get("arms", {}).items():
        yield {**found, "arm": f"{found['arm']}: {name}", "test": score}


def _cell(scores: Scores, task: str) -> str:
    """Return the mean score over seeds, with the standard deviation where there are several."""
    values = [score for (name, _), score in scores.items() if name == task]
    if not values:
        return ""
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def _gain(mine: Scores, rival: Scores) -> list[str]:
    """Return the mean difference over data sets and seeds, its 95 % interval and p-value (paired t-test), and
    the number of data sets on which the arm is ahead with p < 0.05 (the same test over seeds, corrected by
    Holm 1979).
    """
    from scipy.stats import t, ttest_1samp

    pairs = sorted(mine.keys() & rival.keys())
    if not pairs:
        return []
    gaps = [mine[pair] - rival[pair] for pair in pairs]
    if len(gaps) < 2 or len(set(gaps)) < 2:
        return [str(len(gaps)), f"{mean(gaps):+.3f}", "", "", ""]
    half = float(t.ppf(0.975, len(gaps) - 1)) * stdev(gaps) / sqrt(len(gaps))
    p_values, ahead = {}, set()
    for task in sorted({task for task, _ in pairs}):
        own = [gap for gap, (name, _) in zip(gaps, pairs, strict=True) if name == task]
        if len(own) > 1 and len(set(own)) > 1:
            p_values[task] = float(ttest_1samp(own, 0).pvalue)
            ahead |= {task} if mean(own) > 0 else set()
    won = sum(p < 0.05 for task, p in holm(p_values).items() if task in ahead)
    return [
        str(len(gaps)),
        f"{mean(gaps):+.3f}",
        f"{mean(gaps) - half:+.3f} to {mean(gaps) + half:+.3f}",
        f"{float(ttest_1samp(gaps, 0).pvalue):.3f}",
        f"{won} of {len(p_values)}" if p_values else "",
    ]
