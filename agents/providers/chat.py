"""ChatOpenAI with a shorter way to the wire."""

from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatResult
from langchain_openai import ChatOpenAI


class DirectChatOpenAI(ChatOpenAI):
    """Posts the request that ChatOpenAI builds as it is, and hands over the JSON that comes back.

    The OpenAI client would check every request against its types, and parse every structured reply: that
    takes a third of the CPU of a call, and raises on a truncated reply, which then is paid for and in no
    journal. Callbacks, tracing, retries and errors are as ever.
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
        """The body of a chat completion request."""
        body: dict[str, Any] = self._get_request_payload(messages, **kwargs)
        body.pop("stream", None)
        if self.openai_api_base and (most := body.pop("max_completion_tokens", None)):
            body["max_tokens"] = most  # servers of one's own know the old name, and ignore the new one
        return body

    def result(self, reply: Any) -> ChatResult:
        """What a chat completion holds.

        Raises:
            ValueError: it is none.
        """
        try:
            result = self._create_chat_result(reply)
            [generation, *_] = result.generations
            refusal = reply["choices"][0]["message"].get("refusal")
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"not a chat completion: {str(reply)[:200]}") from error
        # As LangChain does when a model is invoked; a line of a batch is not.
        generation.message.response_metadata |= generation.generation_info or {}
        if refusal:
            generation.message.additional_kwargs["refusal"] = refusal
        return result
