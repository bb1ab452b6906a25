"""Strategies: a method is a value, and an ablation is a one-field change of it."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Strategy:
    """How a round asks for texts and which of them it pays to have labelled.

    Attributes:
        name: what reports call it.
        feedback: `analysis` shows the analyst right and wrong answers and orders texts for the
            weaknesses it finds; `none` orders every label equally, as if there were no student.
        samples: labelled samples wanted each round.
        hard_share: share of a round's order that serves weaknesses; the rest is easy texts, more of
            them for classes with low F1.
        shown: right and wrong answers the analyst sees, at most so many of each.
        weaknesses: at most so many are ordered for each round.
        oversample: texts written for each one labelled; after `cold_rounds` the student keeps those it
            is least sure of, before their labels are paid for.
        cold_rounds: rounds that keep texts as they come: a student that knows nothing cannot choose.
        attempts: times the generator is asked again in a round, with the reasons of the refusals.
        enough: share of `samples` at which a round stops asking again.
    """

    name: str
    feedback: Literal["analysis", "none"] = "analysis"
    samples: Count = 48
    hard_share: Share = 0.5
    shown: Count = 12
    weaknesses: Count = 5
    oversample: Count = 1
    cold_rounds: Annotated[int, Field(ge=0)] = 1
    attempts: Annotated[int, Field(ge=0)] = 2
    enough: Share = 0.9


# EvoKD: Liu et al., LREC-COLING 2024, arXiv 2403.06414. Analysis, hard and easy, labelling apart are
# the paper's; batch sizes and the weighting by F1 are ours (its numbers are not published).
_EVOKD = Strategy("evokd")

STRATEGIES: dict[str, Strategy] = {
    # Writing more than is kept and letting the student's doubt choose helped in a first look of three
    # seeds, but not in the first round: hence cold_rounds. What it is worth: benchmarks/README.md.
    "auto": replace(_EVOKD, name="auto", oversample=3),
    "evokd": _EVOKD,
    # The control: the same teacher, order sizes and checks, and no feedback from the student.
    "random": Strategy("random", feedback="none", hard_share=0.0),
}
