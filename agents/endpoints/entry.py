"""An entry of the journal: one reply of an endpoint, and what it took."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One reply: its raw text, why it ended, and what it took.

    `cached_tokens` are those of `prompt_tokens` that the provider took from its cache, `reasoning_tokens`
    those of `completion_tokens` that the model wrote before its reply and did not show. `tokens` holds
    the length in UTF-8 bytes and the natural log-probability of each token of `content`, where offered.
    """

    role: str
    content: str
    finish: str
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    seconds: float
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    tokens: Sequence[tuple[int, float]] | None = None
