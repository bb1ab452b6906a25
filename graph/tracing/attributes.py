"""The attributes of spans: those of OpenTelemetry's conventions for generative AI, and our own `tutelage.*`.

Names and values follow release 0.1.0 of open-telemetry/semantic-conventions-genai, which is still in
development. Only numbers, ids and names of models and roles become attributes, never a text, a prompt or the
message of an error.
"""

from collections.abc import Sequence

from tutelage.graph.run_folder.trace import Event
from tutelage.prompts import ROLES

Attributes = dict[str, str | bool | int | float | Sequence[str]]

# What the conventions call the providers of LangChain's `init_chat_model`; others keep their name.
_PROVIDERS = {
    "azure_ai": "azure.ai.inference",
    "azure_openai": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "google_genai": "gcp.gemini",
    "google_vertexai": "gcp.vertex_ai",
    "ibm": "ibm.watsonx.ai",
    "mistralai": "mistral_ai",
    "xai": "x_ai",
}
_MEASURED = ("metric", "gate", "p_value", "accepted", "attempt", "rows", "again")  # fields of `leave` events
_COUNTED = ("written", "drawn", "labelled")  # fields of `leave` events that list samples


def run_attributes() -> Attributes:
    """Return the attributes of the span of a whole run."""
    return {"gen_ai.operation.name": "invoke_workflow", "gen_ai.agent.name": "tutelage"}


def node_attributes(node: str, round: int) -> Attributes:
    """Return the attributes of the span of a node; the nodes of the four roles are agents."""
    agent: Attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": node}
    return {"tutelage.node": node, "tutelage.round": round, **(agent if node in ROLES else {})}


def result_attributes(event: Event) -> Attributes:
    """Return what a `leave` event says about the node's work: measures, and samples by status."""
    found: Attributes = {f"tutelage.{name}": event[name] for name in _MEASURED if event.get(name) is not None}
    lists = {name: event[name] for name in _COUNTED if isinstance(event.get(name), list)}
    lists |= event.get("samples", {})
    found |= {f"tutelage.samples.{name}": len(ids) for name, ids in lists.items()}
    if weaknesses := event.get("weaknesses"):
        found["tutelage.weaknesses"] = list(weaknesses)
    return found


def chat_attributes(event: Event) -> Attributes:
    """Return the attributes of the span of a teacher call, from its `call` or `refused` event."""
    provider, _, model = event["model"].partition(":")
    attributes: Attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": _PROVIDERS.get(provider, provider),
        "gen_ai.request.model": model or provider,
        "gen_ai.prompt.name": event["role"],
        "tutelage.role": event["role"],
        "tutelage.node": event["node"],
        "tutelage.round": event["round"],
    }
    if "fold" in event:
        attributes["tutelage.fold"] = event["fold"]
    if weaknesses := event.get("weaknesses"):
        attributes["tutelage.weaknesses"] = weaknesses
    return attributes


def reply_attributes(event: Event) -> Attributes:
    """Return the attributes of a `call` event's reply. A replayed one has no usage: it cost nothing."""
    attributes: Attributes = {
        "gen_ai.output.type": "json",
        "gen_ai.response.finish_reasons": [event["finish"]],
        "tutelage.call": event["call"],
        "tutelage.replayed": event["replayed"],
        "tutelage.tries": event["tries"],
        "tutelage.incomplete": event["incomplete"],
    }
    if event["replayed"]:
        return attributes
    attributes |= {
        "gen_ai.usage.input_tokens": event["prompt_tokens"],
        "gen_ai.usage.output_tokens": event["completion_tokens"],
    }
    if event["cached_tokens"]:
        attributes["gen_ai.usage.cache_read.input_tokens"] = event["cached_tokens"]
    if event["reasoning_tokens"]:
        attributes["gen_ai.usage.reasoning.output_tokens"] = event["reasoning_tokens"]
    if event["cost"] is not None:
        attributes["tutelage.cost"] = event["cost"]
    return attributes
