"""The journal: every reply that was paid for, on disk before anyone uses it."""

import hashlib
import json
import sqlite3
import threading
import time
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TypedDict


class Spent(TypedDict):
    """Totals of a journal: tokens as the provider counted them, cost in the currency of the prices.

    `cost` is None as long as any call was made to a model without a price.
    """

    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None


@dataclass(frozen=True)
class Entry:
    """One reply: its raw text, why it ended, and what it took."""

    role: str
    content: str
    finish: str
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    seconds: float


class Journal:
    """Replies by canonical request, in one SQLite file; safe to share between threads.

    The same request is paid once: a resumed run finds the reply here. After `kill -9` what was put is
    there (synchronous=FULL).
    """

    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.Lock()

    @staticmethod
    def key(request: dict[str, object]) -> str:
        """SHA-256 of the request as canonical JSON; its first 12 digits name the call in traces."""
        return hashlib.sha256(json.dumps(request, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    def get(self, key: str) -> Entry | None:
        """The reply to a request, or None if it was never answered."""
        return self._entries.get(key)

    def put(self, key: str, request: dict[str, object], entry: Entry) -> None:
        """Write a reply; returns once it is on disk."""
        row = (
            key,
            time.time(),
            entry.role,
            json.dumps(request, ensure_ascii=False),
            json.dumps(asdict(entry)),
        )
        with self._lock, self._db:
            self._db.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?)", row)
        self._entries[key] = entry

    def spent(self) -> Spent:
        """Everything paid for since the run began."""
        entries = list(self._entries.values())
        costs = [entry.cost for entry in entries]
        return Spent(
            calls=len(entries),
            prompt_tokens=sum(entry.prompt_tokens for entry in entries),
            completion_tokens=sum(entry.completion_tokens for entry in entries),
            cost=None if None in costs else sum(cost for cost in costs if cost is not None),
        )

    def close(self) -> None:
        """Close the file."""
        if "_db" in self.__dict__:
            self._db.close()

    @cached_property
    def _entries(self) -> dict[str, Entry]:
        with self._lock:
            rows = self._db.execute("SELECT key, entry FROM replies ORDER BY at").fetchall()
        return {key: Entry(**json.loads(entry)) for key, entry in rows}

    @cached_property
    def _db(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, check_same_thread=False)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute(
            "CREATE TABLE IF NOT EXISTS replies"
            " (key TEXT PRIMARY KEY, at REAL, role TEXT, request TEXT, entry TEXT)"
        )
        return db
