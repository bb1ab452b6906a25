"""Draw the state machine, without a network connection."""

import io
from typing import Any, Literal

from tutelage.student.errors import InputError

Format = Literal["mermaid", "ascii", "svg"]


def draw(graph: Any, form: Format) -> str:
    """Return a drawing of a compiled graph as text: Mermaid source, ASCII art or an SVG document.

    Raises:
        InputError: ASCII art needs an extra that is not installed.
    """
    drawable = graph.get_graph()
    if form == "mermaid":
        return str(drawable.draw_mermaid())
    if form == "ascii":
        try:
            return str(drawable.draw_ascii())
        except ImportError:
            raise InputError("ASCII drawings need an extra; run: pip install 'tutelage[ascii]'") from None
    return _svg(drawable)


def _svg(drawable: Any) -> str:
    """Draw the nodes in a column, in the order of `_depth_first`, and the edges between them."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    order = _depth_first(drawable)
    row = {name: -i for i, name in enumerate(order)}
    figure = Figure(figsize=(5, 0.75 * len(order)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-3, 3), ylim=(-len(order) + 0.4, 0.6))
    axes.axis("off")
    for edge in drawable.edges:
        axes.add_patch(_arrow(row[edge.source], row[edge.target], "--" if edge.conditional else "-"))
    for name, y in row.items():
        label = name.strip("_")
        face = "#ffffff" if name.startswith("__") else "#e8f0fe"
        axes.text(
            0, y, f"{label:^11}", ha="center", va="center", family="monospace", fontsize=11,
            bbox={"boxstyle": "round,pad=0.45", "facecolor": face, "edgecolor": "#3b5b92"},
        )  # fmt: skip
    page = io.StringIO()
    with rc_context({"svg.hashsalt": "tutelage", "svg.fonttype": "none"}):  # same graph, same file
        figure.savefig(page, format="svg", metadata={"Date": None})
    return page.getvalue()


def _arrow(start: int, end: int, style: str) -> Any:
    """Draw an edge between two rows: straight to the next one, else bent: forward left, backward right."""
    from matplotlib.patches import FancyArrowPatch

    span = start - end
    x, bend, gap = (0.0, 0.0, 0.25) if span == 1 else (-0.75, 0.45, 0) if span > 1 else (0.75, 0.55, 0)
    return FancyArrowPatch(
        (x, start - gap),
        (x, end + gap),
        connectionstyle=f"arc3,rad={bend}",
        arrowstyle="-|>",
        mutation_scale=12,
        linestyle=style,
        color="#5b6770",
    )


def _depth_first(drawable: Any) -> list[str]:
    """Return the node names in depth-first order, with the report and the end last."""
    following: dict[str, list[str]] = {name: [] for name in drawable.nodes}
    for edge in drawable.edges:
        following[edge.source].append(edge.target)
    last = ["report", "__end__"]
    order: list[str] = []

    def visit(name: str) -> None:
        if name in order or name in last:
            return
        order.append(name)
        for target in following[name]:
            visit(target)

    visit("__start__")
    return order + [name for name in last if name in following]
