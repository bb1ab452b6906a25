"""Classify the exception of any provider's client, to decide whether to retry the call."""

import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from tutelage.agents.providers.redact import redact

# busy: rate-limited. slow: the reply was not complete in time. down: no answer, or a server error.
# malformed: the server refused the format of this request, not necessarily that of others. filtered: it
# refused the content. fatal: a retry is useless.
FailureKind = Literal["busy", "slow", "down", "malformed", "filtered", "fatal"]
# Words that servers use for a completion cap that they refuse.
_CAPS = (
    *("max_tokens", "max_completion_tokens", "max_new_tokens", "max_output_tokens", "num_predict"),
    *("in the completion", "output tokens"),
)
_PROGRAMMING_ERRORS = (TypeError, AttributeError, LookupError, ImportError, NotImplementedError)


class TooSlowError(Exception):
    """A reply was not complete within the time limit; the message says which settings to change."""


@dataclass(frozen=True)
class Failure:
    """Why a call got no reply. `silent`: there was no answer at all; `retry_after` is in seconds."""

    kind: FailureKind
    words: str
    silent: bool = False
    retry_after: float | None = None


def read_failure(error: Exception) -> Failure:
    """Return the failure that an exception of any provider's client stands for."""
    if isinstance(error, TooSlowError):
        return Failure("slow", str(error), silent=True)
    words = _words(error)
    response, code = getattr(error, "response", None), getattr(error, "code", None)
    numbers = (getattr(error, "status_code", None), getattr(response, "status_code", None), code)
    status = next((number for number in numbers if isinstance(number, int)), None)
    code = str(code or "")
    if status is None:
        is_bug = isinstance(error, _PROGRAMMING_ERRORS)
        return Failure("fatal" if is_bug else "down", words, silent=not is_bug)
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
    """Return whether the words of a refusal name the completion cap."""
    return any(name in words.lower() for name in _CAPS)


def _words(error: Exception) -> str:
    """Describe an error, and its root cause: some clients report a refused connection as a time-out."""
    root = error
    while root.__cause__ or root.__context__:
        root = root.__cause__ or root.__context__  # type: ignore[assignment]
    chain = [error, root]
    if root is error or getattr(error, "status_code", None):
        chain = [error]
    elif isinstance(root, OSError) and str(root):
        chain = [root]
    words = " <- ".join(f"{type(one).__name__}: {' '.join(str(one).split()).rstrip('.')}" for one in chain)
    return redact(words)


def _retry_after(response: Any) -> float | None:
    """Return the seconds to wait by the headers (a number or a date); None if they hold no positive time."""
    headers = getattr(response, "headers", None) or {}
    if milliseconds := _positive(headers.get("retry-after-ms")):
        return milliseconds / 1000
    if seconds := _positive(headers.get("retry-after")):
        return seconds
    try:
        wait = parsedate_to_datetime(str(headers.get("retry-after"))).timestamp() - time.time()
    except ValueError:
        return None
    return wait if wait > 0 else None


def _positive(text: Any) -> float | None:
    try:
        return number if (number := float(text)) > 0 else None
    except (TypeError, ValueError):
        return None
