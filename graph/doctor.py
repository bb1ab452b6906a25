"""The doctor: check the installation and the device, and probe what a teacher supports."""

import platform
from importlib.metadata import PackageNotFoundError, version

from tutelage.agents.brief import fields_of
from tutelage.agents.endpoints.exchange import Call
from tutelage.agents.providers.models import ModelSpec
from tutelage.agents.schemas import labels_schema
from tutelage.agents.teacher.probe import Finding, probe
from tutelage.graph.task.schema import Task
from tutelage.prompts import render
from tutelage.student.chroma import connect
from tutelage.student.errors import InputError

_LIBRARIES = ("langgraph", "langchain-openai", "torch", "transformers", "sentence-transformers", "chromadb")
_OPTIONAL = {"openpyxl": "excel", "langchain": "providers"}


def check_installation() -> list[Finding]:
    """Check Python, the libraries and extras, the device, and whether the built-in encoder loads."""
    import torch
    from tutelage.student.device import device
    from tutelage.student.encoder import Encoder

    findings = [Finding("python", None, platform.python_version())]
    findings += [Finding(name, *_version(name, "pip install tutelage")) for name in _LIBRARIES]
    for name, extra in _OPTIONAL.items():
        installed, words = _version(name, f"optional: pip install 'tutelage[{extra}]'")
        findings.append(Finding(name, installed or None, words))
    where = device()
    name = torch.cuda.get_device_name(0) if where == "cuda" else f"{torch.get_num_threads()} threads"
    findings.append(Finding("device", None, f"{where} ({name})"))
    try:
        findings.append(Finding("encoder", True, Encoder().fingerprint))
    except InputError as error:
        findings.append(Finding("encoder", False, str(error)))
    return findings


def check_teacher(task: Task, *, again: bool = False) -> list[Finding]:
    """Probe every model of a task: let it label a text in every request format, and store which ones work."""
    findings: list[Finding] = []
    roles: dict[ModelSpec, list[str]] = {}
    for role, spec in task.model_specs().items():
        roles.setdefault(spec, []).append(role)
    for spec, names in roles.items():
        who = f"{spec.model} ({', '.join(names)})"
        if spec.in_process:
            what = "offline look-up" if spec.model == "rehearsal" else "a model in this process"
            findings.append(Finding(who, True, f"{what}; no endpoint to check"))
            continue
        findings += [one._replace(what=f"{who} {one.what}") for one in _probed(task, spec, again)]
        price = spec.price()
        known = f"{price.prompt:g} and {price.completion:g} per million tokens" if price else ""
        words = known or "unknown; set `prices`"
        findings.append(Finding(f"{who} price", bool(price) or None, words))
    return findings


def check_corpus(task: Task) -> list[Finding]:
    """Connect to the Chroma server of a task, if it names one."""
    if not task.chroma:
        return []
    try:
        connect(task.chroma).close()
    except InputError as error:
        return [Finding("chroma server", False, str(error))]
    return [Finding("chroma server", True, task.chroma)]


def _probed(task: Task, spec: ModelSpec, again: bool) -> list[Finding]:
    brief = task.brief()
    schema = labels_schema(list(task.labels), task.type)
    texts = dict.fromkeys(fields_of(brief), "Hello, is this thing on?")
    payload = {**brief, "texts": [{"id": "1", **texts}]}
    system, user = render("labeler", payload, task.prompts)
    call = Call(
        "", "labeler", [("system", system), ("human", user)], schema, seed=0, logprobs=True, reply_tokens=60
    )
    return probe(spec, call, again=again)


def _version(name: str, remedy: str) -> tuple[bool, str]:
    try:
        return True, version(name)
    except PackageNotFoundError:
        return False, f"not installed; {remedy}"
