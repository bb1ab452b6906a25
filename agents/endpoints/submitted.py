"""Keep on disk which call of a run was submitted in which batch."""

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path


class Submitted:
    """The mapping from calls to batches, in a SQLite file of the run; `run` identifies that run."""

    def __init__(self, path: Path):
        self.path = path
        self.run = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]

    def batches(self) -> dict[str, str]:
        """Return the id of its batch for each submitted call, by the call's key."""
        with self._open() as db:
            return dict(db.execute("SELECT key, batch FROM calls"))

    def knows(self, batch: str) -> bool:
        """Return whether a batch was recorded, even if its calls were forgotten since."""
        with self._open() as db:
            return db.execute("SELECT 1 FROM batches WHERE id = ?", (batch,)).fetchone() is not None

    def note(self, batch: str, keys: Sequence[str]) -> None:
        """Record a batch and its calls; a call that is already recorded in a later batch stays there."""
        with self._open() as db:
            db.execute("INSERT OR IGNORE INTO batches VALUES (?)", (batch,))
            db.executemany("INSERT OR IGNORE INTO calls VALUES (?, ?)", [(key, batch) for key in keys])

    def forget(self, key: str) -> None:
        """Forget a call whose line brought no reply, so that it is submitted again."""
        with self._open() as db:
            db.execute("DELETE FROM calls WHERE key = ?", (key,))

    def forget_batch(self, batch: str) -> None:
        """Forget all calls of a batch that brings no replies."""
        with self._open() as db:
            db.execute("DELETE FROM calls WHERE batch = ?", (batch,))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path)) as db, db:
            db.execute("PRAGMA synchronous=FULL")
            db.execute("CREATE TABLE IF NOT EXISTS batches (id TEXT PRIMARY KEY)")
            db.execute("CREATE TABLE IF NOT EXISTS calls (key TEXT PRIMARY KEY, batch TEXT)")
            yield db
