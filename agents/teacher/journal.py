"""The journal: stores every paid reply on disk before it is used."""

import asyncio
import hashlib
import json
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from tutelage.agents.endpoints.entry import Entry
from tutelage.agents.endpoints.exchange import Messages
from tutelage.agents.providers.models import ModelSpec
from tutelage.agents.request import Request
from tutelage.agents.schemas import Item
from tutelage.student.errors import InputError

Row = tuple[str, float, str, str, str, bool]


class Spent(TypedDict):
    """The totals of a journal: tokens as the provider counted them (estimated if it does not), and their cost
    in the currency of the prices. `cost` is None if any call was made to a model without a price.
    """

    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None


class StoredReply(NamedTuple):
    """A row of a journal. `call` is the id of the call in traces, `at` the time of the reply in seconds since
    1970, `request` the canonical call, and `paid` is False for a reply that was copied from another run.
    """

    call: str
    at: float
    request: dict[str, Any]
    entry: Entry
    paid: bool


class Journal:
    """Replies by canonical request, in one SQLite file; safe to share between threads.

    The same request is paid for once, because a resumed run finds the reply here. Written replies survive
    `kill -9` (synchronous=FULL). `others` are journals of earlier runs, opened read-only; a reply found there
    is copied at no cost and does not count as a call.
    """

    def __init__(self, path: Path, others: Sequence[Path] = ()):
        self.path, self.others = path, others
        self._lock = threading.Lock()
        self._waiting: list[tuple[Row, asyncio.Future[None]]] = []

    @staticmethod
    def key(request: dict[str, object]) -> str:
        """Return the SHA-256 of the request as canonical JSON; traces use its first 12 digits as call id."""
        return hashlib.sha256(json.dumps(request, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    def get(self, key: str) -> Entry | None:
        """Return the reply to a request, or None if it was never answered."""
        with self._lock:
            if found := _find(self._db, key):
                return found[1]
            found = next((found for other in self._others if (found := _find(other, key))), None)
        if not found:
            return None
        request, entry = found
        entry = replace(entry, prompt_tokens=0, completion_tokens=0, cached_tokens=0, cost=0.0)
        self.put(key, request, entry, paid=False)
        return entry

    def put(self, key: str, request: dict[str, object], entry: Entry, *, paid: bool = True) -> None:
        """Write a reply, and return once it is on disk."""
        with self._lock:
            spent = self._spent
            if self._write([_row(key, request, entry, paid)]) and paid:
                _add(spent[entry.node], entry)

    async def put_soon(self, key: str, request: dict[str, object], entry: Entry) -> None:
        """Write a paid reply from an event loop, and return once it is on disk. It counts as spent at once.
        Waiting replies are written together, because each sync to disk may take milliseconds.
        """
        loop = asyncio.get_running_loop()
        written: asyncio.Future[None] = loop.create_future()
        with self._lock:
            _add(self._spent[entry.node], entry)
        if not self._waiting:
            loop.call_soon(self._write_waiting)
        self._waiting.append((_row(key, request, entry, paid=True), written))
        await written

    def _write_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        failure: Exception | None = None
        try:
            with self._lock:
                self._write([row for row, _ in waiting])
        except Exception as error:  # every waiting caller must receive it, whatever it is
            failure = error
        for _, written in waiting:
            if written.done():  # its caller was cancelled; the reply is on disk anyway
                continue
            written.set_exception(failure) if failure else written.set_result(None)

    def _write(self, rows: Sequence[Row]) -> int:
        """Write the rows, and return how many are new."""
        with self._db:
            put = self._db.executemany("INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?, ?)", rows)
        return put.rowcount

    def spent(self, node: str | None = None) -> Spent:
        """Return what has been spent since the run began, in all or by one node of the graph."""
        with self._lock:
            parts = [part for name, part in self._spent.items() if node in (None, name)]
        return _sum(parts)

    def void(self, role: str) -> None:
        """Invalidate the replies of a role, so that its requests are sent again; their cost still counts."""
        with self._lock, self._db:
            self._db.execute("UPDATE replies SET key = key || ' void ' || rowid WHERE role = ?", (role,))

    def holds(self, role: str) -> bool:
        """Return whether the journal holds any reply to a role."""
        with self._lock:
            row = self._db.execute("SELECT 1 FROM replies WHERE role = ? LIMIT 1", (role,)).fetchone()
        return row is not None

    def close(self) -> None:
        """Close the database files."""
        opened = [self._db] if "_db" in self.__dict__ else []
        for db in [*opened, *self.__dict__.get("_others", ())]:
            db.close()

    @cached_property
    def _spent(self) -> defaultdict[str, Spent]:
        """Node of the graph -> what it has spent."""
        spent = defaultdict[str, Spent](lambda: _sum([]))
        for (text,) in self._db.execute("SELECT entry FROM replies WHERE paid"):
            entry = Entry(**json.loads(text))
            _add(spent[entry.node], entry)
        return spent

    @cached_property
    def _db(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, check_same_thread=False)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute(
            "CREATE TABLE IF NOT EXISTS replies"
            " (key TEXT PRIMARY KEY, at REAL, role TEXT, request TEXT, entry TEXT, paid INTEGER)"
        )
        return db

    @cached_property
    def _others(self) -> list[sqlite3.Connection]:
        return [_read_only(path) for path in self.others]


def stored_replies(path: Path) -> list[StoredReply]:
    """Return all replies of a journal, oldest first. Another process may be writing to it.

    Raises:
        InputError: the file is not a journal.
    """
    db = _read_only(path, closed=not path.with_name(f"{path.name}-wal").exists())
    try:
        rows = db.execute("SELECT key, at, request, entry, paid FROM replies ORDER BY at, rowid").fetchall()
    finally:
        db.close()
    return [
        StoredReply(key[:12], at, json.loads(request), Entry(**json.loads(entry)), bool(paid))
        for key, at, request, entry, paid in rows
    ]


def _row(key: str, request: dict[str, object], entry: Entry, paid: bool) -> Row:
    texts = json.dumps(request, ensure_ascii=False), json.dumps(asdict(entry))
    return (key, time.time(), entry.role, *texts, paid)


def _find(db: sqlite3.Connection, key: str) -> tuple[dict[str, object], Entry] | None:
    row = db.execute("SELECT request, entry FROM replies WHERE key = ?", (key,)).fetchone()
    return (json.loads(row[0]), Entry(**json.loads(row[1]))) if row else None


def _read_only(path: Path, *, closed: bool = False) -> sqlite3.Connection:
    """Open a journal for reading. If no process has it open (`closed`), no -wal and -shm files are left."""
    options = "mode=ro&immutable=1" if closed else "mode=ro"
    try:
        db = sqlite3.connect(f"{path.resolve().as_uri()}?{options}", uri=True, check_same_thread=False)
        db.execute("SELECT key FROM replies LIMIT 1")
    except sqlite3.Error as error:
        raise InputError(f"{path} is not the journal of a run: {error}; give the folder of a run") from error
    return db


def _sum(parts: Sequence[Spent]) -> Spent:
    costs = [part["cost"] for part in parts]
    known = [cost for cost in costs if cost is not None]
    return Spent(
        calls=sum(part["calls"] for part in parts),
        prompt_tokens=sum(part["prompt_tokens"] for part in parts),
        completion_tokens=sum(part["completion_tokens"] for part in parts),
        cost=sum(known, 0.0) if len(known) == len(costs) else None,
    )


def _add(spent: Spent, entry: Entry) -> None:
    spent["calls"] += 1
    spent["prompt_tokens"] += entry.prompt_tokens
    spent["completion_tokens"] += entry.completion_tokens
    if spent["cost"] is not None:
        spent["cost"] = None if entry.cost is None else spent["cost"] + entry.cost


def canonical_call(request: Request[Item], spec: ModelSpec, messages: Messages) -> dict[str, object]:
    """Return the parts of a call that its reply depends on; the journal derives the key from them."""
    canonical: dict[str, object] = {
        "model": spec.model,
        "temperature": spec.temperature,
        "max_tokens": spec.max_tokens,
        "logprobs": bool(request.schema.measured) and spec.logprobs,
        "seed": request.seed,
        "form": request.schema.json_schema,
        "messages": messages,
    }
    # The cap is left out, because it follows from the rest.
    return {**canonical, "room": request.room} if request.room > 1 else canonical
