"""HTML elements from Python, with all text escaped, and the style sheet of the report."""

from collections.abc import Iterable, Sequence
from html import escape

# matplotlib needs real colours: charts are drawn in these, then each is replaced by its CSS variable.
INKS = {name: f"#0a0b0{i}" for i, name in enumerate(("test", "gate", "diagnose", "bad", "muted", "line"))}
STYLE = """
:root { color-scheme: light dark; --page: #fdfdfb; --ink: #1d1d1b; --muted: #696963; --line: #e2e1da;
  --soft: #f4f3ee; --test: #2560a6; --gate: #b4621a; --diagnose: #5f7d2e; --good: #2c7a4b; --bad: #b3372f;
  --warn: #94660a }
@media (prefers-color-scheme: dark) { :root { --page: #16171a; --ink: #e5e4df; --muted: #9c9c96;
  --line: #33353b; --soft: #1f2125; --test: #7fb2ea; --gate: #e3a05c; --diagnose: #a8c06a; --good: #6cc48f;
  --bad: #ee8279; --warn: #dcb25a } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 72rem; padding: 2.5rem 1.25rem 5rem; background: var(--page);
  color: var(--ink); font: 15px/1.55 system-ui, sans-serif; font-variant-numeric: tabular-nums;
  overflow-wrap: anywhere }
h1, h2, h3 { line-height: 1.25; font-weight: 600; margin: 0 0 .5rem; text-wrap: balance }
h1 { font-size: 1.9rem } h2 { font-size: 1.3rem } h3 { font-size: 1rem; margin-top: 1.5rem }
section { margin-top: 2.5rem; padding-top: 1.5rem; border-top: 1px solid var(--line) }
p { margin: .5rem 0; max-width: 46rem } a { color: var(--test) }
.soft { color: var(--muted); font-size: .9rem }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; margin-top: 1.5rem; font-size: .9rem }
.note { padding: .6rem .9rem; border-left: 3px solid var(--warn); background: var(--soft) }
.tiles { display: flex; flex-wrap: wrap; gap: .5rem 2.75rem; margin-top: 1.5rem }
.tiles b { display: block; font-size: 2.1rem; font-weight: 600; line-height: 1.2 }
.tiles div + div::before { content: "→"; position: absolute; margin: .7rem 0 0 -2rem; color: var(--muted) }
.tiles div:last-child b { color: var(--test) } .tiles span { color: var(--muted); font-size: .9rem }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 14.5rem), 1fr)); gap: .8rem }
dt { color: var(--muted); font-size: .85rem } dd { margin: 0 }
figure { margin: 1rem 0; max-width: 44rem } figure svg { display: block; width: 100%; height: auto }
.wide { overflow-x: auto; margin: .8rem 0 }
table { border-collapse: collapse; font-size: .85rem; overflow-wrap: normal }
th, td { padding: .35rem .55rem; text-align: left; vertical-align: top; white-space: nowrap }
th:first-child, td:first-child { padding-left: 0 } th { font-weight: 500; color: var(--muted) }
td { border-top: 1px solid var(--line) } .n { text-align: right }
.t { white-space: normal; min-width: 15rem; max-width: 34rem; overflow-wrap: anywhere }
.mark { padding: .05rem .5rem; border: 1px solid; border-radius: 1rem; font-size: .8rem; white-space: nowrap }
.good, .cured { color: var(--good) } .bad, .open { color: var(--bad) } .warn, .returned { color: var(--warn) }
.bar { display: inline-block; position: relative; width: 7rem; height: .5rem; background: var(--soft) }
.bar i { position: absolute; height: 100%; background: var(--test); border-radius: 2px; min-width: 2px }
.heat { border-collapse: separate; border-spacing: 2px }
.heat th, .heat td { border: 0; padding: .4rem .6rem }
.heat [scope=col] { writing-mode: vertical-rl; transform: rotate(180deg) }
.heat td { text-align: center; min-width: 2.6rem } .heat .none { color: var(--muted) }
.hit { background: color-mix(in srgb, var(--test) calc(var(--part) * 60%), var(--soft)) }
.miss { background: color-mix(in srgb, var(--bad) min(60%, var(--part) * 240%), var(--soft)) }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 25rem), 1fr)); gap: 1rem }
article { min-width: 0; padding: 1rem 1.1rem; border: 1px solid var(--line); border-left: 4px solid }
article > * { color: var(--ink) } article > .mark { color: inherit } article h3 { margin-top: .6rem }
article p, article ul { font-size: .9rem; margin: .4rem 0 } article ul { padding-left: 1.1rem }
article ul, article .soft { color: var(--muted) }
details { margin-top: .8rem } summary { cursor: pointer; font-weight: 500 }
pre { overflow-x: auto; padding: 1rem; background: var(--soft); font-size: .82rem; overflow-wrap: normal }
"""
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>{style}</style></head>
<body>{body}</body></html>
"""


class Html(str):
    """Text that is already HTML. `tag` escapes any other text."""


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


def tag(name: str, *inside: object, **attributes: str | None) -> Html:
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
