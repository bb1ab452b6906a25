"""A Hugging Face causal model in this process, as a LangChain chat model."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from threading import Event
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, convert_to_openai_messages
from langchain_core.outputs import ChatGeneration, ChatResult
from tutelage.agents.providers.causal import Causal
from tutelage.agents.providers.token_bytes import token_bytes
from tutelage.student.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

_LOADED: WeakValueDictionary[str, Causal] = WeakValueDictionary()  # a model is freed with its last user


class LocalModel(BaseChatModel):
    """Asks `name`, a hub name or a folder with a tokenizer that has a chat template.

    Its weights are loaded at the first question and shared by all models of that name: bfloat16 on CUDA,
    float32 elsewhere. It answers one question at a time, in a thread of its own. `temperature` None or 0
    takes the likeliest token each time; otherwise tokens are drawn by the call's `seed`, and nothing but
    the temperature bends their probabilities. `max_tokens` bounds a reply that is asked for
    without a bound of its own. Models that can think aloud
    are told not to: replies have a place for reasons.

    Called with `logprobs=True`, it gives the log-probabilities at temperature 1 in `response_metadata`,
    as ChatOpenAI does.
    """

    name: str
    temperature: float | None = None
    max_tokens: int = 2048

    @property
    def _llm_type(self) -> str:
        return "local"

    @cached_property
    def _causal(self) -> Causal:
        return _LOADED.setdefault(self.name, Causal(self.name))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **options: Any,
    ) -> ChatResult:
        return self._causal.thread.submit(self._reply, messages, stop, Event(), **options).result()

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **options: Any,
    ) -> ChatResult:
        given_up = Event()
        future = self._causal.thread.submit(self._reply, messages, stop, given_up, **options)
        try:
            return await asyncio.wrap_future(future)
        finally:
            given_up.set()  # else a reply that nobody waits for any more holds up the next

    def _reply(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        given_up: Event,
        *,
        seed: int = 0,
        logprobs: bool = False,
        max_tokens: int | None = None,
        **unknown: object,
    ) -> ChatResult:
        if stop or unknown:
            got = ", ".join([*(["stop"] if stop else []), *unknown])
            raise InputError(
                f"a local model is asked with `seed`, `logprobs` and `max_tokens` only, got {got}"
            )
        prompt = self._causal.prompt(convert_to_openai_messages(messages, text_format="string"))
        choice = _Choice(self.temperature or 0.0, seed, given_up)
        ids, ended = self._causal.generate(prompt, max_tokens or self.max_tokens, choice)
        pieces = token_bytes(self._causal.tokenizer, ids)
        content = b"".join(pieces).decode()
        about: dict[str, Any] = {"model_name": self.name, "finish_reason": "stop" if ended else "length"}
        if logprobs:
            about["logprobs"] = {"content": _entries(pieces, choice.logprobs)}
        asked, told = prompt["input_ids"].shape[1], len(choice.logprobs)
        usage = {"input_tokens": asked, "output_tokens": told, "total_tokens": asked + told}
        message = AIMessage(content, response_metadata=about, usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=message)])


@dataclass
class _Choice:
    """Chooses each next token, and keeps the log-probability that the model itself gave it."""

    temperature: float
    seed: int
    given_up: Event
    logprobs: list[float] = field(default_factory=list)

    def __call__(self, ids: "Tensor", scores: "Tensor") -> "Tensor":
        """Scores of shape (1, vocabulary) of which only the chosen token's is not minus infinity."""
        if self.given_up.is_set():
            raise InterruptedError("nobody waits for this reply any more")
        logprobs = scores.float().log_softmax(-1)
        chosen = int(self._draw(logprobs) if self.temperature else logprobs.argmax())
        self.logprobs.append(float(logprobs[0, chosen]))
        only = scores.new_full(scores.shape, float("-inf"))
        only[0, chosen] = 0
        return only

    def _draw(self, logprobs: "Tensor") -> "Tensor":
        return (logprobs / self.temperature).softmax(-1).cpu().multinomial(1, generator=self._chance)

    @cached_property
    def _chance(self) -> Any:
        import torch

        # Of its own: the process's generator is the training's.
        return torch.Generator().manual_seed(self.seed)


def _entries(pieces: Sequence[bytes], logprobs: Sequence[float]) -> list[dict[str, Any]]:
    return [
        {"token": piece.decode(errors="replace"), "logprob": logprob, "bytes": [*piece]}
        for piece, logprob in zip(pieces, logprobs, strict=True)
    ]
