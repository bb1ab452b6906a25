"""Summarise the methods benchmark: each arm against its control over all tasks, paired by task and seed."""

from collections import defaultdict
from collections.abc import Sequence
from statistics import mean, stdev

from common.arms import CONTROLS
from common.table import Compare, Result, at_equal_tokens, holm, promoted


def print_summary(results: Sequence[Result]) -> None:
    """Print a table per student and setting. Gaps are means ± standard errors over tasks and seeds."""
    groups: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for r in results:
        if "by_round" in r:
            groups[r["student"], r["setting"]].append(r)
    for (student, setting), found in sorted(groups.items()):
        print(f"\n### All tasks: {student} student, teacher {setting}\n")
        print("| arm | control | cells | gap, gate | gap, test | p < 0.05 on | at equal tokens | tokens |")
        print("|---|---|---|---|---|---|---|---|")
        by = {(r["arm"], r["task"], r["seed"]): r for r in found}
        for arm, control in CONTROLS.items():
            pairs = [
                (r, by[control, r["task"], r["seed"]])
                for r in found
                if r["arm"] == arm and (control, r["task"], r["seed"]) in by
            ]
            if pairs:
                print(f"| {arm} | {control} | {len(pairs)} | {' | '.join(_row(pairs))} |")


def _row(pairs: Sequence[tuple[Result, Result]]) -> list[str]:
    tasks = sorted({one["task"] for one, _ in pairs})
    won = _tasks_won(pairs, tasks)
    ratio = mean(sum(one["tokens"]) / sum(other["tokens"]) for one, other in pairs)
    return [
        _gap(pairs, lambda a, b: (_gate(a), _gate(b))),
        _gap(pairs, lambda a, b: (a["test"], b["test"])),
        f"{won} of {len(tasks)}",
        _gap(pairs, at_equal_tokens),
        f"× {ratio:.2f}",
    ]


def _gate(result: Result) -> float:
    """Return the gate score of the student that a user would get."""
    return promoted({**result, "by_round": result["gate"]})[-1]


def _gap(pairs: Sequence[tuple[Result, Result]], scores: Compare) -> str:
    """Return the mean difference ± its standard error over cells."""
    gaps = [a - b for a, b in (scores(*pair) for pair in pairs)]
    return f"{mean(gaps):+.3f} ± {stdev(gaps) / len(gaps) ** 0.5:.3f}" if len(gaps) > 1 else f"{gaps[0]:+.3f}"


def _tasks_won(pairs: Sequence[tuple[Result, Result]], tasks: Sequence[str]) -> int:
    """Count the tasks on which the arm is above its control with p < 0.05, corrected by Holm (1979)."""
    from scipy.stats import ttest_rel

    found: dict[str, float] = {}
    above = set()
    for task in tasks:
        mine, theirs = zip(*((a["test"], b["test"]) for a, b in pairs if a["task"] == task), strict=True)
        if len(mine) > 1 and mine != theirs:
            found[task] = float(ttest_rel(mine, theirs).pvalue)
            above |= {task} if mean(mine) > mean(theirs) else set()
    return sum(p < 0.05 for task, p in holm(found).items() if task in above)
