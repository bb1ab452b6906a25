"""The lock of a run folder: one process works on it at a time."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from tutelage.graph.run_folder.folder import RunFolder
from tutelage.student.errors import InputError


@contextmanager
def locked(folder: RunFolder) -> Iterator[None]:
    """Lock a run folder: two processes would pay twice and mix their samples.

    SQLite releases the lock when the process dies.

    Raises:
        InputError: another process holds the lock.
    """
    with closing(sqlite3.connect(folder.lock, timeout=0, check_same_thread=False)) as lock:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            raise InputError(
                f"another process is using {folder.path}; wait until it ends, or stop it"
            ) from None
        yield
