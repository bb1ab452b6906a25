"""Print the table of the replays: which samples were chosen, and how often the teacher was right."""

from collections import defaultdict
from collections.abc import Sequence

from common.cells import Cell
from common.table import score_at, spread

BUDGETS = (100, 250, 500, 1000)


def print_choices(results: Sequence[Cell]) -> None:
    """Print what each arm chose, and its scores at fixed numbers of labels."""
    groups: dict[tuple[str, ...], list[Cell]] = defaultdict(list)
    for r in results:
        if "by_round" in r:
            groups[r["student"], r["task"], r["arm"]].append(r)
    head = ["student", "task", "arm", "seeds", *(f"at {n}" for n in BUDGETS)]
    head += ["teacher right", "on used", "on unused", "unique", "back-propagated", "by GPT-4"]
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for place, runs in groups.items():
        row = [*place, str(len(runs))]
        row += [_mean([score_of(r, n) for r in runs]) for n in BUDGETS]
        fields = ("right", "right_used", "right_unused", "unique", "backpropagated")
        row += [_mean([r.get(field) for r in runs]) for field in fields]
        print(f"| {' | '.join([*row, _mean([share_of(r, 'gpt-4') for r in runs])])} |")


def score_of(result: Cell, labels: int) -> float | None:
    """Return the score at a number of labels; None if fewer than 95 % of them were bought (near-duplicates
    are not bought).
    """
    return score_at(result, labels, "kept") if sum(result["kept"]) >= 0.95 * labels else None


def share_of(result: Cell, author: str) -> float | None:
    """Return the share of the chosen texts that a model wrote."""
    total = sum(result["authors"].values())
    return result["authors"].get(author, 0) / total if total else None


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return spread(known) if len(known) == len(values) else ""
