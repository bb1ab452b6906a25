"""The features an endpoint supports: probed once and cached, otherwise dropped one by one when refused."""

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
# Words that servers use for a refused feature; few of them fill the field `param`.
_FEATURE_WORDS = {
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
    """The methods of structured output and the request options that an endpoint supports.

    `modes` are the methods, the strictest first; the first one is used. `usage`: whether replies come with
    token counts. `probed` is the date of the probe, "" if the capabilities are only assumed.
    """

    modes: tuple[Structured, ...] = LADDER
    logprobs: bool = True
    seed: bool = True
    usage: bool = True
    probed: str = ""

    @property
    def structured(self) -> Structured:
        """Return the method of structured output in use."""
        return self.modes[0]

    @staticmethod
    def features_in(complaint: str) -> list[str]:
        """Return the features that a refusal names: "logprobs", "structured", "seed"."""
        words = complaint.lower()
        return [step for step, names in _FEATURE_WORDS.items() if any(name in words for name in names)]

    def conceded(self, complaint: str, *, logprobs: bool, named_only: bool) -> "Capabilities | None":
        """Return the capabilities to try after a request was refused as malformed; None if none are left.

        Args:
            complaint: the words of the refusal; a feature that they name is dropped first.
            logprobs: whether the request asked for log-probabilities.
            named_only: drop only named features, because calls of this format have been answered.
        """
        steps = {
            "logprobs": replace(self, logprobs=False) if logprobs and self.logprobs else None,
            "structured": replace(self, modes=self.modes[1:]) if len(self.modes) > 1 else None,
            "seed": replace(self, seed=False) if self.seed else None,
        }
        complained = self.features_in(complaint)
        named = [step for step in steps if step in complained]
        order = named if named_only else [*named, *steps]
        return next((steps[step] for step in order if steps[step]), None)


def remembered(endpoint: str) -> Capabilities | None:
    """Return the cached capabilities of an endpoint (`ModelSpec.display_name`), if it was probed before."""
    try:
        return TypeAdapter(Capabilities).validate_python(_read_cache().get(endpoint))
    except ValidationError:  # nothing is cached, or another version wrote it
        return None


def remember(endpoint: str, capabilities: Capabilities) -> Capabilities:
    """Cache the probed capabilities on disk and return them with today's date."""
    capabilities = replace(capabilities, probed=time.strftime("%Y-%m-%d"))
    path = _cache_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    content = json.dumps({**_read_cache(), endpoint: asdict(capabilities)}, indent=1)
    part.write_text(content, encoding="utf-8")
    part.replace(path)
    return capabilities


def _read_cache() -> Mapping[str, dict[str, object]]:
    try:
        content = json.loads(_cache_file().read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _cache_file() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "tutelage" / "endpoints.json"
