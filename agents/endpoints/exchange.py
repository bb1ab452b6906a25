"""An exchange: what one call carries in each provider's way, and what is kept of its reply."""

import asyncio
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tutelage.agents.endpoints.entry import Entry
from tutelage.agents.endpoints.failures import TooSlowError
from tutelage.agents.providers.capabilities import Capabilities
from tutelage.agents.providers.models import ModelSpec
from tutelage.agents.providers.redact import redact
from tutelage.agents.schemas import Form

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage

_BYTES_A_TOKEN = 3  # UTF-8; English has about four, Chinese three
_FINISHES = ("finish_reason", "stop_reason", "done_reason")  # OpenAI's, Anthropic's and Ollama's word for it
_LENGTHS = ("max_tokens", "max_output_tokens", "num_predict")  # most clients', Google's and Ollama's
Messages = list[tuple[str, str]]


class FormError(Exception):
    """A provider's client does not know this way of structured replies."""

    status_code = 400  # as a server says it: agents/endpoints/failures.py reads both alike


@dataclass(frozen=True)
class Call:
    """One call: its key in the journal, who asks, what, in which form, with which seed, whether with
    log-probabilities, and about how many tokens long the reply will be. `cap` is sent as the most completion
    tokens it may have; with None nothing is sent, and the model's own setting or its context is the limit.
    """

    key: str
    role: str
    messages: Messages
    form: Form[Any]
    seed: int
    logprobs: bool
    reply_tokens: float
    cap: int | None = None

    @property
    def prompt_tokens(self) -> float:
        """An estimate, before the provider has counted."""
        return sum(len(text.encode()) for _, text in self.messages) / _BYTES_A_TOKEN


@dataclass(frozen=True)
class Said:
    """What a model said, in whichever protocol; None where its server counts no tokens."""

    content: str
    finish: str
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int
    reasoning_tokens: int
    logprobs: Any


async def exchange(
    spec: ModelSpec, model: "BaseChatModel", can: Capabilities, call: Call, seconds: float | None = None
) -> Entry:
    """Make one call of a chat model in the way its endpoint supports.

    Args:
        spec: the model, with its settings.
        model: its client.
        can: what the endpoint supports.
        call: what is asked.
        seconds: that a server may take in all, `spec.timeout` by default; a model in this process has no
            limit (it also loads its weights and has a queue).

    Raises:
        TooSlowError: the reply did not come in time.
        Exception: whatever the provider's client raises.
    """
    start = time.monotonic()
    seconds = None if spec.in_process else seconds or spec.timeout
    ask = _ask_openai if spec.speaks_openai else _ask_in_process if spec.in_process else _ask_other
    try:
        # A client's own time-out starts anew with every byte.
        async with asyncio.timeout(seconds) as timer:
            message = await ask(model, can, call)
    except TimeoutError as error:
        if not timer.expired():
            raise
        raise TooSlowError(_too_slow(call, seconds or 0.0)) from error
    return entry_of(spec, call, said_by(message), time.monotonic() - start)


def _too_slow(call: Call, seconds: float) -> str:
    length = f" (up to {call.cap:,} tokens)" if call.cap else ""
    return (
        f"no whole reply{length} came within {seconds:,.3g} s; under `teacher` raise `timeout`, lower"
        " `concurrency` (calls share a server's speed), or set a smaller `max_tokens`"
    )


def openai_options(can: Capabilities, call: Call) -> dict[str, Any]:
    """What a request in the OpenAI protocol carries beside model and messages."""
    options: dict[str, Any] = {"seed": call.seed} if can.seed else {}
    if call.logprobs and can.logprobs:
        options["logprobs"] = True
    if call.cap:
        options["max_tokens"] = call.cap
    form = {"name": call.form.title, "strict": True}
    if can.structured == "json_schema":
        schema = {**form, "schema": call.form.schema}
        options["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif can.structured == "json_mode":
        options["response_format"] = {"type": "json_object"}
    elif can.structured == "function_calling":
        options["tools"] = [{"type": "function", "function": {**form, "parameters": call.form.schema}}]
        options["tool_choice"] = {"type": "function", "function": {"name": call.form.title}}
    return options


async def _ask_openai(model: "BaseChatModel", can: Capabilities, call: Call) -> "AIMessage":
    return await model.ainvoke(call.messages, **openai_options(can, call))


async def _ask_in_process(model: "BaseChatModel", can: Capabilities, call: Call) -> "AIMessage":
    options: dict[str, Any] = {"max_tokens": call.cap} if call.cap else {}
    return await model.ainvoke(call.messages, seed=call.seed, logprobs=call.logprobs, **options)


async def _ask_other(model: "BaseChatModel", can: Capabilities, call: Call) -> "AIMessage":
    """Other providers get the form as LangChain hands it to each."""
    model = _capped(model, call.cap)
    if can.structured == "text":
        return await model.ainvoke(call.messages)
    method: Any = can.structured
    try:
        bound = model.with_structured_output(call.form.schema, method=method, include_raw=True)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise FormError(f"{method} is not supported: {error}") from error
    found: Any = await bound.ainvoke(call.messages)
    return found["raw"]  # type: ignore[no-any-return]


def _capped(model: "BaseChatModel", cap: int | None) -> "BaseChatModel":
    """The model with a completion cap, in the words of its client; as it is where its client has none. A cap
    that the client has set itself, such as the most that the model can write, is never raised.
    """
    name = next((name for name in _LENGTHS if name in type(model).model_fields), None)
    if not cap or not name:
        return model
    own = getattr(model, name)
    return model.model_copy(update={name: min(cap, own) if isinstance(own, int) and own > 0 else cap})


def said_by(message: "AIMessage") -> Said:
    """What a LangChain message holds; its text may stand in a tool call or be a refusal."""
    content, about = str(message.text), message.response_metadata
    if message.tool_calls:
        content = json.dumps(message.tool_calls[0]["args"], ensure_ascii=False)
    elif message.invalid_tool_calls:
        content = message.invalid_tool_calls[0]["args"] or ""
    finish = next((str(about[name]) for name in _FINISHES if about.get(name)), "")
    if not content and (refusal := message.additional_kwargs.get("refusal")):
        content, finish = str(refusal), "refusal"
    usage: Any = message.usage_metadata or {}
    return Said(
        content,
        finish,
        usage.get("input_tokens"),
        usage.get("output_tokens"),
        (usage.get("input_token_details") or {}).get("cache_read") or 0,
        (usage.get("output_token_details") or {}).get("reasoning") or 0,
        about.get("logprobs"),
    )


def entry_of(spec: ModelSpec, call: Call, said: Said, seconds: float, discount: float = 1.0) -> Entry:
    """What the journal keeps. Where a server does not count, tokens are estimated: a budget must hold."""
    content = redact(said.content)
    prompt, completion = said.prompt_tokens, said.completion_tokens
    prompt = round(call.prompt_tokens) if prompt is None else prompt
    completion = round(len(content.encode()) / _BYTES_A_TOKEN) if completion is None else completion
    cost = spec.cost(prompt, completion, said.cached_tokens)
    return Entry(
        role=call.role,
        content=content,
        finish=said.finish,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cost=None if cost is None else cost * discount,
        seconds=seconds,
        cached_tokens=said.cached_tokens,
        reasoning_tokens=said.reasoning_tokens,
        tokens=_tokens(said.logprobs, content),
    )


def _tokens(logprobs: Any, content: str) -> list[tuple[int, float]] | None:
    """Return length in bytes and log-probability of each token of the content.

    Servers also list what they cut from a reply: reasoning, a code fence, white space, the token that ends
    it. The content is looked for from the end, and what stands around it is left out.

    Returns:
        None where the tokens do not hold the content, or come in another form than OpenAI's.
    """
    try:
        # `bytes` where given: a character may be split over two tokens.
        given = [
            (bytes(token.get("bytes") or token["token"].encode()), float(token["logprob"]))
            for token in logprobs["content"]
        ]
    except (LookupError, TypeError, AttributeError, ValueError):
        return None
    whole, wanted = b"".join(part for part, _ in given), content.encode()
    start = whole.rfind(wanted)
    if start < 0:
        return None
    kept, place, end = [], 0, start + len(wanted)
    for part, logprob in given:
        length = min(end, place + len(part)) - max(start, place)
        if length > 0:
            kept.append((length, round(logprob, 6)))
        place += len(part)
    return kept
