"""The plan of a run, as a person approves it before anything is sent to the teacher."""

from typing import TypedDict

from tutelage.graph.planning.plan import plan
from tutelage.graph.task.schema import Task


class Proposal(TypedDict):
    """What a person approves: what is learnt from which files, by which teacher, at which cost.

    Each estimate is [low, high]; `cost` is None if a price is unknown. `limit` is what the run cannot exceed.
    """

    run_id: str
    instruction: str
    labels: dict[str, str]
    files: dict[str, str]
    teacher: list[str]
    rounds: int
    calls: list[int]
    tokens: list[int]
    cost: list[float] | None
    limit: dict[str, float]


def propose(task: Task, id: str) -> Proposal:
    """Estimate a run, and check that its data can be used. Nothing is sent and nothing is written.

    Raises:
        InputError: the data do not fit the task.
    """
    estimate = plan(task)
    total = estimate["total"]
    tokens = [sum(ends) for ends in zip(total["prompt_tokens"], total["completion_tokens"], strict=True)]
    sources = {"labelled": task.data.labelled, "unlabelled": task.data.unlabelled}
    return Proposal(
        run_id=id,
        instruction=task.instruction,
        labels=dict(task.labels),
        files={name: str(source) for name, source in sources.items() if source},
        teacher=sorted({part["model"] for part in estimate["roles"].values()}),
        rounds=task.budget.rounds,
        calls=total["calls"],
        tokens=tokens,
        cost=total["cost"],
        limit=task.budget.model_dump(exclude={"rounds"}, exclude_none=True),
    )


def is_free(proposal: Proposal) -> bool:
    """Return whether the run costs no money for certain: every price is known to be zero."""
    return proposal["cost"] is not None and proposal["cost"][1] == 0
