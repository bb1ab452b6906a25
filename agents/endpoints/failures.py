"""Failures of a call, read from whatever a provider's client raises: whose fault, and what to do."""

import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from tutelage.agents.providers.redact import redact

# busy: told to slow down. slow: no whole reply in time. down: no answer, or one that says the server failed.
# malformed: the request was refused for its form, others may not be. filtered: for its content. fatal: no use
# in asking again.
Kind = Literal["busy", "slow", "down", "malformed", "filtered", "fatal"]
# By which servers name a completion cap that they refuse.
_CAPS = (
    *("max_tokens", "max_completion_tokens", "max_new_tokens", "max_output_tokens", "num_predict"),
    *("in the completion", "output tokens"),
)
_OWN_BUGS = (TypeError, AttributeError, LookupError, ImportError, NotImplementedError)


class TooSlowError(Exception):
    """A reply was not whole when the time of its call was over; the message says what to change."""


@dataclass(frozen=True)
class Failure:
    """Why a call brought no reply. `silent`: nothing answered at all; `retry_after` in seconds."""

    kind: Kind
    words: str
    silent: bool = False
    retry_after: float | None = None


def read_failure(error: Exception) -> Failure:
    """What an exception of any provider's client means."""
    if isinstance(error, TooSlowError):
        return Failure("slow", str(error), silent=True)
    words = _words(error)
    response, code = getattr(error, "response", None), getattr(error, "code", None)
    numbers = (getattr(error, "status_code", None), getattr(response, "status_code", None), code)
    status = next((number for number in numbers if isinstance(number, int)), None)
    code = str(code or "")
    if status is None:
        own = isinstance(error, _OWN_BUGS)
        return Failure("fatal" if own else "down", words, silent=not own)
    if "content_filter" in code or "content_policy" in code:
        return Failure("filtered", words)
    if status == 429:
        spent = code in ("insufficient_quota", "billing_hard_limit_reached")
        return Failure("fatal" if spent else "busy", words, retry_after=_retry_after(response))
    # OpenAI forbids log-probabilities of its reasoning models with a 403.
    if status in (400, 404, 413, 422, 501) or (status == 403 and "logprob" in words):
        return Failure("malformed", words)
    if status in (408, 409, 425) or status >= 500:
        return Failure("down", words, retry_after=_retry_after(response))
    return Failure("down" if status < 400 else "fatal", words)


def names_cap(words: str) -> bool:
    """Return whether the words of a refusal are about the completion cap."""
    return any(name in words.lower() for name in _CAPS)


def _words(error: Exception) -> str:
    """The error and what is at its root, or that alone: clients call a refused connection a time-out."""
    told, root = error, error
    while root.__cause__ or root.__context__:
        root = root.__cause__ or root.__context__  # type: ignore[assignment]
    chain = [told, root]
    if root is told or getattr(told, "status_code", None):
        chain = [told]
    elif isinstance(root, OSError) and str(root):
        chain = [root]
    words = " <- ".join(f"{type(one).__name__}: {' '.join(str(one).split()).rstrip('.')}" for one in chain)
    return redact(words)


def _retry_after(response: Any) -> float | None:
    """Seconds that the headers ask to wait, as a number or until a date; None without a sensible one."""
    headers = getattr(response, "headers", None) or {}
    if told := _number(headers.get("retry-after-ms")):
        return told / 1000
    if told := _number(headers.get("retry-after")):
        return told
    try:
        wait = parsedate_to_datetime(str(headers.get("retry-after"))).timestamp() - time.time()
    except ValueError:
        return None
    return wait if wait > 0 else None


def _number(text: Any) -> float | None:
    try:
        return found if (found := float(text)) > 0 else None
    except (TypeError, ValueError):
        return None
