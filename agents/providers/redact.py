"""Remove secrets from every text that leaves the process."""

import os
import re

_NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSW", re.IGNORECASE)
_SHORTEST = 8  # shorter values of such variables may be ordinary words
# The key formats of common providers, so that keys outside the environment are removed, too.
_KEYS = re.compile(r"\b(?:sk|pk|rk|gsk|hf|xai)[-_][A-Za-z0-9_-]{16,}|\bAIza[A-Za-z0-9_-]{30,}")
_registered: set[str] = set()


def register(variable: str) -> None:
    """Treat an environment variable as a secret, whatever its name and the length of its value."""
    _registered.add(variable)


def redact(text: str) -> str:
    """Return the text with the value of every secret environment variable replaced by its name in brackets,
    and everything else that looks like a key replaced by `[a key]`.
    """
    for name, value in os.environ.items():
        if (
            value
            and value in text
            and (name in _registered or (len(value) >= _SHORTEST and _NAMES.search(name)))
        ):
            text = text.replace(value, f"[{name}]")
    return _KEYS.sub("[a key]", text)
