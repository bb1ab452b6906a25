"""Extend a run that has ended with more rounds, calls, tokens, money or minutes."""

from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, cast

from tutelage.agents.teacher.budget import usage
from tutelage.agents.teacher.journal import Journal
from tutelage.graph.context import RunContext
from tutelage.graph.run_folder.folder import RESULTS, RunFolder, rounds_over
from tutelage.graph.run_folder.trace import Trace
from tutelage.graph.state import State
from tutelage.graph.stopping import why_stop
from tutelage.graph.students.training import train_members
from tutelage.graph.task.load import merged, parse_task
from tutelage.graph.task.schema import Task
from tutelage.student.errors import InputError

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

_OPENING = (("analyst",), ("calibrate",), ("first_labels",))  # nodes that begin a stage


def raise_budget(folder: RunFolder, budget: Mapping[str, float | None], *, force: bool = False) -> Task:
    """Return the run's task with new limits, and write it to run.json.

    Args:
        folder: the run folder.
        budget: the new limits by their names in `task.yaml`. None keeps the limit of the run.
        force: set `teacher.force`.

    Raises:
        InputError: this is not a run folder, or a limit is invalid or lower than what is already spent.
    """
    about, over = folder.about(), rounds_over(folder.read_rounds())
    changed = {name: value for name, value in budget.items() if value is not None}
    if changed.get("rounds", over) < over:
        raise InputError(
            f"{folder.path} has already finished {over} rounds, so --rounds {changed['rounds']} is too few;"
            f" for a shorter run: tutelage run … --rounds {changed['rounds']} --reuse {folder.path}"
        )
    raw = merged(about["task"], {"budget": changed, "teacher": {"force": force or None}})
    task = parse_task(raw, str(folder.run_json), folder.path)
    with closing(Journal(folder.journal)) as journal:
        spent = usage(journal.spent(), Trace(folder.trace).minutes())
    for name, used in spent.items():
        if changed.get(name, used) < used:
            limit = f"--{name} {changed[name]:,.6g}"
            raise InputError(f"{folder.path} has already used {used:,.6g} {name}, more than {limit} allows")
    if changed or force:
        folder.write_json(folder.run_json, {**about, "task": task.model_dump(mode="json")})
    return task


def extend(ctx: RunContext, graph: "CompiledStateGraph[Any, Any, Any, Any]", thread: Any) -> bool:
    """Set a run back to the checkpoint from which it can continue.

    This applies to a run that has ended, if the reason for its end is gone, and to a run that was killed in a
    round which the budget had cut short, if the budget is larger now. A round that was cut short is repeated:
    its replies are in the journal, so nothing is paid for twice, and it ends as if the budget had sufficed
    from the start. After a complete round, the next one follows.

    Returns:
        Whether there is anything left to do.
    """
    before, rounds = graph.get_state(thread), ctx.task.budget.rounds
    if "round" not in before.values:
        return True
    final = bool(before.values.get("final"))
    last = before.values["round"] - final  # the round of a final student is undone
    state = cast(State, {**before.values, "round": last, "rounds": rounds})
    cut = _cut_short(ctx.trace, last)
    under_way = not final and before.next not in ((), ("final",), ("refit",), ("report",))
    if before.next in _OPENING or (under_way and (not cut or ctx.teacher.refusal())):
        if rounds != before.values["rounds"]:
            graph.update_state(thread, {"rounds": rounds})
        return True
    if why_stop(ctx, state, cut_short=cut):
        return bool(before.next)  # the remaining nodes after the last round
    _reopen(ctx.folder, last)
    if cut:
        node = "analyst" if last else "calibrate"
        ahead = "calibrate" if last == 1 else "evaluate"
        start = _before(graph, thread, node, max(last - 1, 0))
        ctx.corpus.forget(since=max(last, 1))
        ctx.folder.review_queue.unlink(missing_ok=True)  # texts are chosen anew; decisions stay
    else:
        start, ahead = _before(graph, thread, "final", last) if final else before, "evaluate"
    for round in {start.values["best"], *([0] if ctx.strategy.importance else [])}:
        _restore_student(ctx, round)
    graph.update_state(start.config, {"rounds": rounds, "stop": ""}, as_node=ahead)
    return True


def _reopen(folder: RunFolder, round: int) -> None:
    """Remove the results of the ended run from its run.json, and note that test was already used."""
    about = folder.about()
    if about.get("test"):
        note = f"the test set was already opened after round {round}, and the run was continued after that"
        about["notes"] = [*dict.fromkeys([*about["notes"], note])]
    folder.write_json(folder.run_json, {k: v for k, v in about.items() if k not in RESULTS})


def _before(graph: "CompiledStateGraph[Any, Any, Any, Any]", thread: Any, node: str, round: int) -> Any:
    """Return the last checkpoint of a round at which `node` was the next node."""
    history = graph.get_state_history(thread)
    return next(old for old in history if old.next == (node,) and old.values["round"] == round)


def _cut_short(trace: Trace, round: int) -> bool:
    """Return whether the budget refused a call since the round last began.

    Calls refused in `first_labels` or `refit` do not cut a round short: the first labels are either too few
    or enough, and the labels of random texts come after the last round.
    """
    first_node, others = "analyst" if round else "calibrate", ("first_labels", "refit")
    for event in reversed(trace.events()):
        if event["event"] == "refused" and event.get("over_budget") and event["node"] not in others:
            return True
        if event["event"] == "enter" and event["node"] == first_node and event["round"] == round:
            return False
    return False


def _restore_student(ctx: RunContext, round: int) -> None:
    """Train the student of a round again if its weights were deleted when the run ended."""
    if ctx.folder.student_of(round).exists():
        return
    lines = ctx.folder.read_rounds()
    promoted = [line["round"] for line in lines if line["accepted"] and 0 < line["round"] < round]
    train_members(ctx, promoted, round)
