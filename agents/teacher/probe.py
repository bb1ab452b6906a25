"""Probing: tests with a few small calls what an endpoint supports, and remembers the result."""

from dataclasses import replace
from typing import NamedTuple

from tutelage.agents.endpoints.endpoint import Endpoint
from tutelage.agents.endpoints.entry import Entry
from tutelage.agents.endpoints.event_loop import submit
from tutelage.agents.endpoints.exchange import Call, exchange
from tutelage.agents.endpoints.failures import names_cap, read_failure
from tutelage.agents.endpoints.limits import Limits
from tutelage.agents.providers.capabilities import LADDER, Capabilities, remember, remembered
from tutelage.agents.providers.models import ModelSpec, make_model
from tutelage.agents.request import Request
from tutelage.agents.teacher.reply_cap import reply_cap
from tutelage.student.errors import InputError

_NAMES = {
    "json_schema": "JSON schema",
    "function_calling": "function calling",
    "json_mode": "JSON mode",
    "text": "plain text",
}


class Finding(NamedTuple):
    """The feature, whether it is available (None: it is not, but it is optional), and an explanation."""

    what: str
    good: bool | None
    words: str


def probe(spec: ModelSpec, call: Call, *, again: bool = False) -> list[Finding]:
    """Make one real call in every reply mode, remember which modes work, and return the findings.

    If findings are remembered, make only one call, to see whether the endpoint is reachable.

    Args:
        spec: the model.
        call: a labelling call about one text, made at most eight times.
        again: ignore the remembered findings and probe anew.
    """
    if not spec.max_tokens:  # a weak model may never end a plain-text reply
        request = Request(call.role, {}, call.schema, call.seed, wanted=["1"])
        call = replace(call, cap=reply_cap(request, spec))
    try:
        endpoint = Endpoint(spec, make_model(spec), Limits())
    except InputError as error:
        return [Finding("reachable", False, str(error))]
    known = None if again else remembered(spec.display_name)
    return submit(_probe(endpoint, call, known)).result()


async def _probe(endpoint: Endpoint, call: Call, known: Capabilities | None) -> list[Finding]:
    spec = endpoint.spec
    try:
        plain = Capabilities(("text",), logprobs=False, seed=False)
        entry, words = await _try(endpoint, plain, call)
        if entry is None and call.cap and names_cap(words):
            call = replace(call, cap=None)
            entry, words = await _try(endpoint, plain, call)
        if entry is None:
            return [Finding("reachable", False, words)]
        reached = Finding("reachable", True, f"at {spec.base_url or 'its provider'}")
        if known:
            source = Finding("stored", None, f"probed on {known.probed}; --refresh probes again")
            return [reached, *_findings(known), source]
        capabilities = await _probe_modes(endpoint, plain, call)
    finally:
        await endpoint.close()
    if not capabilities.modes:
        return [reached, Finding("structured replies", False, f"no reply could be parsed; {words}")]
    remember(spec.display_name, capabilities)
    return [reached, *_findings(capabilities)]


async def _probe_modes(endpoint: Endpoint, plain: Capabilities, call: Call) -> Capabilities:
    modes, counted = [], False
    for mode in LADDER:
        entry, _ = await _try(endpoint, replace(plain, modes=(mode,)), call)
        if entry and call.schema.read(entry.content)[0]:
            modes.append(mode)
            counted = entry.completion_tokens > 0
    capabilities = replace(plain, modes=tuple(modes), usage=counted)
    if modes:
        seeded, _ = await _try(endpoint, replace(capabilities, seed=True), call)
        measured, _ = await _try(endpoint, replace(capabilities, logprobs=True), call)
        capabilities = replace(capabilities, seed=bool(seeded), logprobs=bool(measured and measured.tokens))
    return capabilities


async def _try(endpoint: Endpoint, capabilities: Capabilities, call: Call) -> tuple[Entry | None, str]:
    """Return the reply and its problems, or None and the error."""
    try:
        entry = await exchange(endpoint.spec, endpoint.model, capabilities, call)
    except Exception as error:  # providers raise types of their own; probing reports them
        return None, read_failure(error).words
    return entry, "; ".join(call.schema.read(entry.content)[1])


def _findings(capabilities: Capabilities) -> list[Finding]:
    words = {name: "yes" if mode in capabilities.modes else "no" for mode, name in _NAMES.items()}
    lacking = "no: confidence comes from votes or the model's own statement"
    words["log-probabilities"] = "yes" if capabilities.logprobs else lacking
    words["seed"] = "yes" if capabilities.seed else "no"
    words["token counts"] = "yes" if capabilities.usage else "no: tokens are estimated"
    return [Finding(feature, word == "yes" or None, word) for feature, word in words.items()]
