"""The run folder: every file a run writes, and the only place that knows their names."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray
from tutelage.agents.teacher.calibration import Calibration
from tutelage.student.errors import InputError

_RUN = "run.json"


class RoundLine(TypedDict):
    """One line of rounds.jsonl: what this round cost and brought; `metric` is on diagnose, `gate` on gate.

    `chance` is the p-value of "this round did not make the student worse" on the gate set, None for
    the first round or without a gate set; `refused` counts samples by status. `final` stands in the line of
    a final student, trained afresh on all that is kept: its round asks nothing.
    """

    round: int
    metric: float
    gate: float | None
    accepted: bool
    chance: float | None
    teacher_calls: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    samples_kept: int
    samples_rejected: int
    refused: dict[str, int]
    trained_on: int
    seconds: float
    final: NotRequired[bool]


def student_name(line: RoundLine) -> str:
    """What people call the student of a round."""
    if line.get("final"):
        return "final student"
    return f"round {line['round']}" if line["round"] else "seeds only"


def rounds_over(rounds: Sequence[RoundLine]) -> int:
    """How many rounds are over; the seeds are none, nor is the final student."""
    return max(sum(not line.get("final") for line in rounds) - 1, 0)


def student_in(path: Path) -> Path:
    """The student of a run folder, or the folder itself.

    Raises:
        InputError: the run has none yet.
    """
    if not (path / _RUN).exists():
        return path
    if not (path / "student").exists():
        raise InputError(f"{path} has no student yet; continue it with `tutelage resume {path}`")
    return path / "student"


def metric_in(path: Path) -> str | None:
    """What the task of a run folder is measured by; None of a student by itself."""
    return str(RunFolder(path).about()["task"]["metric"]) if (path / _RUN).exists() else None


class RunFolder:
    """`runs/<id>/`. Files are replaced whole: a reader, or a crash, never sees half of one."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
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
        self.weaknesses = self.path / "weaknesses.json"
        self.calibration = self.path / "calibration.json"
        self.training = self.path / "training.json"
        self.first_labels = self.path / "first_labels.jsonl"
        self.control_labels = self.path / "control_labels.jsonl"
        self.labels_to_check = self.path / "labels_to_check.csv"
        self.rows_to_check = self.path / "rows_to_check.csv"
        self.refitted = self.path / "students" / "refitted"
        self.trace = self.path / "trace.jsonl"
        self.student = self.path / "student"
        self.report = self.path / "report.html"

    def create(self, about: dict[str, Any]) -> None:
        """Make the folder and its run.json.

        Raises:
            InputError: something is already there, or the place cannot be written.
        """
        self.refuse_existing()
        part = self.path.with_name(self.path.name + ".part")
        try:
            part.mkdir(parents=True, exist_ok=True)
            self.write_json(part / self.run_json.name, about)
            part.rename(self.path)
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be made: {error}; choose another folder with --out"
            ) from error

    def refuse_existing(self) -> None:
        """Raise InputError if something is there."""
        if self.path.exists():
            begun = f"continue it with `tutelage resume {self.path}`, or " if self.run_json.exists() else ""
            raise InputError(f"{self.path} exists already; {begun}choose another folder with --out")

    def about(self) -> dict[str, Any]:
        """run.json.

        Raises:
            InputError: this is not a run folder.
        """
        try:
            found: dict[str, Any] = json.loads(self.run_json.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"{self.path} is not a run folder (no run.json); see `tutelage runs`") from None
        except (OSError, ValueError) as error:
            raise InputError(f"{self.run_json} cannot be read: {error}") from error
        return found

    def write(self, path: Path, text: str) -> None:
        """Replace a file by its new content, on disk before the old one goes."""
        part = path.with_name(path.name + ".part")
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    def write_json(self, path: Path, value: object) -> None:
        """`write` as indented JSON."""
        self.write(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")

    def read_rounds(self) -> list[RoundLine]:
        """rounds.jsonl, in order of the rounds; empty before the first is over."""
        if not self.rounds.exists():
            return []
        return [json.loads(line) for line in self.rounds.read_text(encoding="utf-8").splitlines()]

    def write_round(self, line: RoundLine) -> None:
        """Add a round's line, or replace it when a resumed run writes it again."""
        lines = [old for old in self.read_rounds() if old["round"] < line["round"]] + [line]
        self.write(self.rounds, "".join(json.dumps(entry) + "\n" for entry in lines))

    def read_calibration(self) -> Calibration | None:
        """calibration.json; None where the teacher's confidence is not measured, or not yet."""
        if not self.calibration.exists():
            return None
        found: Calibration = json.loads(self.calibration.read_text(encoding="utf-8"))
        return found

    def student_of(self, round: int | str, fold: int | None = None) -> Path:
        """Where the student of a round or of a name, or that of a fold, is kept while the run goes on."""
        name = round if isinstance(round, str) else f"round-{round:02d}"
        place = self.path / "students" / name
        return place if fold is None else place / f"fold-{fold}"

    def drop_students(self, keep: Sequence[int]) -> None:
        """Remove the students of all other rounds, and a refitted one."""
        kept = {self.student_of(round) for round in keep}
        for folder in self.path.glob("students/*"):
            if folder not in kept:
                shutil.rmtree(folder)

    def seal(self, name: str, **answers: NDArray[Any]) -> None:
        """Put away a student's answers on each set; those on test are graded once, at the end."""
        path = self.path / "sealed" / f"{name}.npz"
        path.parent.mkdir(exist_ok=True)
        part = path.with_name(path.name + ".part")
        with part.open("wb") as file:
            np.savez(file, **answers)  # type: ignore[arg-type]
        part.replace(path)

    def unseal(self, name: str, exam: str) -> list[str]:
        """A student's answers on a set, in the order of its rows."""
        return [str(answer) for answer in self.unseal_array(name, exam)]

    def unseal_array(self, name: str, part: str) -> NDArray[Any]:
        """Return what was stored under `part`."""
        with np.load(self.path / "sealed" / f"{name}.npz") as stored:
            found: NDArray[Any] = stored[part]
        return found

    def has_sealed(self, name: str) -> bool:
        """Return whether predictions of that name are stored."""
        return (self.path / "sealed" / f"{name}.npz").exists()
