"""The doctor: what is installed, on which device, and what a teacher can do."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tutelage.agents.models import ModelSpec, make_model
from tutelage.graph.config import Task
from tutelage.student.errors import InputError

Finding = tuple[str, bool | None, str]  # what, good / bad / for information, the words
_LIBRARIES = ("langgraph", "langchain-openai", "torch", "transformers", "sentence-transformers", "chromadb")
_OPTIONAL = {"grandalf": "ascii", "langchain": "providers"}


def examine_installation() -> list[Finding]:
    """Python, libraries, extras, device, and whether the embedded encoder answers."""
    import torch
    from tutelage.student.encoder import Encoder, device

    findings: list[Finding] = [("python", None, platform.python_version())]
    for name in _LIBRARIES:
        findings.append((name, *_version(name, "pip install tutelage")))
    for name, extra in _OPTIONAL.items():
        good, words = _version(name, f"optional: pip install 'tutelage[{extra}]'")
        findings.append((name, good or None, words))
    where = device()
    name = torch.cuda.get_device_name(0) if where == "cuda" else f"{torch.get_num_threads()} threads"
    findings.append(("device", None, f"{where} ({name})"))
    try:
        findings.append(("encoder", True, Encoder().fingerprint))
    except InputError as error:
        findings.append(("encoder", False, str(error)))
    return findings


def examine_teacher(task: Task) -> list[Finding]:
    """Ask every model of a task a few tiny questions (some hundred tokens in all)."""
    findings: list[Finding] = []
    roles: dict[ModelSpec, list[str]] = {}
    for role, spec in task.model_specs().items():
        roles.setdefault(spec, []).append(role)
    for spec, names in roles.items():
        who = f"{spec.model} ({', '.join(names)})"
        if spec.model == "rehearsal":
            findings.append((who, True, "offline look-up, not a language model; nothing to reach"))
            continue
        findings += [(f"{who} {what}", good, words) for what, good, words in _probe(spec)]
    return findings


def _probe(spec: ModelSpec) -> list[Finding]:
    """Reachable? Then JSON schema, JSON mode, log-probabilities, and whether it counts tokens."""
    schema = {
        "title": "Probe",
        "type": "object",
        "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "Probe", "schema": schema, "strict": True}}
    question = 'Reply with the JSON object {"ok": true}.'
    try:
        model = make_model(spec)
        reply = model.invoke(question)
    except Exception as error:  # providers raise types of their own; the doctor tells, it does not fail
        return [("reachable", False, f"{type(error).__name__}: {str(error).splitlines()[0]}")]
    counted = bool(reply.usage_metadata and reply.usage_metadata["output_tokens"])
    return [
        ("reachable", True, f"at {spec.base_url}" if spec.base_url else "yes"),
        ("json_schema", *_try(model, question, response_format=wanted)),
        ("json_mode", *_try(model, question, response_format={"type": "json_object"})),
        ("log-probabilities", *_try(model, question, logprobs=True)),
        ("token counts", counted or None, "yes" if counted else "no: cost and token budgets see 0"),
    ]


def _try(model: Any, question: str, **options: Any) -> tuple[bool | None, str]:
    import json

    try:
        reply = model.invoke(question, **options)
    except Exception as error:  # as above
        return None, f"no ({type(error).__name__})"
    if "logprobs" in options:
        found = bool(reply.response_metadata.get("logprobs"))
        return found or None, "yes" if found else "no"
    try:
        good = json.loads(reply.text) == {"ok": True}
    except ValueError:
        good = False
    return good or None, "yes" if good else "accepted, but the reply was not what was asked"


def _version(name: str, remedy: str) -> tuple[bool, str]:
    try:
        return True, version(name)
    except PackageNotFoundError:
        return False, f"not installed; {remedy}"
