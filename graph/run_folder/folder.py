"""The run folder: paths, reading and writing of all files of a run. File names are defined only here."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray
from tutelage.agents.teacher.calibration import Calibration
from tutelage.student.errors import InputError
from tutelage.student.evaluation.agreement import FILE as AGREEMENT_FILE
from tutelage.student.evaluation.confidence import FILE as CONFIDENCE_FILE

FORMAT = 4  # of run folders; raise it when older ones cannot be read any more
_RUN = "run.json"
_USED = "texts_used.json"
RESULTS = (  # the keys of run.json that are written when the run ends
    "stop", "best", "spent", "samples", "teacher", "test", "test_untrained", "test_by_round", "comparison",
    "review", "labels_to_check", "overlap",
)  # fmt: skip


class RoundLine(TypedDict):
    """One line of rounds.jsonl: the cost and the result of a round.

    `metric` is the score on the diagnose set, `gate` the score on the gate set. `p_value` is that of
    "this round did not make the student worse" on the gate set; None for the first round or without a gate
    set. `interval` is the 95 % bootstrap interval of the score on the gate set or, without one, of `metric`.
    `refused` counts samples by status. `final` marks the line of a final student that is trained from
    scratch on all kept samples; no teacher calls are made for it.
    """

    round: int
    metric: float
    gate: float | None
    accepted: bool
    p_value: float | None
    teacher_calls: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    samples_kept: int
    samples_rejected: int
    refused: dict[str, int]
    trained_on: int
    seconds: float
    interval: NotRequired[tuple[float, float]]
    final: NotRequired[bool]


def student_name(line: RoundLine, *, folded: bool) -> str:
    """Return the name of a round's student to show."""
    if line.get("final"):
        return "final student"
    first = "your labels alone" if folded else "seeds only"
    return f"round {line['round']}" if line["round"] else first


def rounds_over(rounds: Sequence[RoundLine]) -> int:
    """Return the number of finished rounds, without round 0 and the final student."""
    return max(sum(not line.get("final") for line in rounds) - 1, 0)


def student_in(path: Path) -> Path:
    """Return the student's folder in a run folder. Any other path is returned unchanged.

    Raises:
        InputError: the run has no student yet.
    """
    if not (path / _RUN).exists():
        return path
    if not (path / "student").exists():
        raise InputError(f"{path} has no student yet; continue it with `tutelage resume {path}`")
    return path / "student"


def run_of(path: Path) -> Path:
    """Return the run folder that a student's folder lies in; any other path is returned unchanged."""
    return path.parent if (path.parent / _RUN).exists() else path


def metric_in(path: Path) -> str | None:
    """Return the metric of a run folder's task, or None if `path` is not a run folder."""
    return str(RunFolder(path).about()["task"]["metric"]) if (path / _RUN).exists() else None


def write_texts_used(student: Path, ids: Sequence[str]) -> None:
    """Write to a student's folder the ids of the texts that its run trained or selected students on."""
    (student / _USED).write_text(json.dumps(ids), encoding="utf-8")


def texts_used(student: Path) -> set[str]:
    """Return the ids written by `write_texts_used`; none for a student that no run delivered."""
    path = student / _USED
    return set(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else set()


class RunFolder:
    """The folder `runs/<id>/`. Files are replaced atomically, so that none is ever incomplete."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.draft = self.path.parent / f"{self.path.name}.part"  # becomes the folder when a run is created
        self.run_json = self.path / _RUN
        self.journal = self.path / "journal.sqlite"
        self.batches = self.path / "batches.sqlite"
        self.lock = self.path / "lock.sqlite"
        self.checkpoints = self.path / "checkpoints.sqlite"
        self.corpus = self.path / "corpus"
        self.embeddings = self.path / "embeddings.sqlite"
        self.student_embeddings = self.path / "student-embeddings.sqlite"
        self.samples = self.path / "samples.jsonl"
        self.rounds = self.path / "rounds.jsonl"
        self.map = self.path / "map.json"
        self.weaknesses = self.path / "weaknesses.json"
        self.calibration = self.path / "calibration.json"
        self.training = self.path / "training.json"
        self.launcher_log = self.path / "launcher.log"
        self.first_labels = self.path / "first_labels.jsonl"
        self.control_labels = self.path / "control_labels.jsonl"
        self.labels_to_check = self.path / "labels_to_check.csv"
        self.rows_to_check = self.path / "rows_to_check.csv"
        self.review_queue = self.path / "review.json"
        self.review_decisions = self.path / "review.jsonl"
        self.predictions = self.path / "predictions"
        self.arms = self.predictions / "arms.json"
        self.confidence = self.path / CONFIDENCE_FILE
        self.agreement = self.path / AGREEMENT_FILE
        self.refitted = self.path / "students" / "refitted"
        self.trace = self.path / "trace.jsonl"
        self.student = self.path / "student"
        self.report = self.path / "report.html"

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    def create(self, about: dict[str, Any]) -> None:
        """Create the folder and its run.json.

        Raises:
            InputError: the path already exists, or the folder cannot be created.
        """
        self.refuse_existing()
        try:
            self.draft.mkdir(parents=True, exist_ok=True)
            self.write_json(self.draft / self.run_json.name, about)
            self.draft.rename(self.path)
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be created: {error}; choose another folder with --out"
            ) from error

    def refuse_existing(self) -> None:
        """Raise InputError if the path already exists."""
        if self.path.exists():
            resume = f"continue it with `tutelage resume {self.path}`, or " if self.run_json.exists() else ""
            raise InputError(f"{self.path} exists already; {resume}choose another folder with --out")

    def require(self) -> None:
        """Raise InputError if this is not a run folder."""
        if not self.run_json.exists():
            what = "is not a run folder (it has no run.json)" if self.path.exists() else "does not exist"
            raise InputError(f"{self.path} {what}; `tutelage runs` lists the run folders")

    def about(self) -> dict[str, Any]:
        """Return the content of run.json.

        Raises:
            InputError: this is not a run folder, an earlier version wrote it, or run.json cannot be read.
        """
        self.require()
        try:
            content: dict[str, Any] = json.loads(self.run_json.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{self.run_json} cannot be read: {error}") from error
        if (found := content.get("format", 1)) != FORMAT:
            raise InputError(
                f"{self.path} was written by another version of tutelage (format {found}, this one reads"
                f" {FORMAT}); run the task again: `--reuse` takes over the replies that were paid for"
            )
        return content

    def write(self, path: Path, text: str) -> None:
        """Replace a file by `text`. The new content is on disk before the old file is removed."""
        part = path.with_name(path.name + ".part")
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    def write_json(self, path: Path, value: object) -> None:
        """Replace a file by `value` as indented JSON."""
        self.write(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")

    def add_note(self, note: str) -> None:
        """Add a note for the user to run.json, unless it is there already."""
        about = self.about()
        if note not in about["notes"]:
            self.write_json(self.run_json, {**about, "notes": [*about["notes"], note]})

    def write_lines(self, path: Path, values: Sequence[Mapping[str, object]]) -> None:
        """Replace a file by `values` as JSON lines."""
        self.write(path, "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values))

    def read_lines(self, path: Path) -> list[Any]:
        """Return the values of a file of JSON lines; [] if there is no file."""
        lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
        return [json.loads(line) for line in lines if line]

    def read_rounds(self) -> list[RoundLine]:
        """Return the lines of rounds.jsonl in order of rounds. Empty before round 0 is finished."""
        return self.read_lines(self.rounds)

    def write_round(self, line: RoundLine) -> None:
        """Add the line of a round. Lines of this round and of later ones are replaced (after a resume)."""
        earlier = [old for old in self.read_rounds() if old["round"] < line["round"]]
        self.write_lines(self.rounds, [*earlier, line])

    def read_calibration(self) -> Calibration | None:
        """Return the content of calibration.json, or None if the teacher was not measured (yet)."""
        if not self.calibration.exists():
            return None
        content: Calibration = json.loads(self.calibration.read_text(encoding="utf-8"))
        return content

    def student_of(self, round: int | str, fold: int | None = None) -> Path:
        """Return the folder of a student (of a round or by name, optionally of one fold) during the run."""
        name = round if isinstance(round, str) else f"round-{round:02d}"
        folder = self.path / "students" / name
        return folder if fold is None else folder / f"fold-{fold}"

    def drop_students(self, keep: Sequence[int]) -> None:
        """Delete all students in `students/` except those of the rounds in `keep`."""
        kept = {self.student_of(round) for round in keep}
        for folder in self.path.glob("students/*"):
            if folder not in kept:
                shutil.rmtree(folder)

    def store_predictions(self, name: str, **answers: NDArray[Any]) -> None:
        """Store a student's predictions on each set. Those on test are evaluated once, at the end."""
        path = self.predictions / f"{name}.npz"
        path.parent.mkdir(exist_ok=True)
        part = path.with_name(path.name + ".part")
        with part.open("wb") as file:
            np.savez(file, **answers)  # type: ignore[arg-type]
        part.replace(path)

    def load_predictions(self, name: str, set_name: str) -> list[str]:
        """Return a student's stored predictions on a set, in the order of its rows."""
        return [str(answer) for answer in self.load_array(name, set_name)]

    def load_array(self, name: str, part: str) -> NDArray[Any]:
        """Return the array that was stored under `part`."""
        with np.load(self.predictions / f"{name}.npz") as stored:
            array: NDArray[Any] = stored[part]
        return array
