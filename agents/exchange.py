"""An exchange: what one call carries in each provider's way, and what is kept of its reply."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tutelage.agents.capabilities import Capabilities
from tutelage.agents.forms import Form
from tutelage.agents.journal import Entry
from tutelage.agents.models import ModelSpec
from tutelage.agents.redact import redact

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage

_BYTES_A_TOKEN = 3  # UTF-8; English has about four, Chinese three
Messages = list[tuple[str, str]]


@dataclass(frozen=True)
class Call:
    """One call: who asks, what, in which form, with which seed, and whether with log-probabilities."""

    role: str
    messages: Messages
    form: Form[Any]
    seed: int
    logprobs: bool
    reply_tokens: float

    @property
    def prompt_tokens(self) -> float:
        """An estimate, before the provider has counted."""
        return sum(len(text.encode()) for _, text in self.messages) / _BYTES_A_TOKEN


async def exchange(spec: ModelSpec, model: "BaseChatModel", can: Capabilities, call: Call) -> Entry:
    """One call of a chat model in the way its endpoint supports; takes at most `spec.timeout` seconds.

    Raises:
        Exception: whatever the provider's client raises; TimeoutError.
    """
    start = time.monotonic()
    async with asyncio.timeout(spec.timeout):  # a client's own time-out starts anew with every byte
        ask = _ask_openai if spec.speaks_openai else _ask_in_process if spec.in_process else _ask_other
        message = await ask(model, can, call)
    return _entry(spec, call, message, time.monotonic() - start)


async def _ask_openai(model: "BaseChatModel", can: Capabilities, call: Call) -> "AIMessage":
    form = {"name": call.form.title, "schema": call.form.schema, "strict": True}
    options: dict[str, Any] = {"seed": call.seed} if can.seed else {}
    if call.logprobs and can.logprobs:
        options["logprobs"] = True
    # In the body, not as an argument: with the argument the client parses by itself, and raises on a
    # truncated reply, which then is paid for and in no journal.
    if can.structured == "json_schema":
        options["extra_body"] = {"response_format": {"type": "json_schema", "json_schema": form}}
    elif can.structured == "json_mode":
        options["extra_body"] = {"response_format": {"type": "json_object"}}
    elif can.structured == "function_calling":
        tool = {"name": call.form.title, "parameters": call.form.schema, "strict": True}
        options["tools"] = [{"type": "function", "function": tool}]
        options["tool_choice"] = {"type": "function", "function": {"name": call.form.title}}
    return await model.ainvoke(call.messages, **options)


async def _ask_in_process(model: "BaseChatModel", can: Capabilities, call: Call) -> "AIMessage":
    return await model.ainvoke(call.messages, seed=call.seed, logprobs=call.logprobs)


async def _ask_other(model: "BaseChatModel", can: Capabilities, call: Call) -> "AIMessage":
    """Other providers get the form as LangChain hands it to each."""
    if can.structured == "text":
        return await model.ainvoke(call.messages)
    method: Any = can.structured
    bound = model.with_structured_output(call.form.schema, method=method, include_raw=True)
    found: Any = await bound.ainvoke(call.messages)
    return found["raw"]  # type: ignore[no-any-return]


def _entry(spec: ModelSpec, call: Call, message: "AIMessage", seconds: float) -> Entry:
    """What the journal keeps of a message; its text may stand in a tool call or be a refusal."""
    content = str(message.text)
    if calls := message.additional_kwargs.get("tool_calls"):
        content = calls[0]["function"]["arguments"]
    elif message.tool_calls:
        content = json.dumps(message.tool_calls[0]["args"], ensure_ascii=False)
    elif message.invalid_tool_calls:
        content = message.invalid_tool_calls[0]["args"] or ""
    about = message.response_metadata
    finish = str(about.get("finish_reason") or about.get("stop_reason") or "")
    refusal = message.additional_kwargs.get("refusal")
    if not content and refusal:
        content, finish = str(refusal), "refusal"
    usage: Any = message.usage_metadata or {}
    # A server that does not count must not run past a budget of tokens: what it took is estimated.
    prompt = int(usage.get("input_tokens") or call.prompt_tokens)
    completion = int(usage.get("output_tokens") or len(content.encode()) / _BYTES_A_TOKEN)
    cached = int((usage.get("input_token_details") or {}).get("cache_read") or 0)
    return Entry(
        role=call.role,
        content=redact(content),
        finish=finish,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cost=spec.cost(prompt, completion, cached),
        seconds=seconds,
        cached_tokens=cached,
        tokens=_tokens((about.get("logprobs") or {}).get("content"), content),
    )


def _tokens(found: Sequence[dict[str, Any]] | None, content: str) -> list[tuple[int, float]] | None:
    """Length in bytes and log-probability of each token; None unless together they are the content."""
    if not found:
        return None
    # `bytes` where given: a character may be split over two tokens.
    parts = [
        (bytes(token["bytes"]) if token.get("bytes") else token["token"].encode(), float(token["logprob"]))
        for token in found
    ]
    if b"".join(part for part, _ in parts) != content.encode():
        return None
    return [(len(part), round(logprob, 6)) for part, logprob in parts]
