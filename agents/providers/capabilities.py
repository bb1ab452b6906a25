"""What an endpoint supports: found out once by probing, remembered, conceded step by step otherwise."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from pydantic import TypeAdapter, ValidationError

Structured = Literal["json_schema", "function_calling", "json_mode", "text"]
LADDER: tuple[Structured, ...] = get_args(Structured)  # from the strictest to the loosest
# Words by which servers name what they refuse, beside the field `param` that few of them fill.
_NAMED = {
    "logprobs": ("logprob",),
    "seed": ("seed",),
    "structured": (
        "response_format",
        "json_schema",
        "json_object",
        "schema",
        "tool",
        "function",
        "structured",
        "output_config",
    ),
}


@dataclass(frozen=True)
class Capabilities:
    """How an endpoint may be asked: ways of structured replies, the strictest first (that one is taken),
    and what a call may carry beside.

    `usage`: whether it counts tokens. `probed` is the day on which all this was found out, "" while it
    is assumed.
    """

    modes: tuple[Structured, ...] = LADDER
    logprobs: bool = True
    seed: bool = True
    usage: bool = True
    probed: str = ""

    @property
    def structured(self) -> Structured:
        """The way that is taken."""
        return self.modes[0]

    @staticmethod
    def named(complaint: str) -> list[str]:
        """Return what a refusal names: log-probabilities, the structured reply, or the seed."""
        words = complaint.lower()
        return [step for step, names in _NAMED.items() if any(name in words for name in names)]

    def conceded(self, complaint: str, *, logprobs: bool, named_only: bool) -> "Capabilities | None":
        """What to try next after a request was refused as malformed; None when nothing is left to give up.

        Args:
            complaint: the words of the refusal: what they name is given up first.
            logprobs: whether the request asked for log-probabilities.
            named_only: give up nothing else: calls of this form have been answered.
        """
        steps = {
            "logprobs": replace(self, logprobs=False) if logprobs and self.logprobs else None,
            "structured": replace(self, modes=self.modes[1:]) if len(self.modes) > 1 else None,
            "seed": replace(self, seed=False) if self.seed else None,
        }
        complained = self.named(complaint)
        named = [step for step in steps if step in complained]
        order = named if named_only else [*named, *steps]
        return next((steps[step] for step in order if steps[step]), None)


def remembered(model: str, base_url: str | None) -> Capabilities | None:
    """What probing found about an endpoint, on this machine, earlier."""
    try:
        return TypeAdapter(Capabilities).validate_python(_memory().get(_name(model, base_url)))
    except ValidationError:  # nothing is remembered, or another version wrote it
        return None


def remember(model: str, base_url: str | None, can: Capabilities) -> Capabilities:
    """Keep what probing found, with today's date."""
    can = replace(can, probed=time.strftime("%Y-%m-%d"))
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(
        json.dumps({**_memory(), _name(model, base_url): asdict(can)}, indent=1), encoding="utf-8"
    )
    part.replace(path)
    return can


def _name(model: str, base_url: str | None) -> str:
    return f"{model} at {base_url}" if base_url else model


def _memory() -> Mapping[str, dict[str, object]]:
    try:
        found = json.loads(_path().read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _path() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "tutelage" / "endpoints.json"
