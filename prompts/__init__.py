"""Prompts are Markdown files with checked variables; this module reads and fills them.

Above the line `---` stands the system part (stable, so that providers can cache it), below it the
user part. The payload of a call travels as one fenced `json` block: quoting is exact, and text from
outside stays data.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from string import Template

ROLES = ("analyst", "generator", "labeler", "critic")
_HERE = Path(__file__).parent
_FENCE = "```"


def render(name: str, payload: Mapping[str, object], overlay: Path | None = None) -> tuple[str, str]:
    """The system and the user part of a role's prompt with its payload filled in; a payload that names a
    `kind` of task is for the prompt of that kind, `analyst.ner.md`.

    Args:
        name: the role.
        payload: the data of this call, JSON-able; see prompts/README.md for each role's fields.
        overlay: a folder whose files of the same name are read first.

    Raises:
        ValueError: the file lacks its `---` line, or its placeholders are not exactly `$payload`.
    """
    name = f"{name}.{payload['kind']}" if "kind" in payload else name
    system, user = _parts(name, _read(name, overlay))
    block = f"{_FENCE}json\n{json.dumps(payload, ensure_ascii=False, indent=1)}\n{_FENCE}"
    return system, user.substitute(payload=block).strip()


@cache
def _parts(name: str, template: str) -> tuple[str, Template]:
    """The system part and the user part of a prompt file, checked."""
    system, line, user = template.partition("\n---\n")
    if not line:
        raise ValueError(f"prompt {name}.md has no line `---` between its system and its user part")
    for part, allowed in ((system, set[str]()), (user, {"payload"})):
        found = set(Template(part).get_identifiers())
        twice = len(re.findall(r"(?<!\$)\$\{?payload", part)) > 1
        if found != allowed or twice or not Template(part).is_valid():
            raise ValueError(
                f"prompt {name}.md: placeholders {_names(found)}, expected {_names(allowed)}"
                " ($payload once, in the part below `---`; write $$ for a dollar sign)"
            )
    return Template(system).substitute().strip(), Template(user)


def read_payload(user: str) -> dict[str, object]:
    """The payload inside a rendered user part (what the rehearsal teacher reads).

    Raises:
        ValueError: there is no fenced `json` block, or it does not hold a JSON object.
    """
    # The last fences are the payload's: inside its strings a newline is always escaped.
    start, end = user.rfind(f"{_FENCE}json\n"), user.rfind(f"\n{_FENCE}")
    if start < 0 or end < start:
        raise ValueError("the message holds no fenced json block")
    payload = json.loads(user[start + len(_FENCE) + 5 : end])
    if not isinstance(payload, dict):
        raise ValueError(f"the payload is {type(payload).__name__}, expected an object")
    return payload


def digests(about: Mapping[str, object], overlay: Path | None = None) -> dict[str, str]:
    """Role -> the first 16 hexadecimal digits of the SHA-256 of its prompt, by what agents are told of a
    task.
    """
    kind = f".{about['kind']}" if "kind" in about else ""
    texts = {role: _read(f"{role}{kind}", overlay) for role in ROLES}
    return {role: hashlib.sha256(text.encode()).hexdigest()[:16] for role, text in texts.items()}


def _read(name: str, overlay: Path | None) -> str:
    own = overlay / f"{name}.md" if overlay else None
    return (own if own and own.exists() else _HERE / f"{name}.md").read_text(encoding="utf-8")


def _names(found: set[str]) -> str:
    return ", ".join(f"${name}" for name in sorted(found)) or "none"
