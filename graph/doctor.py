"""The doctor: what is installed, on which device, and what a teacher can do."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tutelage.agents.forms import Form, GivenLabel, with_labels
from tutelage.agents.models import ModelSpec, make_model
from tutelage.graph.config import Task
from tutelage.prompts import render
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
    """Have every model of a task label one text a few times (some thousand tokens in all)."""
    findings: list[Finding] = []
    roles: dict[ModelSpec, list[str]] = {}
    for role, spec in task.model_specs().items():
        roles.setdefault(spec, []).append(role)
    for spec, names in roles.items():
        who = f"{spec.model} ({', '.join(names)})"
        if spec.model == "rehearsal":
            findings.append((who, True, "offline look-up, not a language model; nothing to reach"))
            continue
        findings += [(f"{who} {what}", good, words) for what, good, words in _probe(task, spec)]
    return findings


def _probe(task: Task, spec: ModelSpec) -> list[Finding]:
    """One true labelling call: reachable? Then JSON schema, JSON mode, log-probabilities, token counts."""
    brief = task.brief()
    form = with_labels("Labels", "labels", GivenLabel, tuple(brief["labels"]), "label")
    payload = {**brief, "texts": [{"id": "1", "text": "Hello, is this thing on?"}]}
    system, user = render("labeler", payload, task.prompts)
    question = [("system", system), ("human", user)]
    schema = {"name": form.title, "schema": form.schema(), "strict": True}
    try:
        model = make_model(spec)
        reply = model.invoke(question)
    except Exception as error:  # providers raise types of their own; the doctor tells, it does not fail
        return [("reachable", False, f"{type(error).__name__}: {str(error).splitlines()[0]}")]
    counted = bool(reply.usage_metadata and reply.usage_metadata["output_tokens"])
    formats = {"json_schema": {"json_schema": schema}, "json_object": {}}
    return [
        ("reachable", True, f"at {spec.base_url}" if spec.base_url else "yes"),
        ("text alone", *_fits(form, reply)),
        *((name, *_try(model, question, form, name, extra)) for name, extra in formats.items()),
        ("log-probabilities", *_logprobs(model, question)),
        ("token counts", counted or None, "yes" if counted else "no: cost and token budgets see 0"),
    ]


def _fits(form: Form[GivenLabel], reply: Any) -> tuple[bool | None, str]:
    items, problems = form.read(reply.text)
    return bool(items) or None, "yes" if items else f"answered, but {problems[0]}"


def _try(
    model: Any, question: Any, form: Form[GivenLabel], name: str, extra: dict[str, Any]
) -> tuple[bool | None, str]:
    try:
        return _fits(form, model.invoke(question, response_format={"type": name, **extra}))
    except Exception as error:  # as above
        return None, f"no ({type(error).__name__})"


def _logprobs(model: Any, question: Any) -> tuple[bool | None, str]:
    try:
        found = bool(model.invoke(question, logprobs=True).response_metadata.get("logprobs"))
    except Exception as error:  # as above
        return None, f"no ({type(error).__name__})"
    return found or None, "yes" if found else "no"


def _version(name: str, remedy: str) -> tuple[bool, str]:
    try:
        return True, version(name)
    except PackageNotFoundError:
        return False, f"not installed; {remedy}"
