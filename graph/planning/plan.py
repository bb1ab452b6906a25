"""Plan a run: estimate its calls, tokens and cost as ranges, without calling any model."""

from typing import TypedDict

import numpy as np
from tutelage.agents.endpoints.batch import DISCOUNT
from tutelage.graph.planning.requests import PlannedRun
from tutelage.graph.planning.usage import Usage, stage_names, stages
from tutelage.graph.strategies import Strategy
from tutelage.graph.task.schema import Task
from tutelage.graph.task.splits import load_corpus, load_splits
from tutelage.prompts import ROLES, render

FREE = "runs in this process, at no cost"


class Expected(TypedDict):
    """Estimates, each as [low, high]; `cost` is None if a price is unknown."""

    calls: list[int]
    prompt_tokens: list[int]
    completion_tokens: list[int]
    cost: list[float] | None


class Part(Expected):
    """The estimates for one role; `price` is per million tokens, None if it is unknown."""

    model: str
    price: dict[str, float | str] | None


class Limit(TypedDict):
    """A limit of the budget, and when it is reached.

    `earliest` and `latest` are the stages (indices into `Plan.stages`) in which the high and the low estimate
    reach it; None if they do not. `first` is true if no other limit is reached earlier.
    """

    limit: float
    earliest: int | None
    latest: int | None
    first: bool


class Plan(TypedDict):
    """The plan of a run. `roles` has only roles that are called. `stages` names the parts of a run in their
    order: the calibration (or the first labels), the rounds, the labels of random texts.
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
    """Estimate the calls to the teacher in a run of the task, and render one complete prompt of each role.

    No model is called or loaded and nothing is written. Only the task's data are read.

    Raises:
        InputError: the data do not fit the task.
    """
    splits = load_splits(task)
    task.training_config()  # this and the corpus are checked as a run would check them
    for corpus in {spec.corpus for spec in task.model_specs().values() if spec.corpus}:
        load_corpus(task, splits, corpus)
    ends = [stages(PlannedRun(task, splits, end)) for end in ("low", "high")]
    example = PlannedRun(task, splits, "example")
    begin = example.first_labels() or example.calibration()
    first = {request.role: request for request in reversed([*begin, *example.round(example.written(1))])}
    rendered = {role: render(role, first[role].payload, task.prompts) for role in ROLES if role in first}
    called = [i for i in range(len(ROLES)) if ends[1][:, i].any()]
    return Plan(
        task=task.name,
        strategy=task.resolved_strategy().name,
        rounds=task.budget.rounds,
        stages=stage_names(example),
        roles={ROLES[i]: _part(task, i, ends) for i in called},
        total=_expected(task, called, ends),
        budget=_limits(task, called, ends),
        notes=[*_notes(example, bool(called)), *splits.notes],
        prompts={role: {"system": system, "user": user} for role, (system, user) in rendered.items()},
    )


def _rates(task: Task) -> Usage:
    """Return each role's cost of a prompt and of a completion token, shape (roles, 2); NaN if unknown."""
    rates = []
    for spec in (task.model_specs()[role] for role in ROLES):
        discount = DISCOUNT if task.teacher.batch and spec.speaks_openai else 1.0
        rates.append(discount * np.array([spec.cost(1, 0), spec.cost(0, 1)], np.float64))
    return np.array(rates)


def _spent(task: Task, roles: list[int], usage: Usage) -> dict[str, Usage]:
    """Return how much of each budget limit these roles spend, shape (stages,)."""
    tokens = usage[:, roles, 1:]
    return {
        "calls": usage[:, roles, 0].sum(1),
        "tokens": tokens.sum((1, 2)),
        "money": (tokens * _rates(task)[roles]).sum((1, 2)),
    }


def _expected(task: Task, roles: list[int], ends: list[Usage]) -> Expected:
    totals = [usage[:, roles].sum((0, 1)) for usage in ends]
    calls, prompts, replies = ([int(low), int(np.ceil(high))] for low, high in zip(*totals, strict=True))
    cost = [float(_spent(task, roles, usage)["money"].sum()) for usage in ends]
    unknown = bool(np.isnan(cost[0]))
    return Expected(
        calls=calls, prompt_tokens=prompts, completion_tokens=replies, cost=None if unknown else cost
    )


def _part(task: Task, role: int, ends: list[Usage]) -> Part:
    spec = task.model_specs()[ROLES[role]]
    price = spec.price()
    details: dict[str, float | str] | None = None
    if price:
        source = FREE if spec.in_process else price.source or "task"
        details = {"prompt": price.prompt, "completion": price.completion, "source": source}
    return Part(**_expected(task, [role], ends), model=spec.display_name, price=details)


def _limits(task: Task, roles: list[int], ends: list[Usage]) -> dict[str, Limit]:
    """Return the limits that the task sets, and the stages in which they are reached."""
    low, high = (_committed(task, roles, usage) for usage in ends)
    limits = {name: limit for name in high if (limit := getattr(task.budget, name)) is not None}
    at = {name: (_reached(limit, low[name]), _reached(limit, high[name])) for name, limit in limits.items()}
    soonest = min((early for _, early in at.values()), default=np.inf)
    return {
        name: Limit(
            limit=limits[name],
            earliest=None if early == np.inf else int(early),
            latest=None if late == np.inf else int(late),
            first=early == soonest < np.inf,
        )
        for name, (late, early) in at.items()
    }


def _committed(task: Task, roles: list[int], usage: Usage) -> dict[str, Usage]:
    """Return how much of each limit is spent by the end of each stage, plus what the rounds reserve for the
    labels of random texts.
    """
    committed = {name: spent.cumsum() for name, spent in _spent(task, roles, usage).items()}
    if not usage[-1].any():  # no random texts are labelled
        return committed
    labels = _spent(task, [ROLES.index("labeler")], usage)
    for name, total in committed.items():
        total[1:-1] += labels[name][1:-1].cumsum()
        total[-1] = total[-2:].max()
    return committed


def _reached(limit: float, total: Usage) -> float:
    """Return when the total exceeds the limit: stage index plus the done part of the stage, or infinity."""
    over = np.flatnonzero(total > limit)
    if not over.size:
        return np.inf
    stage = over[0]
    return float(stage + 1 - (total[stage] - limit) / (total[stage] - (total[stage - 1] if stage else 0.0)))


def _notes(planned: PlannedRun, called: bool) -> list[str]:
    """Return the assumptions behind the estimates, and what they do not cover."""
    task, strategy = planned.task, planned.strategy
    if not called:
        return ["no model is called: `budget.rounds` is 0"]
    notes = [
        _low(strategy, task.teacher.force),
        _high(strategy, task.teacher.votes),
        "not estimated: the hidden tokens of a reasoning model, which are billed as completion tokens",
    ]
    if planned.splits.folded:
        notes.append(f"analyst and generator are called separately for each of the {task.fold_count} folds")
    if planned.splits.labelled and task.teacher.calibrate and not task.teacher.force:
        notes.append("the run stops after the calibration if the teacher is no better than the student")
    if strategy.feedback == "none":
        notes.append(f"strategy {strategy.name} does not call the analyst")
    if task.teacher.batch:
        notes.append("roles with an `openai:` model are counted at half the price, through the Batch API")
    if task.review != "never":
        notes.append(
            f"`review: {task.review}`: the run waits in each round until you have judged texts, at most"
            f" {task.review_budget} in all"
        )
    if task.budget.minutes is not None:
        notes.append(f"not estimated: whether {task.budget.minutes:g} minutes are enough")
    return notes


def _low(strategy: Strategy, force: bool) -> str:
    """Return the assumptions of the low estimate in words."""
    parts = ["the first attempt of each round brings enough texts, no text is labelled twice, every reply is"]
    parts[0] += " valid at once, and texts and reasons are short"
    if strategy.critic == "disputed":
        parts.append("no label is disputed, so the critic is not called")
    if strategy.fill_gaps:
        parts.append("the pool covers every label and weakness until it is used up")
    if strategy.stall and not force:
        parts.append(f"the run stops after {strategy.stall} rounds without a gain")
    return "low: " + "; ".join(parts)


def _high(strategy: Strategy, votes: int) -> str:
    """Return the assumptions of the high estimate in words."""
    attempts = strategy.attempts + 1
    parts = [f"each round uses {f'all {attempts} attempts' if attempts > 1 else 'its only attempt'}"]
    if votes > 1:
        parts.append(f"each text gets {votes} votes")
    if strategy.critic != "none":
        parts.append("every text is labelled and judged twice")
    words = f"high: {', '.join(parts)}, one call in ten is repaired, and texts and reasons are long"
    return f"{words}; half of the texts are written" if strategy.fill_gaps else words
