"""The state of the graph: paths, counters and short texts, but no samples or weights."""

from typing import Any

from typing_extensions import TypedDict  # of `typing`, pydantic makes no schema on Python 3.11


class Input(TypedDict, total=False):
    """The input of a run.

    Attributes:
        task: the path of a task.yaml, or its fields; not for a graph that is bound to a task.
        folder: the run folder, which is created; not for a graph that is bound to a task.
        rounds: the maximum number of rounds (default: that of the task).
    """

    task: str | dict[str, Any]
    folder: str
    rounds: int


class Output(TypedDict, total=False):
    """The output of a run: the student's folder, the report, the scores, and why the run stopped."""

    student: str
    report: str
    metric: float
    test: float | None
    stop: str


class State(TypedDict, total=False):
    """The state of one run. Samples are stored in the corpus, students and reports in the run folder.

    `best` is the round of the student promoted last. `promoted` lists the rounds whose samples are trained
    on. `rejudge` is set while samples are labelled a second time, and `final` in the round of the final
    student, which has no samples. `weaknesses` are ids in weaknesses.json. `to_write` is the number of texts
    that this attempt writes in addition to those drawn from the pool. `task` and `folder` are those of the
    input, and `token` tells this run from later ones in the same folder.
    """

    task: str | dict[str, Any]
    folder: str
    token: str
    rounds: int
    round: int
    attempt: int
    best: int
    promoted: list[int]
    rejudge: bool
    final: bool
    weaknesses: list[str]
    to_write: int
    note: str
    student: str
    report: str
    metric: float
    test: float | None
    stop: str
