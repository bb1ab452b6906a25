"""Look up the prices of models in the shipped, dated file and in a user's own file, which overrides it."""

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
    """The price of a million tokens, in one currency; `cached` is for prompt tokens from a provider's cache.

    `source` describes the file that the price comes from, "" if it comes from none.
    """

    prompt: float
    completion: float
    cached: float | None = None
    source: str = field(default="", compare=False)

    def cost(self, prompt_tokens: float, completion_tokens: float, cached_tokens: float = 0) -> float:
        """Return the cost of a call; `prompt_tokens` includes the `cached_tokens`."""
        cached = self.prompt if self.cached is None else self.cached
        fresh = (prompt_tokens - cached_tokens) * self.prompt + cached_tokens * cached
        return (fresh + completion_tokens * self.completion) / 1e6


@cache
def listed_price(model: str, overlay: Path | None = None, *, shipped: bool = True) -> Price | None:
    """Return the price of `provider:name` from the overlay, otherwise from the shipped file if `shipped`,
    otherwise None (unknown, never 0).

    Raises:
        InputError: a file does not have the format of agents/providers/prices.yaml.
    """
    for path in (overlay, _SHIPPED if shipped else None):
        if path and model in (prices := read_prices(path)):
            return prices[model]
    return None


@cache
def read_prices(path: Path) -> dict[str, Price]:
    """Read a file of prices and return them by model.

    Raises:
        InputError: the file cannot be read, or an entry is not a price.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"prices {path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(f"prices {path}: got {type(content).__name__}, expected models with their prices")
    source = "shipped prices, US dollars" if path == _SHIPPED else path.name
    prices = {}
    for model, entry in content.items():
        fields = set(entry) if isinstance(entry, dict) else set()
        numbers = fields and all(type(v) in (int, float) and 0 <= v < inf for v in entry.values())
        if not numbers or not {"prompt", "completion"} <= fields <= {"prompt", "completion", "cached"}:
            raise InputError(
                f"prices {path}: {model}: got {entry!r}, expected numbers `prompt`, `completion` and"
                " optionally `cached`, per million tokens"
            )
        prices[str(model)] = Price(**entry, source=source)
    return prices
