"""Draw the graph as text: Mermaid source, which GitHub renders, or a list for a terminal."""

import json
import textwrap

from tutelage.graph.drawing.layout import END, GROUPS, START, Edge
from tutelage.graph.drawing.looks import LOOKS, kind_of, legend, words
from tutelage.graph.drawing.traffic import Traffic


def mermaid(edges: dict[Edge, bool], traffic: Traffic | None) -> str:
    """Return Mermaid source; `edges` says whether each edge is conditional."""
    title = (
        [] if traffic is None else ["---", f"title: {json.dumps(traffic.title, ensure_ascii=False)}", "---"]
    )
    lines = [_shape(START, traffic), _shape(END, traffic)]
    for number, (name, nodes) in enumerate(GROUPS.items()):
        inside = [f"    {_shape(node, traffic)}" for node in nodes]
        lines += [f'subgraph group{number} ["{name}"]', *inside, "end"]
    for (source, target), conditional in edges.items():
        count = traffic.taken[source, target] if traffic is not None else 0
        label = f"|{count}|" if count else ""
        lines.append(f"{source} {'-.->' if conditional else '-->'}{label} {target}")
    for kind in legend(traffic):
        look = LOOKS[kind]
        lines.append(f"classDef {kind} fill:{look.fill},stroke:{look.border},color:{look.ink}")
    lines.append("classDef group fill:transparent,stroke:#a9b2bd")
    lines.append(f"class {','.join(f'group{number}' for number in range(len(GROUPS)))} group")
    unused = [str(i) for i, edge in enumerate(edges) if traffic is not None and not traffic.taken[edge]]
    if unused:
        lines.append(f"linkStyle {','.join(unused)} stroke:{LOOKS['never'].border}")
    return "\n".join([*title, "graph TD", *(f"    {line}" for line in lines)]) + "\n"


def _shape(node: str, traffic: Traffic | None) -> str:
    """Return a node in Mermaid source, with its words and its class."""
    kind = kind_of(node, traffic)
    if node in (START, END):
        return f"{node}([{node.strip('_')}]):::{kind}"
    lines = [node, *filter(None, [words(node, traffic)])]
    return f'{node}("{"<br/>".join(lines)}"):::{kind}'


def listing(edges: dict[Edge, bool], traffic: Traffic | None) -> str:
    """Return the nodes by group, each with what it does or did and with its successors."""
    following: dict[str, list[str]] = {}
    for source, target in edges:
        count = traffic.taken[source, target] if traffic is not None else 0
        following.setdefault(source, []).append(target.strip("_") + (f" ({count})" if count else ""))
    conditional = {source for (source, _), value in edges.items() if value}
    lines = [] if traffic is None else [traffic.title, ""]
    lines.append(f"start --> {' | '.join(following[START])}")
    for title, nodes in GROUPS.items():
        lines += ["", title]
        for node in nodes:
            mark = ">" if kind_of(node, traffic) == "current" else " "
            arrow = "..>" if node in conditional else "-->"
            about = words(node, traffic) or "-"
            start = f"{mark} {node:<13}{about:<18} {arrow} "
            line = start + " | ".join(following[node])
            indent = " " * len(start)
            lines.append(textwrap.fill(line, 100, subsequent_indent=indent, break_on_hyphens=False))
    return "\n".join([*lines, "", "..> one of these, by a condition\n"]).replace("×", "x")
