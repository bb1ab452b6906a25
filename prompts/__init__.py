"""Read, check and fill the prompts, which are Markdown files.

The system part of a prompt is above the line `---`. It is the same in every call, so that providers can cache
it. The user part is below. The payload of a call is one fenced `json` block in the user part: quoting is
exact, and texts from outside remain data.
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
    """Return the system part and the user part of a role's prompt, with the payload filled in.

    A payload with a task type in `kind` selects the prompt of this type, for instance `analyst.ner.md`.

    Args:
        name: the role.
        payload: the data of this call, serializable as JSON; prompts/README.md lists the fields of each role.
        overlay: a folder whose files replace the built-in prompts of the same name.

    Raises:
        ValueError: the file has no `---` line, or its placeholders are not exactly `$payload`.
    """
    name = f"{name}.{payload['kind']}" if "kind" in payload else name
    system, user = _parts(name, _read(name, overlay))
    block = f"{_FENCE}json\n{json.dumps(payload, ensure_ascii=False, indent=1)}\n{_FENCE}"
    return system, user.substitute(payload=block).strip()


@cache
def _parts(name: str, template: str) -> tuple[str, Template]:
    """Split a prompt file into its system part and its user part, and check both."""
    system, line, user = template.partition("\n---\n")
    if not line:
        raise ValueError(f"prompt {name}.md has no line `---` between its system and its user part")
    for part, allowed in ((system, set[str]()), (user, {"payload"})):
        names = set(Template(part).get_identifiers())
        twice = len(re.findall(r"(?<!\$)\$\{?payload", part)) > 1
        if names != allowed or twice or not Template(part).is_valid():
            raise ValueError(
                f"prompt {name}.md: placeholders {_listed(names)}, expected {_listed(allowed)}"
                " ($payload once, in the part below `---`; write $$ for a dollar sign)"
            )
    return Template(system).substitute().strip(), Template(user)


def read_payload(user: str) -> dict[str, object]:
    """Return the payload in a rendered user part. The rehearsal teacher uses it.

    Raises:
        ValueError: there is no fenced `json` block, or it does not hold a JSON object.
    """
    # The last fences belong to the payload: newlines in its strings are escaped, so they hold no fence.
    start, end = user.rfind(f"{_FENCE}json\n"), user.rfind(f"\n{_FENCE}")
    if start < 0 or end < start:
        raise ValueError("the message holds no fenced json block")
    payload = json.loads(user[start + len(_FENCE) + 5 : end])
    if not isinstance(payload, dict):
        raise ValueError(f"the payload is {type(payload).__name__}, expected an object")
    return payload


def digests(about: Mapping[str, object], overlay: Path | None = None) -> dict[str, str]:
    """Map each role to the first 16 hexadecimal digits of the SHA-256 of its prompt.

    `about` is the part of the payload that describes the task; its `kind` selects the prompts.
    """
    kind = f".{about['kind']}" if "kind" in about else ""
    texts = {role: _read(f"{role}{kind}", overlay) for role in ROLES}
    return {role: hashlib.sha256(text.encode()).hexdigest()[:16] for role, text in texts.items()}


def _read(name: str, overlay: Path | None) -> str:
    replacement = overlay / f"{name}.md" if overlay else None
    return (replacement if replacement and replacement.exists() else _HERE / f"{name}.md").read_text(
        encoding="utf-8"
    )


def _listed(names: set[str]) -> str:
    return ", ".join(f"${name}" for name in sorted(names)) or "none"
