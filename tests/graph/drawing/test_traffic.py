"""What a run did, counted from its trace: a real run that breaks off and is resumed, and made-up events."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tutelage.graph.drawing.layout import END, START, WAYS
from tutelage.graph.drawing.traffic import Traffic, count, read_traffic
from tutelage.graph.run_folder.trace import Event, Trace
from tutelage.graph.runs.run import resume, run
from tutelage.graph.task.load import Task
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError


def events(*steps: str) -> list[Event]:
    """Make the events of nodes in order; one with "!" is entered but not finished."""
    made: list[Event] = []
    for step in steps:
        made.append({"event": "enter", "node": step.strip("!")})
        if not step.endswith("!"):
            made += [{"event": "call", "node": step}, {"event": "leave", "node": step, "seconds": 1.5}]
    return made


def test_a_run_is_read_while_it_works_after_it_breaks_off_and_when_it_is_finished(
    folded: Callable[..., Task], encoder: Encoder, tmp_path: Path
) -> None:
    folder, during = tmp_path / "run", list[Traffic]()

    def listener(event: Event) -> None:
        if event["event"] == "enter" and event["node"] == "critic":
            during.append(read_traffic(folder))
            raise RuntimeError("the process breaks off")

    task = folded(budget={"rounds": 1}, strategy={"base": "auto", "samples": 12, "control": False})
    with pytest.raises(RuntimeError, match="breaks off"):
        run(task, folder, encoder=encoder, listener=listener)
    broken = read_traffic(folder)
    assert (during[0].current, during[0].running, during[0].words("critic")) == ("critic", True, "at work")
    assert (broken.current, broken.running, broken.words("critic")) == ("critic", False, "unfinished")
    assert "shop: unfinished, 0 rounds, " in broken.title
    assert during[0].taken["labeler", "critic"] == broken.taken["labeler", "critic"] == 1
    assert not broken.reached("report")

    resume(folder, encoder=encoder)
    whole, trace = read_traffic(folder), Trace(folder / "trace.jsonl")
    assert (whole.current, whole.running) == ("", False)
    assert f"shop: finished, 1 round, {whole.runs.total()} steps in " in whole.title
    assert set(+whole.taken) <= set(WAYS)
    for node in whole.runs:
        arrived = sum(n for (_, target), n in whole.taken.items() if target == node)
        gone = sum(n for (source, _), n in whole.taken.items() if source == node)
        assert arrived == whole.runs[node] == gone, node
    assert whole.taken[START, "prepare"] == whole.taken["report", END] == 1
    assert whole.seconds.total() / 60 == pytest.approx(trace.minutes())


def test_a_node_that_is_entered_again_after_a_kill_takes_no_edge() -> None:
    traffic = count(events("prepare!", "prepare", "train", "evaluate!", "evaluate!", "evaluate", "analyst!"))
    expected = {(START, "prepare"): 1, ("prepare", "train"): 1, ("train", "evaluate"): 1}
    assert dict(+traffic.taken) == {**expected, ("evaluate", "analyst"): 1}
    assert traffic.runs == {"prepare": 1, "train": 1, "evaluate": 1}
    assert traffic.current == "analyst"


def test_a_run_that_is_extended_after_its_end_jumps_back_without_an_edge() -> None:
    traffic = count(events("prepare", "train", "evaluate", "report", "analyst", "pool"))
    assert {edge: n for edge, n in traffic.taken.items() if n and edge in WAYS} == {
        (START, "prepare"): 1, ("prepare", "train"): 1, ("train", "evaluate"): 1, ("evaluate", "report"): 1,
        ("report", END): 1, ("analyst", "pool"): 1,
    }  # fmt: skip
    assert traffic.reached(END)


def test_a_new_start_in_a_parent_graph_is_a_second_start() -> None:
    traffic = count(events("prepare", "train!", "prepare", "train"))
    assert traffic.taken[START, "prepare"] == 2
    assert traffic.taken["prepare", "train"] == 2


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0 s"), (9.96, "10 s"), (59.6, "1 min 0 s"), (185, "3 min 5 s"), (7800, "2 h 10 min")],
)
def test_durations_are_short(seconds: float, shown: str) -> None:
    done: Event = {"event": "leave", "node": "train", "seconds": seconds}
    assert count([{"event": "enter", "node": "train"}, done]).words("train") == f"1×, {shown}"


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a run folder"):
        read_traffic(tmp_path)
