"""What a run has submitted to a batch API: which call is in which batch, on disk."""

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path


class Submitted:
    """Which call went into which batch, in a SQLite file of the run; `run` names that run."""

    def __init__(self, path: Path):
        self.path = path
        self.run = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]

    def batches(self) -> dict[str, str]:
        """Key of a call -> id of the batch in which its answer is to be found."""
        with self._open() as db:
            return dict(db.execute("SELECT key, batch FROM calls"))

    def knows(self, batch: str) -> bool:
        """Whether a batch was noted, be its answers of use or not."""
        with self._open() as db:
            return db.execute("SELECT 1 FROM batches WHERE id = ?", (batch,)).fetchone() is not None

    def note(self, batch: str, keys: Sequence[str]) -> None:
        """Write down a batch; a call that is in a later one already stays there."""
        with self._open() as db:
            db.execute("INSERT OR IGNORE INTO batches VALUES (?)", (batch,))
            db.executemany("INSERT OR IGNORE INTO calls VALUES (?, ?)", [(key, batch) for key in keys])

    def forget(self, key: str) -> None:
        """A call's line brought no answer: it is to be submitted anew."""
        with self._open() as db:
            db.execute("DELETE FROM calls WHERE key = ?", (key,))

    def forget_batch(self, batch: str) -> None:
        """None of a batch's lines brings an answer."""
        with self._open() as db:
            db.execute("DELETE FROM calls WHERE batch = ?", (batch,))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path)) as db, db:
            db.execute("PRAGMA synchronous=FULL")
            db.execute("CREATE TABLE IF NOT EXISTS batches (id TEXT PRIMARY KEY)")
            db.execute("CREATE TABLE IF NOT EXISTS calls (key TEXT PRIMARY KEY, batch TEXT)")
            yield db
