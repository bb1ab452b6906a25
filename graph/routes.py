"""Routes: where the graph goes next; each is a question with a closed set of answers."""

from typing import Literal

from tutelage.graph.context import Workshop
from tutelage.graph.nodes.refit import refits
from tutelage.graph.requests.attempts import short_of_samples
from tutelage.graph.state import State


def after_prepare(shop: Workshop, state: State) -> Literal["first_labels", "train"]:
    """Have the teacher label a first set where the user has labelled no row."""
    return "train" if shop.splits.labelled else "first_labels"


def after_examine(
    shop: Workshop, state: State
) -> Literal["calibrate", "analyst", "final", "refit", "report"]:
    """After round 0 measure the teacher; else begin another round, unless there is a reason to stop."""
    if state["round"] == 0 and not state.get("stop"):
        return "calibrate"
    return after_calibrate(shop, state)


def after_calibrate(shop: Workshop, state: State) -> Literal["analyst", "final", "refit", "report"]:
    """Begin a round or, with a reason to stop, train what the run leaves."""
    if not state.get("stop"):
        return "analyst"
    if shop.strategy.final and not state.get("final"):
        return "final"
    return "refit" if refits(shop) else "report"


def after_critic(shop: Workshop, state: State) -> Literal["labeler", "keep"]:
    """Back to the labeler where the critic disagrees, once; then to the corpus."""
    return "labeler" if state.get("rejudge") else "keep"


def after_analyst(shop: Workshop, state: State) -> Literal["generator", "pool"]:
    """Where the strategy has its texts from first."""
    return "pool" if shop.strategy.pool_share else "generator"


def after_pool(shop: Workshop, state: State) -> Literal["generator", "screen"]:
    """To the generator for those texts of the round that are to be written, if any are."""
    if shop.strategy.fill_gaps:
        return "generator" if state.get("to_write") else "screen"
    return "generator" if shop.strategy.writes else "screen"


def after_keep(shop: Workshop, state: State) -> Literal["generator", "pool", "train"]:
    """Back for more texts, with reasons, while too few were kept; then to training."""
    return after_analyst(shop, state) if short_of_samples(shop, state) else "train"
