"""The live view: what it gathers from events, and what it shows in terminals of several widths."""

import io
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, Group
from tutelage.graph.run_folder.event_lines import EventLines
from tutelage.graph.run_folder.live_state import RATE_SECONDS, LiveState
from tutelage.graph.run_folder.live_view import live_lines
from tutelage.graph.run_folder.progress import Progress
from tutelage.student.errors import InputError, Interrupted

CALL = {"event": "call", "replayed": False, "prompt_tokens": 900, "completion_tokens": 100, "cost": 0.01}
CONTROL = re.compile(r"\x1b|\r")


def event(kind: str, node: str = "train", round: int = 1, **fields: Any) -> dict[str, Any]:
    return {"event": kind, "node": node, "round": round, **fields}


TRAINING = [
    event("enter"),
    event("step", step=1, of=9, fold=None, folds=1),
    event("leave", seconds=1.0, rows=9),
]


def seen(folder: Path, *events: dict[str, Any]) -> LiveState:
    """Return the state after the beginning of a run with limits, and some events."""
    state = LiveState()
    spent = {"calls": 40, "tokens": 50_000, "money": 0.5}
    limits = {"calls": 500, "money": 2.0, "minutes": 60}
    beginning = event("begin", "", 0, folder=str(folder), rounds=3, limits=limits, spent=spent, minutes=12.0)
    for one in (beginning, *events):
        state.see(one)
    return state


def shown(state: LiveState, width: int = 100, *, ascii_only: bool = False, after: float = 5.0) -> list[str]:
    """Return the lines that are shown some seconds after the node at work has begun."""
    console = Console(file=io.StringIO(), width=width)
    console.print(Group(*live_lines(state, state.entered + after, width, ascii_only=ascii_only)))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_the_view_shows_the_round_the_budget_the_samples_the_scores_and_the_weaknesses(
    tmp_path: Path,
) -> None:
    state = seen(
        tmp_path,
        event("leave", "evaluate", 0, metric=0.8, accepted=True),
        event("leave", "keep", 1, samples={"kept": ["a", "b", "c"], "duplicate": ["d"]}),
        event("leave", "screen", 1, samples={"duplicate": ["c"]}),  # written again: it stays kept
        event("leave", "evaluate", 1, metric=0.7, accepted=False),
        event("leave", "analyst", 2, weaknesses={"w02-1": "irony", "w02-2": "refund or return"}),
        event("enter", "labeler", 2),
        *[{**CALL, "node": "labeler", "round": 2}] * 10,
        event("call", "labeler", 2, replayed=True),
    )
    assert shown(state) == [
        "round 2 of 3, 0:05: labelling",
        "teacher   50 of 500 calls, 2.0 a second, 60,000 tokens, cost 0.6 of 2, 12 of 60 minutes",
        "samples   3 kept, 1 refused",
        "score     █▁  round 0 0.800, round 1 0.700 (rolled back)",
        "serving   irony, refund or return",
    ]


def test_a_training_shows_its_step_and_the_time_left_for_the_students_of_all_folds(tmp_path: Path) -> None:
    steps = [event("step", step=number, of=100, fold=1, folds=3) for number in (1, 11)]
    state = seen(tmp_path, event("enter"), *steps)
    assert state.steps
    state.steps.began = state.entered  # ten steps in five seconds, 90 and 100 are left
    assert shown(state)[1].endswith("fold 2 of 3, step 11 of 100, 1:35 left")
    state.see(event("step", step=1, of=100, fold=2, folds=3))
    assert shown(state)[1].endswith("fold 3 of 3, step 1 of 100"), "it is too early to tell the time left"
    state.see(event("leave"))
    assert not any(line.startswith("training") for line in shown(state))


def test_a_resumed_run_shows_what_was_before(tmp_path: Path) -> None:
    earlier = [
        event("leave", "evaluate", 0, metric=0.8, accepted=True),
        event("leave", "keep", 1, samples={"kept": ["a"], "leak": ["b", "c"]}),
    ]
    (tmp_path / "trace.jsonl").write_text("".join(json.dumps(one) + "\n" for one in earlier))
    lines = shown(seen(tmp_path, event("enter")))
    assert "samples   1 kept, 2 refused" in lines
    assert "score     round 0 0.800" in lines


@pytest.mark.parametrize("width", [40, 60, 100, 120])
def test_no_line_is_longer_than_the_terminal(width: int, tmp_path: Path) -> None:
    state = seen(
        tmp_path,
        *[event("leave", "evaluate", round, metric=0.7 + round / 100, accepted=True) for round in range(9)],
        event("leave", "analyst", 1, weaknesses={"w": "a weakness with a long name " * 4, "v": "short"}),
        event("enter", "refit", 3),
        event("arm", "refit", 3, name="self_trained", rows=1234),
        *[event("step", step=number, of=1200, fold=0, folds=3) for number in (1, 800)],
    )
    lines = shown(state, width)
    assert max(map(len, lines)) <= width
    assert len(lines) <= 12
    assert "(self trained, 1234 rows)" in lines[0] or width < 120
    scores = [event("leave", "evaluate", round, metric=0.7, accepted=True) for round in (0, 1)]
    assert "".join(shown(seen(tmp_path, *scores), ascii_only=True)).isascii()


def record(console: Console, events: Sequence[dict[str, Any]], error: Exception | None = None) -> str:
    """Return what a run of these events prints, and how it ends in an error."""
    try:
        with Progress("a title", console) as progress:
            for one in events:
                progress(one)
            if error:
                raise error
    except Interrupted:
        pass
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("error", [None, Interrupted("stopped")])
def test_nothing_of_the_view_is_left_at_the_end_or_after_an_error(error: Exception | None) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=60, height=20, legacy_windows=False)
    output = record(console, [*TRAINING, event("enter", "evaluate")], error)
    assert output.count("\x1b[?25l") == output.count("\x1b[?25h") == 1, "the cursor is shown again"
    lines = on_screen(output)
    assert lines == ["a title", "round 1  train        1.0 s              on 9 texts"]


def test_a_pipe_gets_lines_without_control_characters() -> None:
    output = record(Console(file=io.StringIO(), width=80), TRAINING)
    assert not CONTROL.search(output)
    assert output == "a title\nround 1  train        1.0 s              on 9 texts\n"


def on_screen(output: str) -> list[str]:
    """Return the lines that a terminal shows after this output. It can move up and erase lines."""
    lines, row = [""], 0
    for part in re.findall(r"\x1b\[[?0-9;]*[A-Za-z]|\n|\r|[^\x1b\n\r]+", output):
        if part == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif part == "\x1b[1A":
            row -= 1
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part[0] not in "\x1b\r":
            lines[row] += part
    return [line.rstrip() for line in lines if line.strip()]


def test_events_are_written_as_lines_and_the_last_one_says_how_the_run_ended(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventLines(str(path)) as lines:
        lines(event("enter"))
    with pytest.raises(InputError), EventLines(str(path)):
        raise InputError("no key\nsk-abcdefghijklmnopqrstuvwxyz0123456789")
    with pytest.raises(Interrupted), EventLines(str(path)):
        raise Interrupted("stopped")
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert [one["event"] for one in found] == ["enter", "end", "end", "end"]
    assert [one["state"] for one in found[1:]] == ["finished", "failed", "interrupted"]
    assert "sk-abcdefghij" not in found[2]["message"], "keys are not written"
    with pytest.raises(InputError, match=r"--events .* cannot be written"), EventLines(str(tmp_path)):
        pass


def test_the_state_leaves_the_events_as_they_are_and_forgets_old_calls(tmp_path: Path) -> None:
    spent = {"calls": 40, "tokens": 50_000, "money": 0.5}
    beginning = event("begin", "", 0, folder=str(tmp_path), rounds=1, limits={}, spent=spent, minutes=0.0)
    state = LiveState()
    for one in (beginning, event("enter"), CALL, CALL):
        state.see(one)
    assert (state.spent["calls"], spent["calls"]) == (42, 40)
    assert state.calls_a_second(state.entered + 1) == pytest.approx(2, rel=0.5)
    assert state.calls_a_second(state.entered + 2 * RATE_SECONDS) == 0
    assert state.calls_a_second(state.entered + 1) == 0, "they are not kept"


def test_events_are_ascii_so_that_any_standard_output_can_hold_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    with EventLines("-") as lines:
        lines(event("leave", "analyst", weaknesses={"w": "Rückgabe → 返品"}))
    found = [json.loads(line) for line in written.getvalue().splitlines()]
    assert found[0]["weaknesses"] == {"w": "Rückgabe → 返品"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_run_goes_on_without_events_if_they_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    with EventLines("/dev/full") as lines:
        for _ in range(3):
            lines(event("enter"))
    assert capsys.readouterr().err == "note: no more events are written: No space left on device\n"


def test_a_run_goes_on_if_the_reader_of_its_events_has_ended() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with EventLines(f"/dev/fd/{writing}") as lines:
        os.close(writing)
        for _ in range(2):
            lines(event("enter"))
