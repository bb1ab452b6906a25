"""Variants: strategies with single fields changed, by a user or for an ablation."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError
from tutelage.graph.strategies import Strategy


def varied(strategy: Strategy, changes: Mapping[str, Any]) -> Strategy:
    """Return the strategy with some fields changed; a nested mapping changes single fields of `objective` or
    `final`, e.g. `{"samples": 24, "objective": {"thresholds": {"weight": "confidence"}}}`. Unless `changes`
    has a `name`, the changed fields, except `samples`, are appended to the strategy's name.

    Raises:
        ValueError: in one line, the field, what is wrong with it and the value found.
    """
    try:
        variant = TypeAdapter(Strategy).validate_python(_merged(Strategy, strategy, changes, ""))
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


def _merged(cls: type[Any], old: Any, changes: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return the fields of the dataclass instance `old` with the changes; the changes alone if it is None."""
    known = [field.name for field in fields(cls)]
    hints = get_type_hints(cls)
    result: dict[str, Any] = {} if old is None else {name: getattr(old, name) for name in known}
    for name, value in changes.items():
        if name not in known:
            similar = get_close_matches(name, known, 1, 0.5)
            hint = f"; did you mean {similar[0]!r}?" if similar else ""
            raise ValueError(f"strategy{place} has no field {name!r}{hint}")
        inner = [part for part in (hints[name], *get_args(hints[name])) if is_dataclass(part)]
        if inner and isinstance(value, Mapping):
            value = _merged(inner[0], result.get(name), value, f"{place}.{name}")  # type: ignore[arg-type]
        result[name] = value
    return result
