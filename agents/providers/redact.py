"""Secrets never leave the process: they are cut out of every text that does."""

import os
import re

_NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSW", re.IGNORECASE)
_SHORTEST = 8  # shorter values of such variables may be words of ordinary texts
# As providers write keys, whoever they belong to.
_KEYS = re.compile(r"\b(?:sk|pk|rk|gsk|hf|xai)[-_][A-Za-z0-9_-]{16,}|\bAIza[A-Za-z0-9_-]{30,}")
_registered: set[str] = set()


def register(variable: str) -> None:
    """Take a variable for a secret whatever its name and the length of its value."""
    _registered.add(variable)


def redact(text: str) -> str:
    """The text with the value of every secret environment variable replaced by its name in brackets, and
    whatever else looks like a key by `[a key]`.
    """
    for name, value in os.environ.items():
        if (
            value
            and value in text
            and (name in _registered or (len(value) >= _SHORTEST and _NAMES.search(name)))
        ):
            text = text.replace(value, f"[{name}]")
    return _KEYS.sub("[a key]", text)
