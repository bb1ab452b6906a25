"""Prices: a dated file of what models cost, which a user's own file overlays."""

from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from math import inf
from pathlib import Path

import yaml
from tutelage.student.errors import InputError

_SHIPPED = Path(str(files("tutelage.agents.providers") / "prices.yaml"))


@dataclass(frozen=True)
class Price:
    """Per million tokens, in one currency; `cached` for prompt tokens read from the provider's cache.

    `source` says where it stands, "" if in no file of prices.
    """

    prompt: float
    completion: float
    cached: float | None = None
    source: str = field(default="", compare=False)

    def cost(self, prompt_tokens: float, completion_tokens: float, cached_tokens: float = 0) -> float:
        """Cost of a call; `cached_tokens` are among `prompt_tokens`."""
        cached = self.prompt if self.cached is None else self.cached
        fresh = (prompt_tokens - cached_tokens) * self.prompt + cached_tokens * cached
        return (fresh + completion_tokens * self.completion) / 1e6


@cache
def listed_price(model: str, overlay: Path | None = None, *, shipped: bool = True) -> Price | None:
    """The price of `provider:name`: the overlay's, else the shipped one if that may hold, else None
    (unknown, never 0).

    Raises:
        InputError: a file is not of the form of agents/providers/prices.yaml.
    """
    for path in (overlay, _SHIPPED if shipped else None):
        if path and model in (prices := read_prices(path)):
            return prices[model]
    return None


@cache
def read_prices(path: Path) -> dict[str, Price]:
    """Model -> price.

    Raises:
        InputError: the file cannot be read, or an entry is no price.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"prices {path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise InputError(f"prices {path}: got {type(found).__name__}, expected models with their prices")
    source = "shipped prices, US dollars" if path == _SHIPPED else path.name
    prices = {}
    for model, entry in found.items():
        fields = set(entry) if isinstance(entry, dict) else set()
        numbers = fields and all(type(v) in (int, float) and 0 <= v < inf for v in entry.values())
        if not numbers or not {"prompt", "completion"} <= fields <= {"prompt", "completion", "cached"}:
            raise InputError(
                f"prices {path}: {model}: got {entry!r}, expected numbers `prompt`, `completion` and,"
                " if wished, `cached`, per million tokens"
            )
        prices[str(model)] = Price(**entry, source=source)
    return prices
