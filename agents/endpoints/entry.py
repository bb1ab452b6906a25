"""A journal entry: one reply of an endpoint with its tokens, cost and duration."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One reply: its raw text, its finish reason, and its tokens, cost and duration.

    `cached_tokens` is the part of `prompt_tokens` read from the provider's cache. `reasoning_tokens` is the
    part of `completion_tokens` that the model wrote before its reply and did not show. `tokens` holds the
    length in UTF-8 bytes and the natural log-probability of each token of `content`, if available. `node` is
    the node of the graph that paid for the reply, "" outside of a run.
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
    node: str = ""
