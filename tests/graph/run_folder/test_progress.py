"""The progress lines of a run."""

import io
from typing import Any

import pytest
from rich.console import Console
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.run_folder.progress import Progress


def printed(*events: dict[str, Any]) -> str:
    """Return the line that is printed after the events of one node."""
    lines = io.StringIO()
    progress = Progress(console=Console(file=lines, width=200))
    for event in ({"event": "enter"}, *events):
        progress({"node": "analyst", "round": 1, "seconds": 2.0, **event})
    assert progress.events == len(events) + 1
    return lines.getvalue()


@pytest.mark.parametrize(
    ("replayed", "shown"),
    [
        ([], "2.0 s              "),
        ([False], "1 call "),
        ([False, False], "2 calls "),
        ([True, False, True], "1 call, 2 replayed "),
        ([True], "0 calls, 1 replayed "),
    ],
    ids=str,
)
def test_replayed_calls_are_counted_apart(replayed: list[bool], shown: str) -> None:
    calls = [{"event": "call", "replayed": one} for one in replayed]
    assert shown in printed(*calls, {"event": "leave", "weaknesses": {}})


def test_the_analyst_found_nothing_only_if_it_was_asked() -> None:
    call, found_nothing = {"event": "call", "replayed": False}, {"event": "leave", "weaknesses": {}}
    assert printed(call, found_nothing).endswith("no weakness found\n")
    assert printed(found_nothing).endswith("not called\n")
    assert printed({"event": "leave"}).endswith("not called\n")
    two = {"event": "leave", "weaknesses": {"w01-1": "one", "w01-2": "two"}}
    assert printed(call, two).endswith("2 weaknesses: one; two\n")


def test_a_run_folder_prints_its_path() -> None:
    assert repr(RunFolder("runs/first")) == "RunFolder('runs/first')"
