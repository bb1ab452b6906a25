"""Format a plan for people: a table, lines of text, and the prompts."""

from collections import defaultdict
from collections.abc import Callable, Sequence

from rich.table import Table
from tutelage.graph.planning.plan import FREE, Expected, Limit, Plan

_STANDS_IN = {
    "analyst": "its wrong answers and its report are made up, since no student is trained yet",
    "generator": "its weaknesses are made up, since no student is trained yet",
    "labeler": "some of your texts stand in for those that will be written",
    "critic": "some of your labelled texts stand in for those that will be written and labelled",
}


def plan_table(plan: Plan) -> Table:
    """Return the estimates for each role and in total, from low to high, as a table."""
    rounds = "1 round" if plan["rounds"] == 1 else f"{plan['rounds']} rounds"
    table = Table(title=f"{plan['task']}: {rounds} of {plan['strategy']}, from low to high")
    for heading in ("role", "calls", "prompt tokens", "completion tokens", "cost"):
        table.add_column(heading, justify="left" if heading == "role" else "right")
    for role, part in plan["roles"].items():
        table.add_row(role, *_cells(part))
    table.add_section()
    table.add_row("total", *_cells(plan["total"]))
    return table


def plan_lines(plan: Plan) -> list[str]:
    """Return lines on the models and their prices, the limits of the budget, and the plan's notes."""
    roles_of = defaultdict(list)
    for role, part in plan["roles"].items():
        price = part["price"]
        words = "price unknown" if price is None else str(price["source"])
        if price and price["source"] != FREE:
            rates = f"{price['prompt']:g} prompt, {price['completion']:g} completion"
            words = f"per million tokens {rates} ({words})"
        roles_of[part["model"], words].append(role)
    models = [f"{model} ({', '.join(roles)}): {words}" for (model, words), roles in roles_of.items()]
    several = len(plan["budget"]) > 1
    limits = [_limit(name, limit, plan["stages"], several) for name, limit in plan["budget"].items()]
    return [*models, *(limits or ["budget: no limit except the number of rounds"]), *plan["notes"]]


def prompt_lines(plan: Plan) -> list[str]:
    """Return one complete prompt of each role, each under a heading, as lines."""
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


def _span(format_value: Callable[[float], str], ends: Sequence[float]) -> str:
    low, high = map(format_value, ends)
    return low if low == high else f"{low} - {high}"


def _rounded(value: float) -> str:
    """Format a number with two significant digits; more would suggest a precision that estimates lack."""
    return f"{float(f'{value:.2g}'):,.0f}"


def _money(value: float) -> str:
    return f"{value:.2g}" if value < 1 else f"{value:,.2f}" if value < 100 else _rounded(value)


def _limit(name: str, limit: Limit, stages: Sequence[str], several: bool) -> str:
    """Return one line on when a limit is reached; `several` is whether the budget has other limits too."""
    early, late = (None if at is None else f"in {stages[at]}" for at in (limit["earliest"], limit["latest"]))
    if early is None:
        words = "is enough"
    elif early == late:
        words = f"is reached {early}"
    else:
        words = f"is reached {early} at the earliest, {f'{late} at the latest' if late else 'or not at all'}"
    first = ", before any other" if limit["first"] and several else ""
    return f"budget: `{name}: {limit['limit']:,.10g}` {words}{first}"
