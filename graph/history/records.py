"""The records of a run that histories are made of, read from its folder."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

from tutelage.graph.history.calls import Call, calls_by_text, read_calls
from tutelage.graph.run_folder.folder import RoundLine, RunFolder
from tutelage.graph.run_folder.trace import Event, Trace
from tutelage.graph.weaknesses import Card, read_cards
from tutelage.student.corpus import Sample, changed, drawn_sample, stored_samples
from tutelage.student.errors import InputError
from tutelage.student.tasks.fields import Fields
from tutelage.student.tasks.registry import TASK_TYPES
from tutelage.student.tasks.task_type import TaskType

Purpose = Literal["sample", "first_label", "control"]


class Found(NamedTuple):
    """A sample and what it is for: a `sample` of a round, a `first_label` where the user has labelled
    nothing, or a `control`, a text drawn at random for the comparison at the end. The last two have no
    status.
    """

    purpose: Purpose
    sample: Sample


@dataclass(frozen=True)
class Records:
    """The contents of a run folder. `samples` have labels as code uses them, not as files show them. `shared`
    keeps what many histories have in common, so that it is made once (graph/history/evidence.py).
    """

    folder: RunFolder
    about: dict[str, Any]
    rounds: Sequence[RoundLine]
    cards: Sequence[Card]
    events: Sequence[Event]
    samples: Sequence[Sample]
    calls: Mapping[str, Call]
    shared: dict[tuple[str, str], Any] = field(default_factory=dict, repr=False)

    @property
    def task_type(self) -> TaskType:
        """The task type, which defines what a label is."""
        return TASK_TYPES[self.about["task"]["kind"]]

    @property
    def fields(self) -> Fields:
        """The names of the fields of a text."""
        return tuple(self.about["task"].get("fields", ("text",)))

    @property
    def finished(self) -> bool:
        """Whether the run has ended."""
        return "stop" in self.about

    @cached_property
    def by_text(self) -> dict[str, list[tuple[Call, Any]]]:
        """Text -> the calls that labelled or judged it (`calls_by_text`)."""
        return calls_by_text(self.calls)

    @cached_property
    def by_id(self) -> dict[str, list[Found]]:
        """Sample id -> all samples with this text: a text may be drawn or written several times."""
        found: dict[str, list[Found]] = defaultdict(list)
        for sample in self.samples:
            found[sample["id"]].append(Found("sample", sample))
        purposes: tuple[tuple[Purpose, Any], ...] = (
            ("first_label", self.folder.first_labels),
            ("control", self.folder.control_labels),
        )
        for purpose, path in purposes:
            for place, row in enumerate(self.folder.read_lines(path)):
                if row["id"] not in found:  # a control may be one of the chosen texts
                    sample = changed(drawn_sample(row, place=place), label=row["label"])
                    found[row["id"]].append(Found(purpose, sample))
        return dict(found)

    def find(self, start: str) -> list[Found]:
        """Return the samples whose id begins with `start`.

        Raises:
            InputError: no id or several ids begin so.
        """
        ids = [key for key in self.by_id if key.startswith(start.lower())] if start else []
        if not ids:
            raise InputError(
                f"{self.folder.path} has no sample {start!r}; `tutelage trace {self.folder.path}` lists some"
            )
        if len(ids) > 1 and start not in ids:
            shown = ", ".join(sorted(ids)[:3]) + (", …" if len(ids) > 3 else "")
            raise InputError(f"{len(ids)} samples begin with {start!r}: {shown}; give more of the id")
        return self.by_id[start if start in ids else ids[0]]


def read_records(folder: RunFolder) -> Records:
    """Read a run from its folder. The run may be in progress in another process.

    Raises:
        InputError: `folder` is not a run folder.
    """
    about, events = folder.about(), Trace(folder.trace).events()
    finished = "stop" in about and folder.samples.exists()
    samples = _from_file(folder, about) if finished else stored_samples(folder.corpus)
    return Records(
        folder=folder,
        about=about,
        rounds=folder.read_rounds(),
        cards=read_cards(folder),
        events=events,
        samples=samples,
        calls=read_calls(folder, events),
    )


def _from_file(folder: RunFolder, about: dict[str, Any]) -> list[Sample]:
    """Return the samples in samples.jsonl, which has labels in the format of data files."""
    task_type, labels = TASK_TYPES[about["task"]["kind"]], list(about["task"]["labels"])
    samples = []
    for line in folder.read_lines(folder.samples):
        fields = dict(line)
        if (value := fields.pop(task_type.label_field, None)) is not None:
            fields["label"] = task_type.parse_label(value, line["text"], labels)
        samples.append(changed(fields))  # type: ignore[arg-type]
    return samples
