"""A review that waits for decisions, as the page, the terminal, the table and applications use it."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tutelage.graph.review.decisions import Action, Decision, Item, Queue, Review
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.run_folder.lock import locked
from tutelage.graph.task.load import parse_task
from tutelage.graph.task.schema import Task
from tutelage.student.errors import InputError

_NAMES = 10  # labels that an error message lists


class OpenReview:
    """A review that waits for decisions.

    Raises:
        InputError: this is not a run folder.
    """

    def __init__(self, run: Path | RunFolder, task: Task | None = None):
        self.folder = run if isinstance(run, RunFolder) else RunFolder(run)
        about = self.folder.about()
        self.task = task or parse_task(about["task"], str(self.folder.run_json), self.folder.path)
        self._review = Review(self.folder)

    @property
    def queue(self) -> Queue:
        """The texts that wait for a person, in the order in which they should be judged.

        Raises:
            InputError: the run has not asked for a review.
        """
        if queue := self._review.queue():
            return queue
        raise InputError(self._why_nothing_waits())

    @property
    def decisions(self) -> dict[str, Decision]:
        """The decisions about texts of the queue by their ids, the latest one last."""
        ids = {item["id"] for item in self.queue["items"]}
        return {id: made for id, made in self._review.decisions().items() if id in ids}

    @property
    def waiting(self) -> list[Item]:
        """The texts of the queue without a decision."""
        decided = self.decisions
        return [item for item in self.queue["items"] if item["id"] not in decided]

    def item(self, id: str) -> Item:
        """Return a text of the queue.

        Raises:
            InputError: no text of the queue has this id.
        """
        for item in self.queue["items"]:
            if item["id"] == id:
                return item
        raise InputError(f"no text with the id {id!r} waits for review; reload the page or the table")

    def checked(self, id: str, action: Action, label: object = None) -> Decision:
        """Return a decision without keeping it; the arguments and errors are those of `decide`."""
        return self._decision(self.item(id), action, label)

    def keep(self, decisions: Sequence[Decision]) -> None:
        """Keep decisions that `checked` returned; they are on disk when this returns."""
        if decisions:
            self._review.append(decisions)

    def decide(self, id: str, action: Action, label: object = None) -> Decision:
        """Keep a decision; a later one about the same text replaces it.

        Args:
            id: the id of a text of the queue.
            action: `accept` the judged label, `relabel` with another one, `refuse` to train on the text, or
                `skip` it: it is then treated as if nobody had seen it.
            label: the right label in the form of data files, for `relabel`.

        Raises:
            InputError: there is no such text, it has no label to accept, the label is not one of the task, or
                the action is not for this text.
        """
        decision = self._decision(self.item(id), action, label)
        self._review.append([decision])
        return decision

    def finish(self, answers: Sequence[Mapping[str, Any]] = ()) -> None:
        """Finish the review: the texts without a decision are `unseen`, so that nobody is asked about them
        again. Decisions can be given with it; they are all kept, or none of them if one cannot be kept.

        Args:
            answers: the arguments of `decide`, as in `{"id": …, "action": "relabel", "label": …}`.

        Raises:
            InputError: as in `decide`.
        """
        made, names = [], {"id", "action", "label"}
        for answer in answers:
            if not isinstance(answer, Mapping) or not {"id", "action"} <= {*answer} <= names:
                raise InputError(f"a decision has `id`, `action` and, to relabel, `label`; got {answer!r}")
            made.append(self._decision(self.item(answer["id"]), answer["action"], answer.get("label")))
        decided = {decision["id"] for decision in made}
        left = [item for item in self.waiting if item["id"] not in decided]
        unseen: list[Decision] = [{**self._decision(item, "skip", None), "action": "unseen"} for item in left]
        self.keep([*made, *unseen])

    def undo(self) -> Item | None:
        """Take the latest decision back, and return its text; None if there is no decision to take back."""
        if not (decided := self.decisions):
            return None
        last = list(decided)[-1]
        self._review.append([{"id": last, "undone": True, "at": time.time()}])
        return self.item(last)

    def _why_nothing_waits(self) -> str:
        path = self.folder.path
        if self.task.review == "never":
            return (
                f"{path} is a run without review; set `review: before_train` in task.yaml and run it again:"
                f" with `--reuse {path}` nothing is paid for twice"
            )
        if "stop" in self.folder.about():
            return f"{path} has ended without texts to review"
        if self._at_work():
            return (
                f"{path} has no texts to review yet; the run is at work, and waits for you when it has some"
            )
        return f"{path} has no texts to review yet; continue it with `tutelage resume {path}`"

    def _at_work(self) -> bool:
        """Return whether a process holds the lock of the run."""
        if not self.folder.lock.exists():  # looking for the lock would make the file
            return False
        try:
            with locked(self.folder):
                return False
        except InputError:
            return True

    def _decision(self, item: Item, action: Action, label: object) -> Decision:
        decision = Decision(
            id=item["id"],
            text=item["text"],
            round=self.queue["round"],
            own=item["own"],
            random=item["random"],
            action=action,
            at=time.time(),
        )
        judged = item.get("label")
        if judged is not None:
            decision["judged"] = judged
        match action:
            case "accept":
                if judged is None:
                    raise InputError("this text has no label to accept yet; give the right one")
                decision["label"] = judged
            case "relabel":
                decision["label"] = self._parsed(label, item["text"])
                if decision["label"] == judged:
                    decision["action"] = "accept"
            case "refuse" if item["own"]:
                raise InputError(
                    "this is a row of your own data: give the right label, or skip it and remove the row from"
                    " your file"
                )
            case "refuse" | "skip":
                pass
            case _:
                raise InputError(f"the action is accept, relabel, refuse or skip; got {action!r}")
        return decision

    def _parsed(self, label: object, text: str) -> str:
        if label is None:
            raise InputError("`relabel` needs the right label")
        try:
            return self.task.type.parse_label(label, text, list(self.task.labels))
        except ValueError as error:
            # A reviewer does not edit task.yaml, as the second half of a message may say.
            raise InputError(f"the label {label!r}: {self._for_reviewer(str(error))}") from error

    def _for_reviewer(self, problem: str) -> str:
        """Return what is wrong with a label; if it is its name, with the names to give instead."""
        names, (what, _, advice) = list(self.task.labels), problem.rpartition("; ")
        if not names or "task.yaml" not in advice:
            return problem
        shown = ", ".join(names[:_NAMES]) + (", …" if len(names) > _NAMES else "")
        return f"{what}; give one of: {shown}"
