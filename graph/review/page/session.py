"""One person's work on a review: the next text, the progress, and the decisions as the page sends them."""

import threading
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from statistics import median
from typing import Any, Literal, NotRequired, TypedDict

from tutelage.graph.review.decisions import Decision, Item
from tutelage.graph.review.open_review import OpenReview
from tutelage.graph.review.view import ShownItem, likely_labels, shown_item
from tutelage.student.errors import InputError

Phase = Literal["reviewing", "decided", "finished"]
DIGITS = 9  # labels that have a key of their own
_PAUSE = 300  # seconds; a longer time between two decisions is a break


class ConflictError(InputError):
    """The page shows an earlier state of the review; it is sent the present one."""


class PageState(TypedDict):
    """What the page shows. In the phase `decided` no text is left, and the person can still take the latest
    decision back. `done` counts a person's decisions by action, and `decided` all of them; `seconds`
    is the median time for a text.
    """

    phase: Phase
    next_step: str
    closing: str
    total: int
    decided: int
    done: dict[str, int]
    seconds: float | None
    round: int
    item: NotRequired[ShownItem]
    labels: NotRequired[list[str]]


class Session:
    """The state behind the page. The server's thread calls it, one call after the other."""

    def __init__(self, review: OpenReview, next_step: str, closing: str):
        """Begin without texts; `next_step` says what happens when the person has finished, and `closing`
        what to do when this session has ended.
        """
        self._review, self._next_step, self._closing = review, next_step, closing
        self._open = threading.Event()
        self._used = False  # whether a decision was made on the page
        self.finished = threading.Event()

    def begin(self) -> None:
        """Show the texts of the queue, unless none waits."""
        self.finished.clear()
        self._used = False
        self._open.set()
        if not self._review.waiting:
            self.finish()

    def finish(self) -> None:
        """End the work on this queue."""
        self._open.clear()
        self.finished.set()

    def task(self) -> dict[str, Any]:
        """Return what the page shows about the task."""
        task = self._review.task
        about = {"name": task.name, "kind": task.kind, "instruction": task.instruction, "digits": DIGITS}
        return {**about, "labels": [{"name": name, "text": text} for name, text in task.labels.items()]}

    def state(self, first: Item | None = None) -> PageState:
        """Return the present state.

        Args:
            first: the text to show; by default the first one without a decision.
        """
        queue, waiting = self._review.queue, self._review.waiting
        made = [one for one in self._review.decisions.values() if one["action"] != "unseen"]
        if not (waiting or self._used):  # the terminal or a table has decided everything
            self.finish()
        item = first or next(iter(waiting), None)
        state = PageState(
            phase="finished" if not self._open.is_set() else "reviewing" if item else "decided",
            next_step=self._next_step,
            closing=self._closing,
            total=len(queue["items"]),
            decided=len(made),
            done=dict(Counter(one["action"] for one in made)),
            seconds=_seconds(made),
            round=queue["round"],
        )
        if item and self._open.is_set():
            names = list(self._review.task.labels)
            state["item"] = shown_item(self._review, item)
            state["labels"] = likely_labels(self._review, item) if len(names) > DIGITS else names
        return state

    def decide(self, wanted: Mapping[str, Any]) -> PageState:
        """Keep a decision with the fields `id`, `action` and, to relabel, `label`; return the next state.

        Raises:
            ConflictError: the text has a decision already, or the work on the queue has ended.
            InputError: the decision cannot be kept (see `OpenReview.decide`).
        """
        self._require_open()
        id = wanted.get("id")
        if not isinstance(id, str):
            raise InputError(f"a decision names the `id` of its text; got {id!r}")
        if id in self._review.decisions:
            raise ConflictError("this text was decided in another window; the next one is shown")
        self._review.decide(id, wanted.get("action"), wanted.get("label"))  # type: ignore[arg-type]
        self._used = True
        return self.state()

    def undo(self) -> PageState:
        """Take the latest decision back; return the state with its text.

        Raises:
            ConflictError: the work on the queue has ended.
            InputError: there is no decision to take back.
        """
        self._require_open()
        if (item := self._review.undo()) is None:
            raise InputError("there is no decision to take back")
        return self.state(item)

    def stop(self) -> PageState:
        """End the work on the queue as the person asks: the texts left are `unseen`; return the state."""
        if self._open.is_set():  # else a window left open would finish texts that the run is choosing
            self._review.finish()
        self.finish()
        return self.state()

    def _require_open(self) -> None:
        if not self._open.is_set():
            raise ConflictError("this review is finished, so its decisions can no longer change")


def _seconds(decisions: list[Decision]) -> float | None:
    """Return the median time between two decisions, without breaks; None before there are two."""
    times = [after["at"] - before["at"] for before, after in pairwise(decisions)]
    worked = [time for time in times if 0 <= time < _PAUSE]
    return round(median(worked), 1) if worked else None
