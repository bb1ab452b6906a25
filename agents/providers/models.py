"""Chat models: how a name in task.yaml becomes a LangChain model."""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tutelage.agents.providers.capabilities import Structured
from tutelage.agents.providers.prices import Price, listed_price
from tutelage.agents.providers.redact import redact, register
from tutelage.student.errors import InputError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel


LONGEST_TIMEOUT = 8  # times `timeout`: the most seconds that any call may take


@dataclass(frozen=True)
class ModelSpec:
    """Which model a role asks, and how.

    `model` is `openai:<name>`, `hf:<hub name or folder>` (a causal model in this process), `rehearsal`,
    or any `provider:name` of LangChain's `init_chat_model` (extra `providers`). `base_url` points
    `openai:` at any server that speaks its protocol. `api_key_env` names the variable that holds the key:
    OPENAI_API_KEY for OpenAI's own address, none elsewhere. `temperature` None sends none (some models
    refuse it). `max_tokens` is the most completion tokens of every call; with None each call is capped by
    what it asks for (agents/teacher/reply_cap.py). `timeout` is the seconds that one call may take in all;
    where the replies so far came so slowly that a full-length one takes longer, it may take up to eight
    times as long (agents/endpoints/limits.py). `structured`
    `auto` is the strictest way of structured replies that the endpoint supports. `logprobs` asks for the
    log-probabilities of a label's tokens where they are offered. Prices are per million tokens; without
    them those of agents/providers/prices.yaml hold, and a model that is not there either has an unknown cost.
    `corpus` to `faults` are the rehearsal teacher's: agents/rehearsal/rehearsal.py; `faults` is the share of
    its answers that go wrong on the way (agents/rehearsal/faults.py).
    """

    model: str = "rehearsal"
    base_url: str | None = None
    api_key_env: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    timeout: float = 120.0
    structured: Structured | Literal["auto"] = "auto"
    logprobs: bool = True
    price_prompt: float | None = None
    price_completion: float | None = None
    prices: Path | None = None
    corpus: Path | None = None
    label_noise: float = 0.1
    typicality: float = 1.5
    faults: float = 0.0

    @property
    def place(self) -> str:
        """The model and its address, for messages."""
        return f"{self.model} at {self.base_url}" if self.base_url else self.model

    @property
    def in_process(self) -> bool:
        """Whether no server is asked."""
        return self.model == "rehearsal" or self.model.startswith("hf:")

    @property
    def speaks_openai(self) -> bool:
        """Whether it is asked in the OpenAI chat protocol."""
        return self.model.startswith("openai:")

    def price(self) -> Price | None:
        """Per million tokens; None when it is unknown."""
        if self.in_process:
            return Price(0.0, 0.0)
        if self.price_prompt is not None and self.price_completion is not None:
            return Price(self.price_prompt, self.price_completion)
        # A server of one's own may serve any model under any name: the shipped prices say nothing of it.
        return listed_price(self.model, self.prices, shipped=not self.base_url)

    def cost(self, prompt_tokens: float, completion_tokens: float, cached_tokens: float = 0) -> float | None:
        """Cost of a call in the currency of the prices; None when a price is unknown."""
        price = self.price()
        return None if price is None else price.cost(prompt_tokens, completion_tokens, cached_tokens)


def make_model(spec: ModelSpec) -> "BaseChatModel":
    """The LangChain chat model of a spec (not for `rehearsal`: see agents/rehearsal/rehearsal_model.py).

    It tries once: agents/endpoints/endpoint.py tries again, since only there the other calls are known.

    Raises:
        InputError: no key in the environment, an unknown provider, or its package is missing.
    """
    provider, _, name = spec.model.partition(":")
    if not name:
        raise InputError(
            f"teacher model {spec.model!r}: expected provider:name, e.g. openai:gpt-5-mini, or 'rehearsal'"
        )
    options: dict[str, Any] = {"temperature": spec.temperature, "max_tokens": spec.max_tokens}
    options = {name: value for name, value in options.items() if value is not None}
    if provider == "hf":
        from tutelage.agents.providers.local import LocalModel

        return LocalModel(name=name, **options)
    # How long a call may take is decided where its speed is measured: agents/endpoints/endpoint.py.
    longest = LONGEST_TIMEOUT * spec.timeout
    options |= {"timeout": longest, "max_retries": 0}
    if provider != "openai":
        return _any_provider(spec, options)
    from openai import DefaultAioHttpClient
    from pydantic import SecretStr
    from tutelage.agents.providers.chat import DirectChatOpenAI

    # aiohttp under the OpenAI client takes about half the CPU of its default transport.
    client = DefaultAioHttpClient(timeout=longest)
    key = SecretStr(_key(spec))
    return DirectChatOpenAI(
        model=name,
        base_url=spec.base_url,
        api_key=key,
        http_async_client=client,
        use_responses_api=False,
        **options,
    )


def _key(spec: ModelSpec) -> str:
    """The API key; a provider's key goes to that provider alone, unless its variable is named."""
    variable = spec.api_key_env or ("" if spec.base_url else "OPENAI_API_KEY")
    if not variable:
        return "none"  # servers of one's own take any key
    if key := os.environ.get(variable):
        register(variable)
        return key
    raise InputError(
        f"no API key: the environment variable {variable} is not set;"
        " set it, or name another with `api_key_env` under `teacher`"
    )


def _any_provider(spec: ModelSpec, options: dict[str, Any]) -> "BaseChatModel":
    from pydantic import SecretStr

    try:
        from langchain.chat_models import init_chat_model
    except ImportError:
        raise InputError(
            f"teacher {spec.model!r} needs an extra; run: pip install 'tutelage[providers]'"
        ) from None
    provider = spec.model.partition(":")[0]
    if provider == "ollama" and "max_tokens" in options:
        options["num_predict"] = options.pop("max_tokens")  # it drops max_tokens without a word
    if provider == "mistralai":
        options["timeout"] = math.ceil(options["timeout"])  # it takes whole seconds only
    if spec.base_url:
        options["base_url"] = spec.base_url
    if spec.api_key_env or spec.base_url:
        options["api_key"] = _key(spec)
    try:
        model: BaseChatModel = init_chat_model(spec.model, **options)
    except (ImportError, ValueError) as error:
        raise InputError(f"teacher {spec.model!r} cannot be set up: {redact(str(error))}") from error
    for name, variable in model.lc_secrets.items():  # an empty key would look like a broken connection
        value = getattr(model, name, None)
        if isinstance(value, SecretStr) and not value.get_secret_value():
            raise InputError(f"no API key for {spec.model!r}: set the environment variable {variable}")
    return model
