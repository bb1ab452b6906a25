"""The predictions of a file so far, kept on disk until all rows have one."""

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from tutelage.student.errors import InputError


class Answers:
    """Store predictions as they come, in a SQLite file that one process at a time can open.

    Attributes:
        count: the number of rows with a stored prediction.
    """

    def __init__(self, path: Path, identity: str):
        self._db = sqlite3.connect(path, timeout=0.1, isolation_level=None)
        try:
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("BEGIN EXCLUSIVE")
            self._db.execute("CREATE TABLE IF NOT EXISTS about (identity TEXT, truncated INTEGER)")
            columns = "row INTEGER PRIMARY KEY, label, confidence"
            self._db.execute(f"CREATE TABLE IF NOT EXISTS predictions ({columns})")
            known = self._db.execute("SELECT identity FROM about").fetchone()
            if not known:
                self._db.execute("INSERT INTO about VALUES (?, 0)", [identity])
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            self._db.close()
            if "locked" in str(error):
                raise InputError(f"{path} is in use: another process predicts this file") from error
            raise InputError(f"{path} cannot be written: {error}") from error
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise InputError(f"{path} holds no predictions; delete it to begin again") from error
        if known and known[0] != identity:
            self._db.close()
            raise InputError(
                f"{path} holds predictions of another file, student, column, encoding or engine; repeat the"
                " command that began it, or delete it to begin again"
            )
        self.count: int = self._db.execute("SELECT COUNT(*) FROM predictions").fetchone()[0]

    def add(self, answers: Iterable[tuple[str, float] | None], truncated: int) -> None:
        """Store the predictions of the next rows; None for a row without a text."""
        lines = [(self.count + i, *(answer or (None, None))) for i, answer in enumerate(answers)]
        try:
            self._db.execute("BEGIN")
            self._db.executemany("INSERT INTO predictions VALUES (?, ?, ?)", lines)
            self._db.execute("UPDATE about SET truncated = truncated + ?", [truncated])
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise InputError(f"the predictions cannot be stored: {error}") from error
        self.count += len(lines)

    @property
    def truncated(self) -> int:
        """Return how many texts were truncated."""
        return int(self._db.execute("SELECT truncated FROM about").fetchone()[0])

    def __iter__(self) -> Iterator[tuple[str | None, float | None]]:
        yield from self._db.execute("SELECT label, confidence FROM predictions ORDER BY row")

    def close(self) -> None:
        """Close the file."""
        self._db.close()
