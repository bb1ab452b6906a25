"""Send one call with the options of its provider, and convert the reply into a journal entry."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tutelage.agents.endpoints.entry import Entry
from tutelage.agents.endpoints.failures import TooSlowError
from tutelage.agents.providers.capabilities import Capabilities
from tutelage.agents.providers.models import ModelSpec
from tutelage.agents.providers.redact import redact
from tutelage.agents.schemas import ReplySchema

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage
    from langchain_core.runnables import RunnableConfig

_BYTES_A_TOKEN = 3  # UTF-8: English has about four bytes a token, Chinese three
_FINISHES = ("finish_reason", "stop_reason", "done_reason")  # OpenAI's, Anthropic's and Ollama's name
_LENGTHS = ("max_tokens", "max_output_tokens", "num_predict")  # most clients', Google's and Ollama's
Messages = list[tuple[str, str]]


class SchemaError(Exception):
    """A provider's client does not support this method of structured output."""

    status_code = 400  # agents/endpoints/failures.py then handles it like a server's refusal


@dataclass(frozen=True)
class Call:
    """One call: its journal key, role, messages, reply schema and seed, whether to request log-probabilities,
    and the expected length of the reply in tokens. `cap` is the maximum number of completion tokens to send;
    with None none is sent, and the model's own setting or its context is the limit. `about` is what tracers
    of LangChain, such as LangSmith, record of the call.
    """

    key: str
    role: str
    messages: Messages
    schema: ReplySchema[Any]
    seed: int
    logprobs: bool
    reply_tokens: float
    cap: int | None = None
    about: Mapping[str, object] = field(default_factory=dict)

    @property
    def prompt_tokens(self) -> float:
        """Return an estimate of the prompt's length, made before the provider counts its tokens."""
        return sum(len(text.encode()) for _, text in self.messages) / _BYTES_A_TOKEN


@dataclass(frozen=True)
class RawReply:
    """A model's reply, independent of the protocol; a token count is None if the server reports none."""

    content: str
    finish: str
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int
    reasoning_tokens: int
    logprobs: Any


async def exchange(
    spec: ModelSpec,
    model: "BaseChatModel",
    capabilities: Capabilities,
    call: Call,
    seconds: float | None = None,
) -> Entry:
    """Make one call of a chat model with the options that its endpoint supports.

    Args:
        spec: the model, with its settings.
        model: its client.
        capabilities: the capabilities of the endpoint.
        call: the call to make.
        seconds: the time limit of the whole call, `spec.timeout` by default; a model in this process has no
            limit, because it may first have to load its weights and work through its queue.

    Raises:
        TooSlowError: the reply was not complete in time.
        Exception: any error of the provider's client.
    """
    start = time.monotonic()
    seconds = None if spec.in_process else seconds or spec.timeout
    request = _request_openai if spec.speaks_openai else _request_local if spec.in_process else _request_other
    try:
        # A client's own time-out restarts with every byte.
        async with asyncio.timeout(seconds) as timer:
            message = await request(model, capabilities, call)
    except TimeoutError as error:
        if not timer.expired():
            raise
        raise TooSlowError(_too_slow(call, seconds or 0.0)) from error
    return entry_of(spec, call, raw_reply(message), time.monotonic() - start)


def _too_slow(call: Call, seconds: float) -> str:
    length = f" (up to {call.cap:,} tokens)" if call.cap else ""
    return (
        f"no whole reply{length} came within {seconds:,.3g} s; under `teacher` raise `timeout`, lower"
        " `concurrency` (calls share a server's speed), or set a smaller `max_tokens`"
    )


def openai_options(capabilities: Capabilities, call: Call) -> dict[str, Any]:
    """Return the options of a request in the OpenAI protocol, without model and messages."""
    options: dict[str, Any] = {"seed": call.seed} if capabilities.seed else {}
    if call.logprobs and capabilities.logprobs:
        options["logprobs"] = True
    if call.cap:
        options["max_tokens"] = call.cap
    base = {"name": call.schema.title, "strict": True}
    if capabilities.structured == "json_schema":
        schema = {**base, "schema": call.schema.json_schema}
        options["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif capabilities.structured == "json_mode":
        options["response_format"] = {"type": "json_object"}
    elif capabilities.structured == "function_calling":
        options["tools"] = [{"type": "function", "function": {**base, "parameters": call.schema.json_schema}}]
        options["tool_choice"] = {"type": "function", "function": {"name": call.schema.title}}
    return options


async def _request_openai(model: "BaseChatModel", capabilities: Capabilities, call: Call) -> "AIMessage":
    return await model.ainvoke(call.messages, _traced_as(call), **openai_options(capabilities, call))


async def _request_local(model: "BaseChatModel", capabilities: Capabilities, call: Call) -> "AIMessage":
    options: dict[str, Any] = {"max_tokens": call.cap} if call.cap else {}
    options |= {"seed": call.seed, "logprobs": call.logprobs}
    return await model.ainvoke(call.messages, _traced_as(call), **options)


async def _request_other(model: "BaseChatModel", capabilities: Capabilities, call: Call) -> "AIMessage":
    """Call another provider; LangChain translates the reply schema for it."""
    model = _capped(model, call.cap)
    if capabilities.structured == "text":
        return await model.ainvoke(call.messages, _traced_as(call))
    method: Any = capabilities.structured
    try:
        bound = model.with_structured_output(call.schema.json_schema, method=method, include_raw=True)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise SchemaError(f"{method} is not supported: {error}") from error
    found: Any = await bound.ainvoke(call.messages, _traced_as(call))
    return found["raw"]  # type: ignore[no-any-return]


def _traced_as(call: Call) -> "RunnableConfig":
    """Return the name, tags and metadata of a call for tracers of LangChain."""
    return {"run_name": call.role, "tags": [call.role], "metadata": dict(call.about)}


def _capped(model: "BaseChatModel", cap: int | None) -> "BaseChatModel":
    """Return the model with a completion cap set in the field of its client, or unchanged if the client has
    no such field. A lower cap that the client has set itself, such as the model's maximum, is kept.
    """
    name = next((name for name in _LENGTHS if name in type(model).model_fields), None)
    if not cap or not name:
        return model
    own = getattr(model, name)
    return model.model_copy(update={name: min(cap, own) if isinstance(own, int) and own > 0 else cap})


def raw_reply(message: "AIMessage") -> RawReply:
    """Convert a LangChain message; its text may be in a tool call or in a refusal."""
    content, about = str(message.text), message.response_metadata
    if message.tool_calls:
        content = json.dumps(message.tool_calls[0]["args"], ensure_ascii=False)
    elif message.invalid_tool_calls:
        content = message.invalid_tool_calls[0]["args"] or ""
    finish = next((str(about[name]) for name in _FINISHES if about.get(name)), "")
    if not content and (refusal := message.additional_kwargs.get("refusal")):
        content, finish = str(refusal), "refusal"
    usage: Any = message.usage_metadata or {}
    return RawReply(
        content,
        finish,
        usage.get("input_tokens"),
        usage.get("output_tokens"),
        (usage.get("input_token_details") or {}).get("cache_read") or 0,
        (usage.get("output_token_details") or {}).get("reasoning") or 0,
        about.get("logprobs"),
    )


def entry_of(spec: ModelSpec, call: Call, said: RawReply, seconds: float, discount: float = 1.0) -> Entry:
    """Return the journal entry; token counts that the server omits are estimated, so that budgets hold."""
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
    """Return the length in bytes and the log-probability of each token of the content.

    Servers also list tokens that they cut from a reply: reasoning, a code fence, white space, the end token.
    The last occurrence of the content is taken, and all tokens around it are left out.

    Returns:
        None if the tokens do not contain the content or are not in OpenAI's format.
    """
    try:
        # Prefer `bytes`: a character may be split over two tokens.
        parsed = [
            (bytes(token.get("bytes") or token["token"].encode()), float(token["logprob"]))
            for token in logprobs["content"]
        ]
    except (LookupError, TypeError, AttributeError, ValueError):
        return None
    whole, wanted = b"".join(part for part, _ in parsed), content.encode()
    start = whole.rfind(wanted)
    if start < 0:
        return None
    kept, place, end = [], 0, start + len(wanted)
    for part, logprob in parsed:
        length = min(end, place + len(part)) - max(start, place)
        if length > 0:
            kept.append((length, round(logprob, 6)))
        place += len(part)
    return kept
