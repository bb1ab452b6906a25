"""Chat models: how a name in task.yaml becomes a LangChain model."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tutelage.student.errors import InputError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

Structured = Literal["json_schema", "json_mode", "text"]


@dataclass(frozen=True)
class ModelSpec:
    """Which model a role asks, and how.

    `model` is `openai:<name>`, `rehearsal`, or any `provider:name` of LangChain's `init_chat_model`
    (extra `providers`). `base_url` points `openai:` at any server that speaks its protocol.
    `temperature` None sends none (some models refuse it). `price_prompt` and `price_completion` are
    per million tokens; without them the cost is unknown.
    """

    model: str = "rehearsal"
    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    temperature: float | None = None
    timeout: float = 120.0
    structured: Structured = "json_schema"
    price_prompt: float | None = None
    price_completion: float | None = None
    corpus: Path | None = None
    label_noise: float = 0.1
    typicality: float = 1.5

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """Cost of a call in the currency of the prices; None when a price is unknown."""
        if self.model == "rehearsal":
            return 0.0
        if self.price_prompt is None or self.price_completion is None:
            return None
        return (prompt_tokens * self.price_prompt + completion_tokens * self.price_completion) / 1e6


def make_model(spec: ModelSpec) -> "BaseChatModel":
    """The LangChain chat model of a spec (not for `rehearsal`: see agents/rehearsal.py).

    Raises:
        InputError: no key in the environment, an unknown provider, or its package is missing.
    """
    provider, _, name = spec.model.partition(":")
    if not name:
        raise InputError(
            f"teacher model {spec.model!r}: expected provider:name, e.g. openai:gpt-5-mini, or 'rehearsal'"
        )
    options: dict[str, Any] = {"timeout": spec.timeout, "max_retries": 4}
    if spec.temperature is not None:
        options["temperature"] = spec.temperature
    if provider != "openai":
        return _any_provider(spec.model, options)
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    key = os.environ.get(spec.api_key_env)
    if not key:
        if spec.base_url is None:
            raise InputError(
                f"no API key: the environment variable {spec.api_key_env} is not set;"
                " set it, or name another with `api_key_env` under `teacher`"
            )
        key = "none"  # local servers take any key
    return ChatOpenAI(model=name, base_url=spec.base_url, api_key=SecretStr(key), **options)


def _any_provider(name: str, options: dict[str, Any]) -> "BaseChatModel":
    try:
        from langchain.chat_models import init_chat_model
    except ImportError:
        raise InputError(f"teacher {name!r} needs an extra; run: pip install 'tutelage[providers]'") from None
    try:
        model: BaseChatModel = init_chat_model(name, **options)
    except (ImportError, ValueError) as error:
        raise InputError(f"teacher {name!r} cannot be set up: {error}") from error
    return model
