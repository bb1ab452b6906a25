"""Draw the state machine and what a run did in it, without a network connection."""

from pathlib import Path
from typing import Any, Literal

from tutelage.graph.drawing.layout import WAYS, Edge
from tutelage.graph.drawing.picture import picture
from tutelage.graph.drawing.text import listing, mermaid
from tutelage.graph.drawing.traffic import Traffic

Format = Literal["mermaid", "svg", "png", "ascii"]

_SUFFIXES: dict[str, Format] = {".svg": "svg", ".png": "png", ".txt": "ascii"}


def format_of(path: Path | None) -> Format:
    """Return the format that belongs to the name of a file: Mermaid if the name says nothing."""
    return _SUFFIXES.get(path.suffix.lower(), "mermaid") if path else "mermaid"


def draw(graph: Any, form: Format, traffic: Traffic | None = None) -> bytes:
    """Draw a compiled graph: as Mermaid source, as a picture or as a list for a terminal.

    Args:
        graph: the compiled graph.
        form: the format; the text of all formats but PNG is UTF-8.
        traffic: what a run did, from `read_traffic`, to draw counts and seconds and to grey what never ran.
    """
    found = {(edge.source, edge.target): edge.conditional for edge in graph.get_graph().edges}
    edges: dict[Edge, bool] = {edge: found[edge] for edge in sorted(found, key=list(WAYS).index)}
    if form == "mermaid":
        return mermaid(edges, traffic).encode()
    if form == "ascii":
        return listing(edges, traffic).encode()
    return picture(edges, form, traffic)
