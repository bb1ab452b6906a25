"""Make the LangChain chat model that a name in task.yaml stands for."""

import math
import os
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tutelage.agents.providers.capabilities import Structured
from tutelage.agents.providers.prices import Price, listed_price
from tutelage.agents.providers.redact import redact, register
from tutelage.student.errors import InputError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel


OBJECT = "python:"  # begins the name of a model that is given as an object
LONGEST_TIMEOUT = 8  # times `timeout`: the longest time limit of any call
# For "did you mean": LangChain's own list is private, and its package is optional.
_PROVIDERS = (
    *("openai", "hf", "anthropic", "google_genai", "google_vertexai", "azure_openai", "azure_ai", "bedrock"),
    *("bedrock_converse", "cohere", "deepseek", "fireworks", "groq", "huggingface", "ibm", "litellm"),
    *("mistralai", "nvidia", "ollama", "openrouter", "perplexity", "together", "upstage", "xai"),
)


@dataclass(frozen=True)
class ModelSpec:
    """The model of a role and its settings.

    `model` is `openai:<name>`, `hf:<hub name or folder>` (a causal model in this process), `rehearsal`,
    any `provider:name` of LangChain's `init_chat_model` (extra `providers`), or `python:<role>:<name>` for a
    chat model object that `tutelage.run` was given. `base_url` points `openai:`
    at any server with the OpenAI protocol. `api_key_env` names the environment variable with the key; by
    default it is OPENAI_API_KEY, or none with a `base_url`. `temperature` None sends none (some models refuse
    it). `max_tokens` limits the completion tokens of every call; with None each call gets a cap that follows
    from its request (agents/teacher/reply_cap.py). `timeout` is the seconds that one call may take; on an
    endpoint so slow that a full-length reply takes longer, a call may take up to eight times as long
    (agents/endpoints/limits.py). `structured` is the method of structured output; `auto` takes the strictest
    that the endpoint supports. `logprobs` requests the log-probabilities of a label's tokens if available.
    Prices are per million tokens; the defaults are those of agents/providers/prices.yaml, and a model without
    any price has an unknown cost. The fields from `corpus` on belong to the rehearsal teacher
    (agents/rehearsal/rehearsal.py); `faults` is the share of its replies that are spoiled on purpose
    (agents/rehearsal/faults.py).
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
    def display_name(self) -> str:
        """Return the model and its address, for messages and for the cache of capabilities."""
        return f"{self.model} at {self.base_url}" if self.base_url else self.model

    @property
    def in_process(self) -> bool:
        """Return whether the model runs in this process, without a server."""
        return self.model == "rehearsal" or self.model.startswith("hf:")

    @property
    def is_object(self) -> bool:
        """Return whether the model is an object of the user's program."""
        return self.model.startswith(OBJECT)

    @property
    def speaks_openai(self) -> bool:
        """Return whether the model is called with the OpenAI chat protocol."""
        return self.model.startswith("openai:")

    def price(self) -> Price | None:
        """Return the price per million tokens; None if it is unknown."""
        if self.in_process:
            return Price(0.0, 0.0)
        if self.price_prompt is not None and self.price_completion is not None:
            return Price(self.price_prompt, self.price_completion)
        # The shipped prices do not apply to a self-hosted server: it may serve any model under any name.
        return listed_price(self.model, self.prices, shipped=not self.base_url)

    def cost(self, prompt_tokens: float, completion_tokens: float, cached_tokens: float = 0) -> float | None:
        """Return the cost of a call in the currency of the prices; None if the price is unknown."""
        price = self.price()
        return None if price is None else price.cost(prompt_tokens, completion_tokens, cached_tokens)


def make_model(spec: ModelSpec) -> "BaseChatModel":
    """Return the LangChain chat model of a spec (`rehearsal` is in agents/rehearsal/rehearsal_model.py).

    It makes a single try: agents/endpoints/endpoint.py repeats failed calls, because it sees all calls.

    Raises:
        InputError: the environment has no key, the provider is unknown, or its package is missing.
    """
    provider, _, name = spec.model.partition(":")
    if not name:
        raise InputError(
            f"teacher model {spec.model!r}: expected provider:name, e.g. openai:gpt-5-mini, or 'rehearsal'"
        )
    if spec.is_object:
        raise InputError(
            f"the teacher {spec.model!r} is a Python object, which cannot be stored; give it again:"
            " tutelage.resume(folder, teacher=...)"
        )
    options: dict[str, Any] = {"temperature": spec.temperature, "max_tokens": spec.max_tokens}
    options = {name: value for name, value in options.items() if value is not None}
    if provider == "hf":
        from tutelage.agents.providers.local import LocalModel

        return LocalModel(name=name, **options)
    # This is only the upper bound: agents/endpoints/endpoint.py sets the time limit of each call.
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
    """Return the API key; the OpenAI key is never sent to another server unless its variable is named."""
    variable = spec.api_key_env or ("" if spec.base_url else "OPENAI_API_KEY")
    if not variable:
        return "none"  # self-hosted servers accept any key
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
        raise _misspelt(spec) or InputError(
            f"teacher {spec.model!r} needs an extra package; run: pip install 'tutelage[providers]'"
        ) from None
    provider = spec.model.partition(":")[0]
    if provider == "ollama" and "max_tokens" in options:
        options["num_predict"] = options.pop("max_tokens")  # it ignores max_tokens silently
    if provider == "mistralai":
        options["timeout"] = math.ceil(options["timeout"])  # it accepts only whole seconds
    if spec.base_url:
        options["base_url"] = spec.base_url
    if spec.api_key_env or spec.base_url:
        options["api_key"] = _key(spec)
    try:
        model: BaseChatModel = init_chat_model(spec.model, **options)
    except (ImportError, ValueError) as error:
        raise _misspelt(spec) or InputError(
            f"teacher {spec.model!r} cannot be set up: {redact(str(error))}"
        ) from error
    for name, variable in model.lc_secrets.items():  # an empty key fails like a broken connection
        value = getattr(model, name, None)
        if isinstance(value, SecretStr) and not value.get_secret_value():
            raise InputError(f"no API key for {spec.model!r}: set the environment variable {variable}")
    return model


def _misspelt(spec: ModelSpec) -> InputError | None:
    """Return the error for a provider whose name is close to that of a known one; None for all others."""
    provider, _, name = spec.model.partition(":")
    near = get_close_matches(provider, _PROVIDERS, 1)
    if not near or near[0] == provider:
        return None
    return InputError(
        f"teacher {spec.model!r}: unknown provider {provider!r}; did you mean '{near[0]}:{name}'?"
    )
