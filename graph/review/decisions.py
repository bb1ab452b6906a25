"""The review of a run: the texts that wait for a person, and the person's decisions, in the run folder."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.task.load import parse_task
from tutelage.graph.task.schema import Task
from tutelage.student.errors import InputError

Action = Literal["accept", "relabel", "refuse", "skip"]


class NearRow(TypedDict):
    """One of the user's rows near a text: its label string, and the cosine similarity (1 = equal)."""

    text: str
    label: str
    similarity: float


class Item(TypedDict):
    """A text that waits for a decision. Labels are label strings (see `TaskType`).

    `own` marks one of the user's labelled rows; the others are samples. `label` is what is to be judged: of
    a sample the teacher's label, which is absent before it is labelled. `confidence` is the teacher's.
    `answered` is the label that students predict which were not trained on the text. `reason` is why a person
    is asked about this text, and `random` marks one that was drawn at random.
    """

    id: str
    text: str
    own: bool
    reason: str
    random: bool
    near: list[NearRow]
    label: NotRequired[str]
    confidence: NotRequired[float]
    answered: NotRequired[str]


class Queue(TypedDict):
    """The texts that were chosen for review in one attempt of a round."""

    round: int
    attempt: int
    items: list[Item]


class Decision(TypedDict):
    """A person's decision about a text. `label` is the right label: the judged one if `action` is `accept`,
    another one if it is `relabel`, and absent if it is `refuse` or `skip`. `at` is in seconds since 1970.
    """

    id: str
    text: str
    round: int
    own: bool
    random: bool
    action: Action
    at: float
    judged: NotRequired[str]
    label: NotRequired[str]


class Review:
    """The review of one run.

    The queue is replaced when the run chooses texts. Decisions are appended to a file, one line each, and
    are on disk when `decide` returns. An undone decision stays in the file; a line that undoes it follows.
    """

    def __init__(self, folder: RunFolder):
        self._folder = folder

    def queue(self) -> Queue | None:
        """Return the texts that were chosen last; None before any were."""
        if not self._folder.review_queue.exists():
            return None
        queue: Queue = json.loads(self._folder.review_queue.read_text(encoding="utf-8"))
        return queue

    def put(self, queue: Queue) -> None:
        """Replace the queue."""
        self._folder.write_json(self._folder.review_queue, queue)

    def decisions(self) -> dict[str, Decision]:
        """Return the decisions of all rounds by the id of their text, in the order of their making."""
        made: dict[str, Decision] = {}
        for line in self._lines():
            made.pop(line["id"], None)
            if "undone" not in line:
                made[line["id"]] = line
        return made

    def append(self, lines: Sequence[Any]) -> None:
        """Append decisions, or lines that undo decisions, and wait until they are on disk."""
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        with self._folder.review_decisions.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":  # a full disk cut the last line off; its decision was not confirmed
                    text = f"\n{text}"
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())

    def _lines(self) -> list[Any]:
        path, found = self._folder.review_decisions, []
        for line in path.read_bytes().splitlines() if path.exists() else []:
            try:
                found.append(json.loads(line))
            except ValueError:  # of a line that was cut off (see `append`)
                continue
        return found


def waiting_texts(folder: RunFolder) -> int:
    """Return how many texts wait for a person before the run goes on; 0 if it does not wait."""
    review = Review(folder)
    if "stop" in folder.about() or (queue := review.queue()) is None:
        return 0
    decided = review.decisions()
    return sum(item["id"] not in decided for item in queue["items"])


def waiting_sentence(folder: RunFolder) -> str:
    """Return a sentence that says what a run waits for; "" if it does not wait for a person."""
    count = waiting_texts(folder)
    texts = "1 text waits" if count == 1 else f"{count} texts wait"
    return f"{texts} for your review; see them with `tutelage review {folder.path}`" if count else ""


class OpenReview:
    """A review that waits for decisions, as the page, the terminal and the table use it.

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
        path = self.folder.path
        if self.task.review == "never":
            raise InputError(
                f"{path} is a run without review; set `review: before_train` in task.yaml and run it again:"
                f" with `--reuse {path}` nothing is paid for twice"
            )
        raise InputError(f"{path} has no texts to review yet; continue it with `tutelage resume {path}`")

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

    def decide_all(self, answers: Sequence[Mapping[str, Any]]) -> None:
        """Keep several decisions, or none of them if one cannot be kept; skip the texts without any.

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
        self._review.append([*made, *(self._decision(item, "skip", None) for item in left)])

    def undo(self) -> Item | None:
        """Take the latest decision back, and return its text; None if there is no decision to take back."""
        if not (decided := self.decisions):
            return None
        last = list(decided)[-1]
        self._review.append([{"id": last, "undone": True, "at": time.time()}])
        return self.item(last)

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
            raise InputError(f"the label {label!r}: {error}") from error
