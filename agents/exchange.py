"""An exchange: what one call carries in each provider's way, and what is kept of its reply."""

import asyncio
import json
import time
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
_FINISHES = ("finish_reason", "stop_reason", "done_reason")  # OpenAI's, Anthropic's and Ollama's word for it
Messages = list[tuple[str, str]]


class FormError(Exception):
    """A provider's client does not know this way of structured replies."""

    status_code = 400  # as a server says it: agents/failures.py reads both alike


@dataclass(frozen=True)
class Call:
    """One call: its key in the journal, who asks, what, in which form, with which seed, whether with
    log-probabilities, and about how many tokens long the reply will be.
    """

    key: str
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


@dataclass(frozen=True)
class Said:
    """What a model said, in whichever protocol; None where its server counts no tokens."""

    content: str
    finish: str
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int
    logprobs: Any


async def exchange(spec: ModelSpec, model: "BaseChatModel", can: Capabilities, call: Call) -> Entry:
    """One call of a chat model in the way its endpoint supports; of a server it takes at most `spec.timeout`
    seconds (a model in this process also loads its weights and has a queue).

    Raises:
        Exception: whatever the provider's client raises; TimeoutError.
    """
    start = time.monotonic()
    # A client's own time-out starts anew with every byte.
    async with asyncio.timeout(None if spec.in_process else spec.timeout):
        ask = _ask_openai if spec.speaks_openai else _ask_in_process if spec.in_process else _ask_other
        message = await ask(model, can, call)
    return entry_of(spec, call, said_by(message), time.monotonic() - start)


def openai_options(can: Capabilities, call: Call) -> dict[str, Any]:
    """What a request in the OpenAI protocol carries beside model and messages."""
    options: dict[str, Any] = {"seed": call.seed} if can.seed else {}
    if call.logprobs and can.logprobs:
        options["logprobs"] = True
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
    return await model.ainvoke(call.messages, seed=call.seed, logprobs=call.logprobs)


async def _ask_other(model: "BaseChatModel", can: Capabilities, call: Call) -> "AIMessage":
    """Other providers get the form as LangChain hands it to each."""
    if can.structured == "text":
        return await model.ainvoke(call.messages)
    method: Any = can.structured
    try:
        bound = model.with_structured_output(call.form.schema, method=method, include_raw=True)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise FormError(f"{method} is not supported: {error}") from error
    found: Any = await bound.ainvoke(call.messages)
    return found["raw"]  # type: ignore[no-any-return]


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
