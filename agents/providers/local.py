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

_LOADED: WeakValueDictionary[str, Causal] = WeakValueDictionary()  # frees a model with its last user


class LocalModel(BaseChatModel):
    """Run the model `name`: a hub name or a folder, whose tokenizer must have a chat template.

    The weights are loaded at the first call and shared by all models of that name: bfloat16 on CUDA, float32
    elsewhere. Calls run one at a time, in a thread of their own. With `temperature` None or 0 the most likely
    token is taken each time. Otherwise tokens are sampled with the call's `seed`, and only the temperature
    changes their probabilities. `max_tokens` limits a reply if the call sets no limit. Thinking is switched
    off in models that support it: the replies themselves have a field for reasons.

    With `logprobs=True`, the log-probabilities at temperature 1 are returned in `response_metadata`, as
    ChatOpenAI does.
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
            given_up.set()  # otherwise an abandoned reply would delay the next one

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
                f"a local model accepts only the options `seed`, `logprobs` and `max_tokens`, got {got}"
            )
        prompt = self._causal.prompt(convert_to_openai_messages(messages, text_format="string"))
        sampler = _Sampler(self.temperature or 0.0, seed, given_up)
        ids, ended = self._causal.generate(prompt, max_tokens or self.max_tokens, sampler)
        pieces = token_bytes(self._causal.tokenizer, ids)
        content = b"".join(pieces).decode()
        about: dict[str, Any] = {"model_name": self.name, "finish_reason": "stop" if ended else "length"}
        if logprobs:
            about["logprobs"] = {"content": _token_logprobs(pieces, sampler.logprobs)}
        inputs, outputs = prompt["input_ids"].shape[1], len(sampler.logprobs)
        usage = {"input_tokens": inputs, "output_tokens": outputs, "total_tokens": inputs + outputs}
        message = AIMessage(content, response_metadata=about, usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=message)])


@dataclass
class _Sampler:
    """Choose each next token, and record its log-probability under the unmodified model."""

    temperature: float
    seed: int
    given_up: Event
    logprobs: list[float] = field(default_factory=list)

    def __call__(self, ids: "Tensor", scores: "Tensor") -> "Tensor":
        """Return scores of shape (1, vocabulary): 0 for the chosen token, minus infinity for all others."""
        if self.given_up.is_set():
            raise InterruptedError("the caller stopped waiting for this reply")
        logprobs = scores.float().log_softmax(-1)
        chosen = int(self._sample(logprobs) if self.temperature else logprobs.argmax())
        self.logprobs.append(float(logprobs[0, chosen]))
        only = scores.new_full(scores.shape, float("-inf"))
        only[0, chosen] = 0
        return only

    def _sample(self, logprobs: "Tensor") -> "Tensor":
        return (logprobs / self.temperature).softmax(-1).cpu().multinomial(1, generator=self._generator)

    @cached_property
    def _generator(self) -> Any:
        import torch

        # A generator of its own: sampling must not advance the global one, which training uses.
        return torch.Generator().manual_seed(self.seed)


def _token_logprobs(pieces: Sequence[bytes], logprobs: Sequence[float]) -> list[dict[str, Any]]:
    return [
        {"token": piece.decode(errors="replace"), "logprob": logprob, "bytes": [*piece]}
        for piece, logprob in zip(pieces, logprobs, strict=True)
    ]
