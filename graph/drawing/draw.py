"""Draw the state machine and what a run did in it, without a network connection."""

from pathlib import Path
from typing import Any, Literal

from tutelage.graph.drawing.layout import WAYS, Edge
from tutelage.graph.drawing.picture import picture
from tutelage.graph.drawing.text import listing, mermaid
from tutelage.graph.drawing.traffic import Traffic
from tutelage.student.errors import InputError

Format = Literal["mermaid", "svg", "png", "ascii"]

_SUFFIXES: dict[str, Format] = {
    ".svg": "svg",
    ".png": "png",
    ".txt": "ascii",
    ".mmd": "mermaid",
    ".mermaid": "mermaid",
    ".md": "mermaid",
}


def format_of(path: Path | None, wanted: Format | None = None) -> Format:
    """Return the wanted format, or else that of the name of a file; Mermaid without either.

    Raises:
        InputError: the name has another ending, or one of another format.
    """
    if path is None:
        return wanted or "mermaid"
    known = _SUFFIXES.get(path.suffix.lower())
    if known is None or wanted not in (None, known):
        endings = [ending for ending, format in _SUFFIXES.items() if wanted in (None, format)]
        raise InputError(f"{path}: a drawing goes to a file that ends with {' or '.join(endings)}")
    return known


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
