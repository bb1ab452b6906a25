"""Strategies with single fields changed, by a user or for an ablation; and what a strategy needs."""

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from functools import cache
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError
from tutelage.graph.strategies import Strategy
from tutelage.student.training.losses import PLAIN, Objective

_OWN_LOSSES = "`objective.knowledge` brings its own losses; leave out"


def varied(strategy: Strategy, changes: Mapping[str, Any]) -> Strategy:
    """Return the strategy with some fields changed; a nested mapping changes single fields of `objective` or
    `final`, e.g. `{"samples": 24, "objective": {"knowledge": {"phase": 5}}}`. Unless `changes`
    has a `name`, the changed fields, except `samples`, are appended to the strategy's name.

    Raises:
        ValueError: in one line, the field, what is wrong with it and the value found.
    """
    try:
        variant = _strategy_adapter().validate_python(_merged(Strategy, strategy, changes, ""))
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        value = str(problem["input"])[:60]
        raise ValueError(f"`strategy.{place}`: {problem['msg']}, got {value!r}") from None
    changed = ", ".join(field for field in changes if field != "samples")
    if changed and "name" not in changes:
        variant = replace(variant, name=f"{variant.name} ({changed})")
    for name in ("band", "length"):
        low, high = getattr(variant, name)
        if low > high:
            raise ValueError(f"`strategy.{name}`: the lower end comes first, got [{low}, {high}]")
    return variant


@cache
def _strategy_adapter() -> TypeAdapter[Strategy]:
    return TypeAdapter(Strategy)  # takes 50 ms to build


def selects_samples(strategy: Strategy) -> bool:
    """Return whether the strategy (LLKD, KSM) chooses and weights the samples of every training step."""
    return any(one.adaptive_selection or one.knowledge for one in strategy.objectives)


def needs_one_label(objective: Objective) -> bool:
    """Return whether the objective needs the probability of one label for each text."""
    return bool(objective.adaptive_selection or objective.knowledge or objective.target == "soft")


def needs_separate_sets(strategy: Strategy) -> str:
    """Return why a strategy cannot run on folds; "" if it can. Such a strategy shows the teacher rows of all
    folds together, or continues one student on them, so that no prediction would be out of fold any more.
    """
    reasons = {
        "`probe: batch`": strategy.probe == "batch",
        "`feedback: band`": strategy.feedback == "band",
        "`continue_training: true`": strategy.continue_training,
        "`objective.knowledge`": any(one.knowledge for one in strategy.objectives),
    }
    if not (applying := [name for name, applies in reasons.items() if applies]):
        return ""
    return (
        f"strategy {strategy.name!r} ({applying[0]}) needs separate sets: give `data.seed`, `diagnose` and"
        " `gate` instead of `labelled`, or use strategy auto"
    )


def needs_one_process(strategy: Strategy) -> str:
    """Return why the students of a strategy cannot be trained by several processes together; "" if they can.
    Their losses depend on all texts of a batch, or their training has a loop or a start of its own.
    """
    objectives = strategy.objectives
    reasons = {
        "`continue_training: true`": strategy.continue_training,
        "`objective.adaptive_selection`": any(one.adaptive_selection for one in objectives),
        "`objective.knowledge`": any(one.knowledge for one in objectives),
        "`objective.rationale`": any(one.rationale for one in objectives),
    }
    if not (applying := [name for name, applies in reasons.items() if applies]):
        return ""
    return (
        f"strategy {strategy.name!r} ({applying[0]}) trains a student in one process: leave"
        " `student.launcher` out, or use strategy auto"
    )


def unused_fields(objective: Objective, strategy: Strategy) -> str:
    """Return an error message for fields of an objective that would have no effect; "" if there are none."""
    if objective.loss == "ce" and (objective.alpha, objective.beta) != (PLAIN.alpha, PLAIN.beta):
        return "`alpha` and `beta` weigh the parts of `loss: sce`; set `loss: sce`, or leave them out"
    chosen = "`objective.adaptive_selection`" if objective.adaptive_selection else "`objective.target: soft`"
    if objective.adaptive_selection is None and objective.target == "hard":
        return f"{_OWN_LOSSES} `objective.loss`" if objective.knowledge and objective.loss != "ce" else ""
    if objective.knowledge:
        return f"{_OWN_LOSSES} {chosen}"
    if strategy.writes and not strategy.blind_labels:
        return (
            f"{chosen} needs the teacher's confidence, but a label that a text was written for has none: set"
            " `blind_labels: true`, or leave it out"
        )
    return ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean …?" with the most similar known name; "" if none is similar."""
    match = get_close_matches(name, list(known), 1, 0.5)
    return f"; did you mean {match[0]!r}?" if match else ""


def _merged(cls: type[Any], old: Any, changes: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return the fields of the dataclass instance `old` with the changes; the changes alone if it is None."""
    known = [field.name for field in fields(cls)]
    hints = get_type_hints(cls)
    result: dict[str, Any] = {} if old is None else {name: getattr(old, name) for name in known}
    for name, value in changes.items():
        if name not in known:
            raise ValueError(f"strategy{place} has no field {name!r}{did_you_mean(name, known)}")
        inner = [part for part in (hints[name], *get_args(hints[name])) if is_dataclass(part)]
        if inner and isinstance(value, Mapping):
            value = _merged(inner[0], result.get(name), value, f"{place}.{name}")  # type: ignore[arg-type]
        result[name] = value
    return result
