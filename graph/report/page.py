"""HTML elements from Python, with all text escaped, and the frame of the report: its style and its script."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files

from tutelage.agents.providers.redact import redact

# matplotlib needs real colours: charts are drawn in these, then each is replaced by its CSS variable.
INKS = {name: f"#0a0b0{i}" for i, name in enumerate(("test", "gate", "diagnose", "bad", "muted", "line"))}
STYLE = (files(__package__) / "page.css").read_text(encoding="utf-8")
SCRIPT = (files(__package__) / "page.js").read_text(encoding="utf-8")
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
content="default-src 'none'; style-src 'unsafe-inline'; script-src {allowed}">
<style>{style}</style></head>
<body>{body}{script}</body></html>
"""


class Html(str):
    """Text that is already HTML. `tag` escapes any other text."""


def html_page(title: str, body: str, *, script: str = "") -> str:
    """Return a page with our style that loads nothing, and in which no other script than `script` may run."""
    digest = b64encode(sha256(script.encode()).digest()).decode()
    page = _PAGE.format(
        title=escape(f"{title} · tutelage"),
        style=STYLE,
        body=body,
        allowed=f"'sha256-{digest}'" if script else "'none'",
        script=f"<script>{script}</script>" if script else "",
    )
    return redact(page)


def bar(low: float, high: float) -> Html:
    """Draw an interval between 0 and 1 as a bar. With `low` = 0 the bar shows a single share."""
    return tag("span", tag("i", style=f"left: {low:.1%}; width: {high - low:.1%}"), class_="bar")


def pairs(facts: dict[str, object]) -> Html:
    """Return a grid of names and values."""
    return tag("dl", *(tag("div", tag("dt", key), tag("dd", value)) for key, value in facts.items()))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Html:
    """Return a table that scrolls sideways.

    A title in `head` that begins with `>` makes a column of numbers, `<` a column of running text.
    """
    kinds = [{">": "n", "<": "t"}.get(title[:1]) for title in head]
    top = [tag("th", title.lstrip("<>"), class_=kind) for title, kind in zip(head, kinds, strict=True)]
    lines = [
        tag("tr", *(tag("td", cell, class_=kind) for cell, kind in zip(row, kinds, strict=True)))
        for row in rows
    ]
    inside = tag("table", tag("thead", tag("tr", *top)), tag("tbody", *lines))
    return tag("div", inside, class_="wide")


def tag(name: str, /, *inside: object, **attributes: str | None) -> Html:
    """Return an HTML element. Content that is not `Html` is escaped; empty attributes are left out."""
    present = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value}
    written = "".join(f' {key}="{escape(value)}"' for key, value in present.items())
    return Html(f"<{name}{written}>{''.join(_text(part) for part in inside)}</{name}>")


def _text(value: object) -> str:
    if isinstance(value, Html):
        return value
    if isinstance(value, float):
        return f"{value:.3f}"
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else escape(str(value))


def cut_to_fit(texts: Sequence[str], budget: int) -> list[str]:
    """Return the texts, cut at one length if they would take more than `budget` bytes as HTML."""
    length = fitting_length(texts, budget)
    return [cut(text, length) for text in texts]


def fitting_length(texts: Sequence[str], budget: int) -> int:
    """Return the largest number of characters to cut the texts at, so that they take at most `budget` bytes
    as HTML.
    """

    def size(length: int) -> int:
        return sum(len(escape(text[:length]).encode()) for text in texts)

    longest = max(map(len, texts), default=0)
    if size(longest) <= budget:
        return longest
    low, high = 0, longest  # `low` fits, `high` does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle) <= budget else (low, middle)
    return low


def cut(text: str, length: int) -> str:
    """Return a text of at most `length` characters and an ellipsis."""
    return text if len(text) <= length else f"{text[:length]}…"
