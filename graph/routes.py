"""Routes: where the graph goes next; each is a question with a closed set of answers."""

from typing import Literal

from tutelage.graph.screening import short_of_samples
from tutelage.graph.state import State
from tutelage.graph.workshop import Workshop


def after_examine(shop: Workshop, state: State) -> Literal["analyst", "final", "report"]:
    """Another round, unless there is a reason to stop; then a final student, where the strategy has one."""
    if not state.get("stop"):
        return "analyst"
    return "final" if shop.strategy.final and not state.get("final") else "report"


def after_critic(shop: Workshop, state: State) -> Literal["labeler", "keep"]:
    """Back to the labeler where the critic disagrees, once; then to the corpus."""
    return "labeler" if state.get("rejudge") else "keep"


def after_analyst(shop: Workshop, state: State) -> Literal["generator", "pool"]:
    """Where the strategy has its texts from first."""
    return "pool" if shop.strategy.pool_share else "generator"


def after_pool(shop: Workshop, state: State) -> Literal["generator", "screen"]:
    """To the generator for those texts of the round that are to be written, if any are."""
    return "generator" if shop.strategy.writes else "screen"


def after_keep(shop: Workshop, state: State) -> Literal["generator", "pool", "train"]:
    """Back for more texts, with reasons, while too few were kept; then to training."""
    return after_analyst(shop, state) if short_of_samples(shop, state) else "train"
