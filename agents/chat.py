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
        body = self._get_request_payload(messages, stop=stop, **kwargs)
        reply: Any = await self.root_async_client.post("/chat/completions", body=body, cast_to=object)
        result = self._create_chat_result(reply)
        if refusal := reply["choices"][0]["message"].get("refusal"):
            result.generations[0].message.additional_kwargs["refusal"] = refusal
        return result
