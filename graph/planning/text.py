"""A plan in words and figures, for people."""

from collections import defaultdict
from collections.abc import Callable, Sequence

from rich.table import Table
from tutelage.graph.planning.plan import FREE, Expected, Limit, Plan

_STANDS_IN = {
    "analyst": "which texts are wrong, and the report, are made up: no student is trained yet",
    "generator": "what is said of weaknesses is made up: no student is trained yet",
    "labeler": "texts of yours stand in where texts will be written",
    "critic": "texts of yours, with your labels, stand in for those that will be written and labelled",
}


def plan_table(plan: Plan) -> Table:
    """What is expected of each role and in all, from low to high."""
    rounds = "1 round" if plan["rounds"] == 1 else f"{plan['rounds']} rounds"
    table = Table(title=f"{plan['task']}: {rounds} of {plan['strategy']}, from low to high")
    for heading in ("role", "calls", "prompt tokens", "completion tokens", "cost"):
        table.add_column(heading, justify="left" if heading == "role" else "right")
    for role, part in plan["roles"].items():
        table.add_row(role, *_cells(part))
    table.add_section()
    table.add_row("in all", *_cells(plan["total"]))
    return table


def plan_words(plan: Plan) -> list[str]:
    """Which models at which prices, what the budget allows, and what the figures include; a line each."""
    asking = defaultdict(list)
    for role, part in plan["roles"].items():
        price = part["price"]
        told = "price unknown" if price is None else str(price["source"])
        if price and price["source"] != FREE:
            told = (
                f"per million tokens {price['prompt']:g} prompt, {price['completion']:g} completion ({told})"
            )
        asking[part["model"], told].append(role)
    models = [f"{model} ({', '.join(roles)}): {told}" for (model, told), roles in asking.items()]
    several = len(plan["budget"]) > 1
    limits = [_limit(name, limit, plan["stages"], several) for name, limit in plan["budget"].items()]
    return [*models, *(limits or ["budget: no limit but its rounds"]), *plan["notes"]]


def prompt_words(plan: Plan) -> list[str]:
    """One complete prompt of each role, under a heading."""
    lines = []
    for role, prompt in plan["prompts"].items():
        lines += [f"\n━━ {role} ━━ a complete prompt ({_STANDS_IN[role]})"]
        lines += [f"\n── {part} ──\n{prompt[part]}" for part in ("system", "user")]
    return lines


def _cells(expected: Expected) -> list[str]:
    cost = expected["cost"]
    return [
        _span("{:,}".format, expected["calls"]),
        _span(_rounded, expected["prompt_tokens"]),
        _span(_rounded, expected["completion_tokens"]),
        "unknown" if cost is None else _span(_money, cost),
    ]


def _span(shown: Callable[[float], str], ends: Sequence[float]) -> str:
    low, high = map(shown, ends)
    return low if low == high else f"{low} - {high}"


def _rounded(value: float) -> str:
    """To two digits: more would pretend to be known."""
    return f"{float(f'{value:.2g}'):,.0f}"


def _money(value: float) -> str:
    return f"{value:.2g}" if value < 1 else f"{value:,.2f}" if value < 100 else _rounded(value)


def _limit(name: str, limit: Limit, stages: Sequence[str], several: bool) -> str:
    """When one limit, or one of several, is reached."""
    early, late = (None if at is None else f"in {stages[at]}" for at in (limit["earliest"], limit["latest"]))
    if early is None:
        told = "is enough"
    elif early == late:
        told = f"is reached {early}"
    else:
        told = f"is reached {early} at the earliest, {f'{late} at the latest' if late else 'or not at all'}"
    first = ", before any other" if limit["first"] and several else ""
    return f"budget: `{name}: {limit['limit']:,.10g}` {told}{first}"
