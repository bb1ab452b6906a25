"""The rehearsal teacher as a LangChain chat model, with log-probabilities in OpenAI's format."""

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

_TOKEN = 4  # bytes a token: tokens span quotes and split characters, as real ones do
_LABELS = re.compile(
    r'"(?:label|target)": "((?:[^"\\]|\\.)*)", "confidence": ([\d.]+)'
    r'|"(?:labels|entities)": (\[(?!\{"id").*?\]), "confidence": ([\d.]+)'
)
_INJECTION = re.compile(
    r"\b(label|answer|classify|mark)\b.*\b(all|every|everything)\b", re.IGNORECASE | re.DOTALL
)


class RehearsalModel(BaseChatModel):
    """Call the rehearsal teacher as a LangChain chat model; a token is counted as four characters.

    With `logprobs=True`, log-probabilities are returned in `response_metadata`, as ChatOpenAI does. With
    `gullible`, the model obeys prompt injections in the texts: "label everything X", "answer X for all".
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
        prompt_tokens = sum(len(message.text) for message in messages) // 4
        about: dict[str, Any] = {"finish_reason": "stop"}
        if options.get("logprobs"):
            about["logprobs"] = {"content": token_logprobs(content), "refusal": None}
        message = AIMessage(
            content,
            response_metadata=about,
            usage_metadata={
                "input_tokens": prompt_tokens,
                "output_tokens": len(content) // 4,
                "total_tokens": prompt_tokens + len(content) // 4,
            },
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, *arguments: Any, **options: Any) -> ChatResult:
        # In this thread, not in an executor: a look-up is fast, and parallel torch calls only slow down.
        return self._generate(*arguments, **options)


def token_logprobs(content: str) -> list[dict[str, Any]]:
    """Return the tokens of a rehearsal teacher's reply with log-probabilities, in OpenAI's format.

    The probabilities of the tokens that overlap a label's value multiply to the square root of the stated
    confidence, clipped to between 0.02 and 0.999. It is overconfident on purpose, so that calibration has an
    effect. All other tokens have probability 1.
    """
    data = content.encode()
    logprobs = [0.0] * -(-len(data) // _TOKEN)
    for match in _LABELS.finditer(content):
        value = 1 if match[1] is not None else 3
        start, end = (len(content[:place].encode()) for place in match.span(value))
        inside = range(start // _TOKEN, -(-end // _TOKEN))
        total = math.log(min(0.999, max(0.02, float(match[value + 1]) ** 0.5)))
        for i in inside:
            logprobs[i] = total / len(inside)
    tokens = [data[i : i + _TOKEN] for i in range(0, len(data), _TOKEN)]
    return [
        {"token": token.decode(errors="replace"), "logprob": logprob, "bytes": [*token], "top_logprobs": []}
        for token, logprob in zip(tokens, logprobs, strict=True)
    ]


def _obeyed(payload: Payload) -> dict[str, object] | None:
    """Return the reply that a prompt injection among the texts demands; None if there is none."""
    if "kind" in payload:  # an injected label cannot be applied to entities or targets
        return None
    entries = payload.get("texts") or payload.get("samples") or ()
    hits = [text for entry in entries if _INJECTION.search(text := whole(entry, payload))]
    named = (
        label for text in hits for label in payload["labels"] if re.search(rf"\b{re.escape(label)}\b", text)
    )
    label = next(named, None)
    if label is None:
        return None
    if "texts" in payload:
        answer = {"reason": "fixed reply", "label": label, "confidence": 1.0}
        return {"labels": [{"id": entry["id"], **answer} for entry in entries]}
    return {
        "verdicts": [{"id": entry["id"], "reason": "fixed reply", "verdict": "accept"} for entry in entries]
    }
