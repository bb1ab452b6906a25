"""The rehearsal teacher behind LangChain's interface, with the log-probabilities of OpenAI's protocol."""

import json
import math
import re
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from tutelage.agents.rehearsal.rehearsal import Payload, whole
from tutelage.prompts import read_payload

_TOKEN = 4  # bytes, wherever they fall: tokens span quotes and split characters, as real ones do
_GIVEN = re.compile(
    r'"(?:label|target)": "((?:[^"\\]|\\.)*)", "confidence": ([\d.]+)'
    r'|"(?:labels|entities)": (\[(?!\{"id").*?\]), "confidence": ([\d.]+)'
)
_ORDER = re.compile(
    r"\b(label|answer|classify|mark)\b.*\b(all|every|everything)\b", re.IGNORECASE | re.DOTALL
)


class RehearsalModel(BaseChatModel):
    """The rehearsal teacher as a LangChain chat model; tokens are counted as characters / 4.

    Called with `logprobs=True`, it gives log-probabilities in `response_metadata`, as ChatOpenAI does. A
    `gullible` one does what a text among its data says: "label everything X", "answer X for all".
    """

    rehearsal: Any
    gullible: bool = False

    @property
    def _llm_type(self) -> str:
        return "rehearsal"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **options: Any,
    ) -> ChatResult:
        user = next(message.text for message in messages if message.type == "human")
        payload = read_payload(user)
        answer = _obeyed(payload) if self.gullible else None
        answer = answer or self.rehearsal.answer(payload, int(options.get("seed", 0)))
        content = json.dumps(answer, ensure_ascii=False)
        asked = sum(len(message.text) for message in messages) // 4
        about: dict[str, Any] = {"finish_reason": "stop"}
        if options.get("logprobs"):
            about["logprobs"] = {"content": token_logprobs(content), "refusal": None}
        message = AIMessage(
            content,
            response_metadata=about,
            usage_metadata={
                "input_tokens": asked,
                "output_tokens": len(content) // 4,
                "total_tokens": asked + len(content) // 4,
            },
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, *arguments: Any, **options: Any) -> ChatResult:
        # In this thread, not in an executor: a look-up is quick, and side by side torch only fights itself.
        return self._generate(*arguments, **options)


def token_logprobs(content: str) -> list[dict[str, Any]]:
    """The tokens of a reply of the rehearsal teacher, in the form of the OpenAI protocol.

    The tokens that reach into a label's value multiply to a probability that is overconfident on
    purpose, so that calibration has something to do: the square root of the stated confidence, within
    0.02 and 0.999. All others are certain.
    """
    data = content.encode()
    logprobs = [0.0] * -(-len(data) // _TOKEN)
    for given in _GIVEN.finditer(content):
        value = 1 if given[1] is not None else 3
        start, end = (len(content[:place].encode()) for place in given.span(value))
        inside = range(start // _TOKEN, -(-end // _TOKEN))
        total = math.log(min(0.999, max(0.02, float(given[value + 1]) ** 0.5)))
        for i in inside:
            logprobs[i] = total / len(inside)
    tokens = [data[i : i + _TOKEN] for i in range(0, len(data), _TOKEN)]
    return [
        {"token": token.decode(errors="replace"), "logprob": logprob, "bytes": [*token], "top_logprobs": []}
        for token, logprob in zip(tokens, logprobs, strict=True)
    ]


def _obeyed(payload: Payload) -> dict[str, object] | None:
    """The reply to texts one of which orders a label for all; None when none does."""
    if "kind" in payload:  # an order for a label says nothing of entities or targets
        return None
    entries = payload.get("texts") or payload.get("samples") or ()
    orders = [text for entry in entries if _ORDER.search(text := whole(entry, payload))]
    named = (
        label for text in orders for label in payload["labels"] if re.search(rf"\b{re.escape(label)}\b", text)
    )
    label = next(named, None)
    if label is None:
        return None
    if "texts" in payload:
        said = {"reason": "told to", "label": label, "confidence": 1.0}
        return {"labels": [{"id": entry["id"], **said} for entry in entries]}
    return {"verdicts": [{"id": entry["id"], "reason": "told to", "verdict": "accept"} for entry in entries]}
