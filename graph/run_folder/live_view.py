"""The lines at the bottom of the terminal that show where a run is."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from tutelage.graph.run_folder.live_state import LiveState, Steps
from tutelage.graph.run_folder.node_summaries import DOING

_TITLE = 10  # columns of a line's title, with the space after it
_BLOCKS = "▁▂▃▄▅▆▇█"
_SCORES = 6  # the latest rounds whose scores are shown


def live_lines(state: LiveState, now: float, width: int, *, ascii_only: bool) -> list[RenderableType]:
    """Return the lines to show. The first one says what is at work; lines without content are left out.

    Args:
        state: the state of the run.
        now: the time, as `time.monotonic` gives it.
        width: the columns of the terminal.
        ascii_only: whether the terminal has no other characters than ASCII.
    """
    rows = [
        *_row("teacher", _teacher(state, now), width),
        *_row("samples", _samples(state), width),
        *_row("score", _scores(state, ascii_only=ascii_only), width),
        *_row("serving", state.weaknesses, width, most=2),
    ]
    training = [_training(state.steps, now, width)] if state.steps else []
    return [_headline(state, now), *training, *rows]


def _headline(state: LiveState, now: float) -> Text:
    """Return the round, the work of the node, and its duration so far."""
    if not state.node:
        return _line("starting: loading libraries")
    of = "" if state.rounds is None else f" of {state.rounds}"
    detail = f" ({state.detail})" if state.detail else ""
    clock = _clock(now - state.entered)  # first, as the end may be cut off
    return _line(f"round {state.round}{of}, {clock}: {DOING[state.node]}{detail}")


def _training(steps: Steps, now: float, width: int) -> Table:
    """Return a bar of the steps of a training, and the time that is left."""
    fold = "" if steps.fold is None or steps.folds < 2 else f"fold {steps.fold + 1} of {steps.folds}, "
    left = steps.seconds_left(now)
    later = "" if left is None else f", {_clock(left)} left"
    words = _line(f"{fold}step {steps.number:,} of {steps.of:,}{later}")
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=_TITLE - 1)
    grid.add_column()
    grid.add_column(no_wrap=True, overflow="ellipsis")
    bar = ProgressBar(total=steps.of, completed=steps.number, width=max(6, min(24, width // 5)))
    grid.add_row(_title("training"), bar, words)
    return grid


def _teacher(state: LiveState, now: float) -> list[str]:
    """Return what was spent, with the limits that are set."""
    limits, spent = state.limits, state.spent
    if not spent["calls"] and not limits:
        return []

    def amount(name: str, value: float | None, form: str) -> str:
        used = "unknown" if value is None else format(value, form)
        return f"{used} of {limits[name]:{form}}" if name in limits else used

    parts = [f"{amount('calls', spent['calls'], ',.0f')} calls"]
    if rate := state.calls_a_second(now):
        parts.append(f"{rate:,.1f} a second")
    parts.append(f"{amount('tokens', spent['tokens'], ',.0f')} tokens")
    if spent["money"] or "money" in limits:
        parts.append(f"cost {amount('money', spent['money'], ',.4g')}")
    if "minutes" in limits:
        parts.append(f"{amount('minutes', state.minutes(now), ',.0f')} minutes")
    return parts


def _samples(state: LiveState) -> list[str]:
    """Return the numbers of samples that were kept and refused so far."""
    counts = Counter(state.samples.values())
    if not counts:
        return []
    refused = counts.total() - counts["kept"]
    return [f"{counts['kept']:,} kept", f"{refused:,} refused"]


def _scores(state: LiveState, *, ascii_only: bool) -> list[str]:
    """Return the curve of the scores, and the scores of the latest rounds."""
    if not state.scores:
        return []
    values = [score for score, _ in state.scores.values()]
    low, span = min(values), (max(values) - min(values)) or 1.0
    curve = "".join(_BLOCKS[round((value - low) / span * (len(_BLOCKS) - 1))] for value in values)
    latest = [
        f"round {round} {score:.3f}{'' if accepted else ' (rolled back)'}"
        for round, (score, accepted) in [*state.scores.items()][-_SCORES:]
    ]
    return latest if ascii_only or len(values) < 2 else [f"{curve}  {latest[0]}", *latest[1:]]


def _row(title: str, parts: Sequence[str], width: int, *, most: int = 3) -> list[Text]:
    """Return the parts, separated by commas, in as many lines as they need, but at most `most`."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + 2 + len(part) <= width - _TITLE:
            lines[-1] += f", {part}"
        else:
            lines = [*[f"{line}," if line is lines[-1] else line for line in lines], part]
    titles = [_title(title), *[Text(" " * _TITLE)] * most]
    shown = lines[:most] if len(lines) <= most else [*lines[: most - 1], f"{lines[most - 1].rstrip(',')} …"]
    return [_line(Text.assemble(one, line)) for one, line in zip(titles, shown, strict=False)]


def _title(title: str) -> Text:
    return Text(f"{title:<{_TITLE}}", style="dim")


def _line(content: str | Text) -> Text:
    """Return text that is cut off at the edge of the terminal instead of being wrapped."""
    text = content if isinstance(content, Text) else Text(content)
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _clock(seconds: float) -> str:
    """Return a duration as hours, minutes and seconds, the hours only if there are any."""
    return str(timedelta(seconds=round(seconds))).removeprefix("0:").removeprefix("0")
