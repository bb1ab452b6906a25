"""The progress lines of a run."""

import io
from typing import Any

import pytest
from rich.console import Console
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.run_folder.progress import Progress


def printed(*events: dict[str, Any], width: int = 200, terminal: bool = False) -> str:
    """Return the line that is printed after the events of one node."""
    lines = io.StringIO()
    console = Console(file=lines, width=width, force_terminal=terminal, color_system=None)
    progress = Progress(console=console, live=False)
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


def test_a_long_line_is_wrapped_between_words_in_a_terminal_only() -> None:
    leave = {"event": "leave", "weaknesses": {"w01-1": "mistakes late parcels for lost ones " * 3}}
    first, *rest = printed(leave, width=80, terminal=True).splitlines()
    assert rest
    assert all(len(line) < 80 for line in (first, *rest))
    indent = first.index("1 weakness")
    assert all(line.startswith(" " * indent) and line[indent] != " " for line in rest)
    [whole] = printed(leave, width=80).splitlines()
    assert [word for line in (first, *rest) for word in line.split()] == whole.split()


def test_a_run_folder_prints_its_path() -> None:
    assert repr(RunFolder("runs/first")) == "RunFolder('runs/first')"
