"""Going on with a run that has ended: with more rounds, calls, tokens, money or minutes than it had."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from tutelage.graph.task.load import parse_task
from tutelage.graph.run_folder.folder import RunFolder, rounds_over
from tutelage.graph.stopping import why_stop
from tutelage.graph.nodes.train import train_members
from tutelage.graph.state import State
from tutelage.graph.task.schema import Task
from tutelage.graph.context import Workshop
from tutelage.student.errors import InputError

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

_OPENING = (("analyst",), ("calibrate",), ("first_labels",))  # nodes that begin what a budget may cut short
RESULTS = (
    "stop",
    "best",
    "spent",
    "samples",
    "teacher",
    "test",
    "test_untouched",
    "test_by_round",
    "comparison",
    "labels_to_check",
    "overlap",
)


def raise_budget(folder: RunFolder, budget: Mapping[str, float | None], *, force: bool = False) -> Task:
    """The run's task with those limits that are given in place of its own, and with `teacher.force` if so
    wished; written into run.json.

    Raises:
        InputError: not a run folder, a limit is none, or more rounds than that are over.
    """
    about, over = folder.about(), rounds_over(folder.read_rounds())
    changed = {name: value for name, value in budget.items() if value is not None}
    if changed.get("rounds", over) < over:
        raise InputError(
            f"{folder.path} has {over} rounds behind it, which cannot be taken back, got {changed['rounds']};"
            f" for a shorter run: tutelage run … --rounds {changed['rounds']} --reuse {folder.path}"
        )
    raw = {**about["task"], "budget": {**about["task"]["budget"], **changed}}
    if force:
        raw["teacher"] = {**raw["teacher"], "force": True}
    task = parse_task(raw, str(folder.run_json), folder.path)
    if changed or force:
        folder.write_json(folder.run_json, {**about, "task": task.model_dump(mode="json")})
    return task


def extend(shop: Workshop, graph: "CompiledStateGraph[Any, Any, Any, Any]", thread: Any) -> bool:
    """Put a run back to where it can go on: one that has ended, if the reason for its end is gone, and
    one that was killed in a round which the budget cut short, if there is more to spend now.

    A round that was cut short is begun again: its replies are in the journal, so nothing is paid twice,
    and it ends as if there had been enough at once. A whole one is followed by the next.

    Returns:
        Whether there is anything to do.
    """
    before, rounds = graph.get_state(thread), shop.task.budget.rounds
    if "round" not in before.values:
        return True
    final = bool(before.values.get("final"))
    last = before.values["round"] - final  # a final student's round is taken back
    state = cast(State, {**before.values, "round": last, "rounds": rounds})
    cut = _cut_short(shop, last)
    under_way = not final and before.next not in ((), ("final",), ("refit",), ("report",))
    if before.next in _OPENING or (under_way and (not cut or shop.teacher.refusal())):
        if rounds != before.values["rounds"]:
            graph.update_state(thread, {"rounds": rounds})
        return True
    if why_stop(shop, state, cut_short=cut):
        return bool(before.next)  # what is left of its end
    _reopen(shop, last)
    if cut:
        node = "analyst" if last else "calibrate"
        ahead = "calibrate" if last == 1 else "examine"
        start = _before(graph, thread, node, max(last - 1, 0))
        shop.corpus.forget(since=max(last, 1))
    else:
        start, ahead = _before(graph, thread, "final", last) if final else before, "examine"
    for round in {start.values["best"], *([0] if shop.strategy.importance else [])}:
        _bring_back(shop, round)
    graph.update_state(start.config, {"rounds": rounds, "stop": ""}, as_node=ahead)
    return True


def _reopen(shop: Workshop, round: int) -> None:
    """Take the results of a run that ended out of its run.json, and note that test was opened."""
    about = shop.folder.about()
    if about.get("test"):
        note = f"the test set was opened after round {round} already, and the run then went on"
        about["notes"] = [*dict.fromkeys([*about["notes"], note])]
    shop.folder.write_json(shop.folder.run_json, {k: v for k, v in about.items() if k not in RESULTS})


def _before(graph: "CompiledStateGraph[Any, Any, Any, Any]", thread: Any, node: str, round: int) -> Any:
    """The last checkpoint of a round after which a node was to come."""
    history = graph.get_state_history(thread)
    return next(old for old in history if old.next == (node,) and old.values["round"] == round)


def _cut_short(shop: Workshop, round: int) -> bool:
    """Whether the budget refused a call since the round was last begun.

    What was refused in other nodes cuts no round short: first labels are too few or enough, and the labels of
    random texts come after the last round.
    """
    opens, others = "analyst" if round else "calibrate", ("first_labels", "refit")
    for event in reversed(shop.trace.events()):
        if event["event"] == "refused" and event.get("over_budget") and event["node"] not in others:
            return True
        if event["event"] == "enter" and event["node"] == opens and event["round"] == round:
            return False
    return False


def _bring_back(shop: Workshop, round: int) -> None:
    """Train the student of a round again, if its weights were dropped when the run ended."""
    if shop.folder.student_of(round).exists():
        return
    lines = shop.folder.read_rounds()
    promoted = [line["round"] for line in lines if line["accepted"] and 0 < line["round"] < round]
    train_members(shop, promoted, round)
