"""The plan: what a task would ask and cost, from low to high, before anything is spent or reached."""

from typing import TypedDict

import numpy as np
from tutelage.agents.endpoints.batch import DISCOUNT
from tutelage.graph.planning.requests import Outlook
from tutelage.graph.planning.usage import Loads, stage_names, stages
from tutelage.graph.strategies import Strategy
from tutelage.graph.task.schema import Task
from tutelage.graph.task.splits import load_splits
from tutelage.prompts import ROLES, render

FREE = "it runs here, and costs nothing"


class Expected(TypedDict):
    """What is expected, each from low to high; `cost` is None where a price is unknown."""

    calls: list[int]
    prompt_tokens: list[int]
    completion_tokens: list[int]
    cost: list[float] | None


class Part(Expected):
    """What is expected of one role; `price` is per million tokens, None where it is unknown."""

    model: str
    price: dict[str, float | str] | None


class Limit(TypedDict):
    """A limit of the budget, and the stages (their places in `Plan.stages`) in which the high and the low end
    reach it; None is in none. `first`: no other limit is reached before it.
    """

    limit: float
    earliest: int | None
    latest: int | None
    first: bool


class Plan(TypedDict):
    """The plan of a run; a role that is not asked is not there. `stages` are the names of what follows one
    after the other: the calibration (or the first labels), the rounds, the control.
    """

    task: str
    strategy: str
    rounds: int
    stages: list[str]
    roles: dict[str, Part]
    total: Expected
    budget: dict[str, Limit]
    notes: list[str]
    prompts: dict[str, dict[str, str]]


def plan(task: Task) -> Plan:
    """What a run of the task would ask of its teacher, and one complete prompt of each role.

    No model is asked or loaded and nothing is written; only the task's data are read.

    Raises:
        InputError: the data do not fit the task.
    """
    splits = load_splits(task)
    ends = [stages(Outlook(task, splits, end)) for end in ("low", "high")]
    example = Outlook(task, splits, "example")
    begin = example.first_labels() or example.calibration()
    first = {ask.role: ask for ask in reversed([*begin, *example.round(example.written(1))])}
    rendered = {role: render(role, first[role].payload, task.prompts) for role in ROLES if role in first}
    asked = [i for i in range(len(ROLES)) if ends[1][:, i].any()]
    return Plan(
        task=task.name,
        strategy=task.resolved_strategy().name,
        rounds=task.budget.rounds,
        stages=stage_names(example),
        roles={ROLES[i]: _part(task, i, ends) for i in asked},
        total=_expected(task, asked, ends),
        budget=_limits(task, asked, ends),
        notes=[*_notes(example, bool(asked)), *splits.notes],
        prompts={role: {"system": system, "user": user} for role, (system, user) in rendered.items()},
    )


def _rates(task: Task) -> Loads:
    """Cost of a prompt token and of a completion token of each role, NaN where it is unknown."""
    rates = []
    for spec in (task.model_specs()[role] for role in ROLES):
        discount = DISCOUNT if task.teacher.batch and spec.speaks_openai else 1.0
        rates.append(discount * np.array([spec.cost(1, 0), spec.cost(0, 1)], np.float64))
    return np.array(rates)


def _spent(task: Task, asked: list[int], loads: Loads) -> dict[str, Loads]:
    """What each stage takes of each limit of a budget."""
    tokens = loads[:, asked, 1:]
    return {
        "calls": loads[:, asked, 0].sum(1),
        "tokens": tokens.sum((1, 2)),
        "money": (tokens * _rates(task)[asked]).sum((1, 2)),
    }


def _expected(task: Task, asked: list[int], ends: list[Loads]) -> Expected:
    totals = [loads[:, asked].sum((0, 1)) for loads in ends]
    calls, prompts, replies = ([int(low), int(np.ceil(high))] for low, high in zip(*totals, strict=True))
    cost = [float(_spent(task, asked, loads)["money"].sum()) for loads in ends]
    unknown = bool(np.isnan(cost[0]))
    return Expected(
        calls=calls, prompt_tokens=prompts, completion_tokens=replies, cost=None if unknown else cost
    )


def _part(task: Task, role: int, ends: list[Loads]) -> Part:
    spec = task.model_specs()[ROLES[role]]
    price = spec.price()
    told: dict[str, float | str] | None = None
    if price:
        source = FREE if spec.in_process else price.source or "task"
        told = {"prompt": price.prompt, "completion": price.completion, "source": source}
    return Part(**_expected(task, [role], ends), model=spec.place, price=told)


def _limits(task: Task, asked: list[int], ends: list[Loads]) -> dict[str, Limit]:
    """When each limit of the task is reached, if it is."""
    low, high = (_committed(task, asked, loads) for loads in ends)
    given = {name: limit for name in high if (limit := getattr(task.budget, name)) is not None}
    at = {name: (_reached(limit, low[name]), _reached(limit, high[name])) for name, limit in given.items()}
    soonest = min((early for _, early in at.values()), default=np.inf)
    return {
        name: Limit(
            limit=given[name],
            earliest=None if early == np.inf else int(early),
            latest=None if late == np.inf else int(late),
            first=early == soonest < np.inf,
        )
        for name, (late, early) in at.items()
    }


def _committed(task: Task, asked: list[int], loads: Loads) -> dict[str, Loads]:
    """What is spent of each limit by the end of each stage, with what the rounds hold back for the labels of
    random texts.
    """
    spent = _spent(task, asked, loads)
    total = {name: of_stages.cumsum() for name, of_stages in spent.items()}
    if not loads[-1].any():  # nothing is compared at random
        return total
    labels = _spent(task, [ROLES.index("labeler")], loads)
    for name, so_far in total.items():
        so_far[1:-1] += labels[name][1:-1].cumsum()
        so_far[-1] = so_far[-2:].max()
    return total


def _reached(limit: float, total: Loads) -> float:
    """The stage that goes over a limit, and how much of it is done by then; infinite if none does."""
    over = np.flatnonzero(total > limit)
    if not over.size:
        return np.inf
    stage = over[0]
    return float(stage + 1 - (total[stage] - limit) / (total[stage] - (total[stage - 1] if stage else 0.0)))


def _notes(outlook: Outlook, asked: bool) -> list[str]:
    """What the figures include, and what nobody can foresee."""
    task, strategy = outlook.task, outlook.strategy
    if not asked:
        return ["nothing is asked: `budget.rounds` is 0"]
    told = [
        _low(strategy, task.teacher.force),
        _high(strategy, task.teacher.votes),
        "not foreseen: the hidden tokens of a model that reasons, which are billed as completion",
    ]
    if outlook.splits.folded:
        told.append(f"analyst and generator are asked for each of the {task.fold_count} folds by itself")
    if outlook.splits.labelled and task.teacher.calibrate and not task.teacher.force:
        told.append("a teacher that is no better than the student stops the run after the calibration")
    if strategy.feedback == "none":
        told.append(f"the strategy {strategy.name} asks no analyst")
    if task.teacher.batch:
        told.append("the cost is that of the Batch API, half the price, where a role asks an `openai:` model")
    if task.budget.minutes is not None:
        told.append(f"not foreseen: whether {task.budget.minutes:g} minutes are enough")
    return told


def _low(strategy: Strategy, force: bool) -> str:
    """What the low end assumes, in words."""
    parts = ["the first attempt of each round brings enough texts, none is labelled twice, every reply is"]
    parts[0] += " right at once, and texts and reasons are short"
    if strategy.critic == "disputed":
        parts.append("no label is disputed, and the critic is not asked")
    if strategy.fill_gaps:
        parts.append("the pool has texts of every kind, and none is written")
    if strategy.stall and not force:
        parts.append(f"the run stops after {strategy.stall} rounds without a gain")
    return "low: " + "; ".join(parts)


def _high(strategy: Strategy, votes: int) -> str:
    """What the high end assumes, in words."""
    attempts = strategy.attempts + 1
    again = "" if strategy.critic == "none" else "every text labelled and judged a second time, "
    told = (
        f"high: {f'all {attempts} attempts' if attempts > 1 else 'the one attempt'} of each round,"
        f" {f'{votes} votes a text, ' if votes > 1 else ''}{again}one"
        " call in ten repaired, and texts and reasons are long"
    )
    return f"{told}; half of the texts are written" if strategy.fill_gaps else told
