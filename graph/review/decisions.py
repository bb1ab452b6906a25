"""The files of a review: the texts that wait for a person, and the person's decisions."""

import json
import os
from collections.abc import Sequence
from typing import Any, Literal, NotRequired, TypedDict

from tutelage.graph.run_folder.folder import RunFolder

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
    another one if it is `relabel`, and absent otherwise. `unseen` marks a text that the person left when the
    review was finished: it is treated like a skipped one, but nobody looked at it. `at` is in seconds since
    1970.
    """

    id: str
    text: str
    round: int
    own: bool
    random: bool
    action: Action | Literal["unseen"]
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
            if line.get("action") == "unseen" and line["id"] in made:
                continue  # it was decided in another process, just before the review was finished
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
    texts, them = ("1 text waits", "it") if count == 1 else (f"{count} texts wait", "them")
    return f"{texts} for your review; see {them} with `tutelage review {folder.path}`" if count else ""
