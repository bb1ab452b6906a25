"""Tables of the methods benchmark: means over seeds, paired tests, learning curves."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from methods_arms import CONTROLS

Result = dict[str, Any]


def print_tables(results: Sequence[Result], upper: str) -> None:
    """One table for each student and setting: arms of each task against their control."""
    good = [r for r in results if "error" not in r]
    groups: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for r in good:
        groups[r["student"], r["setting"]].append(r)
    for (student, setting), found in sorted(groups.items()):
        print(f"\n### {student} student, teacher {setting}\n")
        print("| task | arm | seeds | final | area | - control | p | p (Holm) | to 90 % | to 95 % | tokens |")
        print("|---|---|---|---|---|---|---|---|---|---|---|")
        for task in sorted({r["task"] for r in found}):
            for row in rows_of([r for r in found if r["task"] == task], upper):
                print(f"| {task} | {' | '.join(row)} |")


def rows_of(found: Sequence[Result], upper: str) -> list[list[str]]:
    """One task's rows."""
    arms: dict[str, dict[int, Result]] = defaultdict(dict)
    for r in found:
        arms[r["arm"]][r["seed"]] = r
    bound = mean(r["test"] for r in arms[upper].values()) if upper in arms else None
    tests = {arm: paired(runs, arms.get(CONTROLS.get(arm, ""), {})) for arm, runs in arms.items()}
    known = {arm: p for arm, (_, p) in tests.items() if p is not None and CONTROLS.get(arm) != arm}
    adjusted = holm(known)
    rows = []
    for arm, runs in arms.items():
        gap, p = tests[arm] if CONTROLS.get(arm) != arm else (None, None)
        row = [arm, str(len(runs)), spread([r["test"] for r in runs.values()])]
        if arm == upper:
            rows.append([*row, *[""] * 7])
            continue
        row += [spread([area(r) for r in runs.values()])]
        row += ["" if gap is None else f"{gap:+.3f}", "" if p is None else f"{p:.3f}"]
        row += [f"{adjusted[arm]:.3f}" if arm in adjusted and gap is not None else ""]
        row += [reach(list(runs.values()), share * bound) if bound else "" for share in (0.9, 0.95)]
        rows.append([*row, f"{mean(sum(r['tokens']) for r in runs.values()):.0f}"])
    return rows


def paired(ours: Mapping[int, Result], control: Mapping[int, Result]) -> tuple[float | None, float | None]:
    """(mean difference of the final scores over shared seeds, p of a paired t-test), None where unknown."""
    from scipy.stats import ttest_rel

    seeds = sorted(set(ours) & set(control))
    if not seeds:
        return None, None
    mine, theirs = ([side[seed]["test"] for seed in seeds] for side in (ours, control))
    gap = mean(mine) - mean(theirs)
    if len(seeds) < 2 or mine == theirs:
        return gap, None
    return gap, float(ttest_rel(mine, theirs).pvalue)


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction for as many tests as there are arms (Holm 1979)."""
    result, highest = {}, 0.0
    for rank, (arm, value) in enumerate(sorted(p.items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, (len(p) - rank) * value))
        result[arm] = highest
    return result


def area(result: Result) -> float:
    """Area under test score over labelled samples, by trapezoids, divided by the samples: a mean score."""
    scores, steps = result["by_round"], result["kept"][1:]
    if not sum(steps):
        return float(scores[-1])
    parts = [(a + b) / 2 * n for a, b, n in zip(scores, scores[1:], steps, strict=False)]
    return sum(parts) / sum(steps)


def labels_to(result: Result, goal: float) -> float | None:
    """Labelled samples until the score first reaches a goal, rounds joined by lines; None if never."""
    bought = 0.0
    for i, score in enumerate(result["by_round"]):
        step = result["kept"][i] if i else 0
        if score >= goal:
            before = result["by_round"][i - 1] if i else score
            part = 1.0 if score == before else (goal - before) / (score - before)
            return bought + step * (part if i else 0)
        bought += step
    return None


def reach(results: Sequence[Result], goal: float) -> str:
    """Median of the labels to a goal over seeds, with how many reached it."""
    found = sorted(n for r in results if (n := labels_to(r, goal)) is not None)
    if not found:
        return "not reached"
    told = f"{found[len(found) // 2]:.0f}"
    return told if len(found) == len(results) else f"{told} ({len(found)} of {len(results)})"


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation."""
    return f"{mean(values):.3f} ± {stdev(values):.3f}" if len(values) > 1 else f"{values[0]:.3f}"
