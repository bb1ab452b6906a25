"""The student in memory: the one that was used last."""

from pathlib import Path

from tutelage.graph.run_folder.folder import RunFolder
from tutelage.student.encoder import Encoder
from tutelage.student.models.base import Student
from tutelage.student.models.load import load_student


class StudentCache:
    """The students of a run. At most one is kept in memory, because a GPU holds one at a time."""

    def __init__(self, folder: RunFolder, encoder: Encoder, device: str):
        self._folder, self._encoder, self._device = folder, encoder, device
        self._kept: dict[int, Student] = {}

    def get(self, round: int) -> Student:
        """Return the student of a round, from memory or from its folder."""
        if round not in self._kept:
            self.put(round, self.load(self._folder.student_of(round)))
        return self._kept[round]

    def put(self, round: int, student: Student) -> None:
        """Keep this student in memory, and no other."""
        self._kept = {round: student}

    def clear(self) -> None:
        """Drop the student in memory."""
        self._kept.clear()

    def load(self, path: Path) -> Student:
        """Load the student in a folder, without keeping it."""
        return load_student(path, encoder=self._encoder, device_name=self._device)
