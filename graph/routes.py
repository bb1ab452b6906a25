"""The routes of the graph: each returns the name of the next node."""

from typing import Literal

from tutelage.graph.context import RunContext
from tutelage.graph.state import State
from tutelage.graph.stopping import short_of_samples
from tutelage.graph.task.splits import refits


def after_prepare(ctx: RunContext, state: State) -> Literal["first_labels", "train"]:
    """Go to `first_labels` if the user has labelled no row."""
    return "train" if ctx.splits.labelled else "first_labels"


def after_evaluate(
    ctx: RunContext, state: State
) -> Literal["calibrate", "analyst", "final", "refit", "report"]:
    """Measure the teacher after round 0; otherwise begin another round, unless there is a reason to stop."""
    if state["round"] == 0 and not state.get("stop"):
        return "calibrate"
    return after_calibrate(ctx, state)


def after_calibrate(ctx: RunContext, state: State) -> Literal["analyst", "final", "refit", "report"]:
    """Begin a round or, with a reason to stop, train the student that the run delivers."""
    return _ending(ctx, state) if state.get("stop") else "analyst"


def after_screen(ctx: RunContext, state: State) -> Literal["review", "labeler"]:
    """Go to `review` if a person shall label texts before the teacher does."""
    return "review" if ctx.task.review == "before_label" else "labeler"


def after_review(ctx: RunContext, state: State) -> Literal["labeler", "train"]:
    """Go on with the node before which the run waited for a person."""
    return "labeler" if ctx.task.review == "before_label" else "train"


def after_critic(ctx: RunContext, state: State) -> Literal["labeler", "keep"]:
    """Go back to the labeler once if the critic disagrees with labels; otherwise go to `keep`."""
    return "labeler" if state.get("rejudge") else "keep"


def after_analyst(ctx: RunContext, state: State) -> Literal["generator", "pool"]:
    """Go to `pool` if the strategy draws unlabelled texts; otherwise go to the generator."""
    return "pool" if ctx.strategy.pool_share else "generator"


def after_pool(ctx: RunContext, state: State) -> Literal["generator", "screen"]:
    """Go to the generator if texts of this attempt are to be written."""
    if ctx.strategy.fill_gaps:
        return "generator" if state.get("to_write") else "screen"
    return "generator" if ctx.strategy.writes else "screen"


def after_keep(
    ctx: RunContext, state: State
) -> Literal["generator", "pool", "review", "train", "final", "refit", "report"]:
    """Go back for more texts if too few were kept; otherwise go to training, or to a person first. If the
    budget ended before any was kept, end the run: there is nothing to train on.
    """
    if short_of_samples(ctx, state):
        return after_analyst(ctx, state)
    if state.get("stop"):
        return _ending(ctx, state)
    return "review" if ctx.task.review == "before_train" else "train"


def _ending(ctx: RunContext, state: State) -> Literal["final", "refit", "report"]:
    """Return the first node after the last round."""
    if ctx.strategy.final and not state.get("final"):
        return "final"
    return "refit" if refits(ctx.strategy, ctx.splits) else "report"
