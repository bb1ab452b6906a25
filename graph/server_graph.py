"""The graph that LangGraph's server loads, as langgraph.json says."""

from typing import Any

from tutelage.graph.build import build_graph


def graph() -> Any:
    """Return the graph for many tasks. It has no checkpointer, because the server brings its own."""
    return build_graph()
