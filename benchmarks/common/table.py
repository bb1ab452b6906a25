"""Print the tables of the methods benchmark: means over seeds, paired tests, learning curves."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from math import inf
from statistics import mean, median, stdev
from typing import Any

from common.arms import CONTROLS

Result = dict[str, Any]
Runs = dict[int, Result]  # by seed
Compare = Callable[[Result, Result], tuple[float, float]]


def print_tables(results: Sequence[Result], upper: str) -> None:
    """Print one table per student and teacher setting, with each arm of a task against its control."""
    groups: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for r in results:
        if "error" not in r:
            groups[r["student"], r["setting"]].append(r)
    for (student, setting), found in sorted(groups.items()):
        print(f"\n### {student} student, teacher {setting}\n")
        head = "arm|task|seeds|untouched|seeds only|final|area|to 90 %|to 95 %|tokens|control|gap|p|p (Holm)"
        print(f"| {' | '.join([*head.split('|'), 'gap at equal tokens', 'p'])} |\n{'|---' * 16}|")
        for row in rows_of(found, upper):
            print(f"| {' | '.join(row)} |")


def rows_of(found: Sequence[Result], upper: str) -> list[list[str]]:
    """Return the rows of one table, arm by arm. Holm's correction is over the tasks of an arm."""
    arms: dict[str, dict[str, Runs]] = defaultdict(lambda: defaultdict(dict))
    for r in found:
        arms[r["arm"]][r["task"]][r["seed"]] = r
    bounds = {task: mean(r["test"] for r in runs.values()) for task, runs in arms.get(upper, {}).items()}
    rows = []
    for arm, tasks in sorted(arms.items(), key=lambda item: (item[0] != upper, CONTROLS.get(item[0], ""))):
        if arm == upper:
            rows += [[arm, task, *_scores(runs), *[""] * 10] for task, runs in sorted(tasks.items())]
            continue
        control = CONTROLS[arm]
        rivals = {task: arms.get(control, {}).get(task, {}) for task in tasks}
        tests = {task: paired(runs, rivals[task]) for task, runs in tasks.items() if control}
        adjusted = holm({task: p for task, (_, p) in tests.items() if p is not None})
        for task, runs in sorted(tasks.items()):
            gap, p = tests.get(task, (None, None))
            even = paired(runs, rivals[task], at_equal_tokens) if control else (None, None)
            row = [arm, task, *_curve(list(runs.values()), bounds.get(task)), control]
            row += [_signed(gap), _p(p), _p(adjusted.get(task)), _signed(even[0]), _p(even[1])]
            rows.append(row)
    return rows


def _scores(runs: Runs) -> list[str]:
    return [str(len(runs)), "", "", spread([r["test"] for r in runs.values()])]


def _curve(runs: list[Result], bound: float | None) -> list[str]:
    start = [spread([r["untouched"] for r in runs]), spread([r["by_round"][0] for r in runs])]
    final = [spread([r["test"] for r in runs]), spread([area(r) for r in runs])]
    goals = [reach(runs, share * bound) if bound else "" for share in (0.9, 0.95)]
    return [str(len(runs)), *start, *final, *goals, f"{mean(sum(r['tokens']) for r in runs):.0f}"]


def _signed(gap: float | None) -> str:
    return "" if gap is None else f"{gap:+.3f}"


def _p(p: float | None) -> str:
    return "" if p is None else f"{p:.3f}"


def paired(ours: Runs, control: Runs, scores: Compare | None = None) -> tuple[float | None, float | None]:
    """Return the mean difference over shared seeds and the p-value of a paired t-test, each None if unknown.
    `scores` returns the two scores to compare of a pair of runs; by default the final test scores.
    """
    from scipy.stats import ttest_rel

    seeds = sorted(set(ours) & set(control))
    if not seeds:
        return None, None
    compare = scores or (lambda a, b: (a["test"], b["test"]))
    mine, theirs = zip(*(compare(ours[seed], control[seed]) for seed in seeds), strict=True)
    gap = mean(mine) - mean(theirs)
    if len(seeds) < 2 or mine == theirs:
        return gap, None
    return gap, float(ttest_rel(mine, theirs).pvalue)


def at_equal_tokens(one: Result, other: Result) -> tuple[float, float]:
    """Return both scores at the total number of tokens of the cheaper run."""
    tokens = min(sum(one["tokens"]), sum(other["tokens"]))
    return score_at(one, tokens, "tokens"), score_at(other, tokens, "tokens")


def promoted(result: Result) -> list[float]:
    """Return by round the score of the student that a user would get: a rollback keeps the earlier score."""
    scores: list[float] = []
    for score, accepted in zip(result["by_round"], result["accepted"], strict=True):
        scores.append(score if accepted or not scores else scores[-1])
    return scores


def score_at(result: Result, budget: float, unit: str) -> float:
    """Return the score at a budget of `unit`, `tokens` or `kept` samples, by linear interpolation between
    rounds; the last score if less was spent in total.
    """
    scores, steps = promoted(result), result[unit]
    spent = float(steps[0])
    for low, high, step in zip(scores[:-1], scores[1:], steps[1:], strict=True):
        if step and spent + step >= budget:
            return float(low + (high - low) * max(0.0, budget - spent) / step)
        spent += step
    return float(scores[-1])


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Return p-values with Holm's step-down correction for their number (Holm 1979)."""
    result, highest = {}, 0.0
    for rank, (name, value) in enumerate(sorted(p.items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, (len(p) - rank) * value))
        result[name] = highest
    return result


def area(result: Result) -> float:
    """Return the mean test score over labelled samples: the trapezoidal area divided by the samples."""
    scores, steps = promoted(result), result["kept"][1:]
    if not sum(steps):
        return float(scores[-1])
    parts = [(a + b) / 2 * n for a, b, n in zip(scores, scores[1:], steps, strict=False)]
    return sum(parts) / sum(steps)


def labels_to(result: Result, goal: float) -> float | None:
    """Return the labelled samples at which the score first reaches a goal, by linear interpolation between
    rounds; None if it never does.
    """
    bought = 0.0
    scores = promoted(result)
    for i, score in enumerate(scores):
        step = result["kept"][i] if i else 0
        if score >= goal:
            before = scores[i - 1] if i else score
            part = 1.0 if score == before else (goal - before) / (score - before)
            return bought + step * (part if i else 0)
        bought += step
    return None


def reach(results: Sequence[Result], goal: float) -> str:
    """Return the median over seeds of the labels to a goal; a seed that never reached it is infinite."""
    found = [n for r in results if (n := labels_to(r, goal)) is not None]
    middle = median([*found, *[inf] * (len(results) - len(found))])
    shown = "not reached" if middle == inf else f"{middle:.0f}"
    return shown if len(found) in (0, len(results)) else f"{shown} ({len(found)} of {len(results)})"


def spread(values: Sequence[float]) -> str:
    """Return the mean ± standard deviation as text."""
    return f"{mean(values):.3f} ± {stdev(values):.3f}" if len(values) > 1 else f"{values[0]:.3f}"
