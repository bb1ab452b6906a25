"""A ChatOpenAI that skips the OpenAI client's request and reply parsing."""

from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatResult
from langchain_openai import ChatOpenAI


class DirectChatOpenAI(ChatOpenAI):
    """Post the request that ChatOpenAI builds unchanged, and return the JSON of the reply.

    The OpenAI client would check every request against its types and parse every structured reply. That takes
    a third of the CPU time of a call. It also raises on a truncated reply, so that a paid reply would be
    missing from the journal. Callbacks, tracing, retries and errors work as in ChatOpenAI.
    """

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        body = self.request(messages, stop=stop, **kwargs)
        return self.result(await self.root_async_client.post("/chat/completions", body=body, cast_to=object))

    def request(self, messages: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the body of a chat completion request."""
        body: dict[str, Any] = self._get_request_payload(messages, **kwargs)
        body.pop("stream", None)
        if self.openai_api_base and (limit := body.pop("max_completion_tokens", None)):
            body["max_tokens"] = limit  # self-hosted servers read the old name and ignore the new one
        return body

    def result(self, reply: Any) -> ChatResult:
        """Convert the JSON of a chat completion to a LangChain result.

        Raises:
            ValueError: the JSON is not a chat completion.
        """
        try:
            result = self._create_chat_result(reply)
            [generation, *_] = result.generations
            refusal = reply["choices"][0]["message"].get("refusal")
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"not a chat completion: {str(reply)[:200]}") from error
        # LangChain does this when a model is invoked, but not for a line of a batch.
        generation.message.response_metadata |= generation.generation_info or {}
        if refusal:
            generation.message.additional_kwargs["refusal"] = refusal
        return result
