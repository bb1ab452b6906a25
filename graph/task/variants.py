"""Variants: a strategy with single fields changed, by a user or for an ablation."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError
from tutelage.graph.strategies import Strategy


def varied(strategy: Strategy, changes: Mapping[str, Any]) -> Strategy:
    """The strategy with the given fields changed; one of `objective` or `final` by a mapping of its own, e.g.
    `{"samples": 24, "objective": {"thresholds": {"weight": "confidence"}}}`. Its name tells what was changed
    but the number of samples, unless it is given one.

    Raises:
        ValueError: one line: the field, what was wrong with it and what was got.
    """
    try:
        made = TypeAdapter(Strategy).validate_python(_merged(Strategy, strategy, changes, ""))
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        got = str(problem["input"])[:60]
        raise ValueError(f"`strategy.{place}`: {problem['msg']}, got {got!r}") from None
    told = ", ".join(field for field in changes if field != "samples")
    if told and "name" not in changes:
        made = replace(made, name=f"{made.name} ({told})")
    for name in ("band", "length"):
        low, high = getattr(made, name)
        if low > high:
            raise ValueError(f"`strategy.{name}`: the lower end comes first, got [{low}, {high}]")
    return made


def _merged(kind: type[Any], old: Any, changes: Mapping[str, Any], place: str) -> dict[str, Any]:
    """The fields of a dataclass value (a default one where there was none), with the changes."""
    known = [field.name for field in fields(kind)]
    hints = get_type_hints(kind)
    result: dict[str, Any] = {} if old is None else {name: getattr(old, name) for name in known}
    for name, value in changes.items():
        if name not in known:
            near = get_close_matches(name, known, 1, 0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"strategy{place} has no field {name!r}{hint}")
        inner = [part for part in (hints[name], *get_args(hints[name])) if is_dataclass(part)]
        if inner and isinstance(value, Mapping):
            value = _merged(inner[0], result.get(name), value, f"{place}.{name}")  # type: ignore[arg-type]
        result[name] = value
    return result
