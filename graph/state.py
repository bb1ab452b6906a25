"""The state that flows through the graph: paths, counters and words, never samples or weights."""

from typing import TypedDict

from tutelage.agents.teacher.journal import Spent


class Input(TypedDict, total=False):
    """What a caller, or a parent graph, may say: how many rounds at most (default: the task's)."""

    rounds: int


class Output(TypedDict, total=False):
    """What comes back: the student's folder, the report, the scores, and why the run stopped."""

    student: str
    report: str
    metric: float
    test: float | None
    stop: str


class State(TypedDict, total=False):
    """One run. Samples live in the corpus under their round; students and reports in the run folder.

    `best` is the round of the student promoted last. `promoted` lists the rounds whose samples are trained
    on. `rejudge` is set while samples are labelled a second time, `final` once the round is that of the final
    student, which brings no samples. `weaknesses` are ids in weaknesses.json. `to_write` is how many texts of
    this attempt are to be written beside those drawn from the pool. `before_rounds` is what labels took
    before round 1, for the calibration or the first labels.
    """

    rounds: int
    round: int
    attempt: int
    best: int
    promoted: list[int]
    rejudge: bool
    final: bool
    weaknesses: list[str]
    to_write: int
    before_rounds: Spent
    note: str
    student: str
    report: str
    metric: float
    test: float | None
    stop: str
