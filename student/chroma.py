"""Where the Chroma collections of a run lie: in a folder, or on a Chroma server that runs share."""

import json
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

from tutelage.student.errors import InputError

NAMES = ("drafts", "known", "held_out")  # the collections of a run
_ROWS = 1_000  # rows of one request to a server, some megabytes
_DATABASE = "chroma.sqlite3"


class Place(NamedTuple):
    """Where the collections of a run lie on a server: its address, and the beginning of their names."""

    server: str
    prefix: str


class Store:
    """The collections of one run, in `folder` or on a server.

    On a server, the names of a run's collections begin with a prefix that is drawn at random. The prefix is
    kept in `server.json` in the folder, so that a run finds its own collections again, and no others.

    Args:
        folder: the folder `corpus/` of the run.
        server: the address of a Chroma server, or None. A folder that names a server keeps that one.
    """

    def __init__(self, folder: Path, server: str | None = None):
        self.folder, self._server = folder, server
        self._file = folder / "server.json"

    @property
    def place(self) -> Place | None:
        """The place of the collections on a server; None if there is none, or they are not created yet."""
        if not self._file.exists():
            return None
        return Place(**json.loads(self._file.read_text(encoding="utf-8")))

    @cached_property
    def client(self) -> Any:
        """The Chroma client.

        Raises:
            InputError: the server cannot be used.
        """
        server = self.place.server if self.place else self._server
        return connect(server) if server else _client_in(self.folder)

    def check(self) -> None:
        """Connect to the server, if there is one.

        Raises:
            InputError: the server cannot be used.
        """
        if self.place or self._server:
            self.client  # noqa: B018

    def collections(self, encoder: str) -> dict[str, Any]:
        """Return the collections by name; create them if the run has none yet.

        Args:
            encoder: the fingerprint of the encoder whose vectors are stored.

        Raises:
            InputError: the server cannot be used or has lost the collections, or they were written with
                another encoder.
        """
        if self.place:
            found = self._found(NAMES)
        elif self._server:
            found = self._created_on_server(self._server, encoder)
        else:
            found = {name: self._created(name, encoder) for name in NAMES}
        for collection in found.values():  # Chroma keeps an old collection's metadata
            if (got := collection.metadata["encoder"]) != encoder:
                raise InputError(
                    f"{self.folder} was written with encoder {got}, this run uses {encoder};"
                    " use the same `encoder`, or a new run folder"
                )
        return found

    @contextmanager
    def reading(self, name: str) -> Iterator[Any | None]:
        """Yield a collection of a run that another process may be writing; None if there is none yet.

        Chroma allows one process at a time to use a folder. So a copy of its database, which SQLite makes
        consistent, is read.
        """
        database = self.folder / _DATABASE
        if self.place:
            with closing(self):
                yield self._found((name,))[name]
        elif not database.exists():
            yield None
        else:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as copy:
                source = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)
                with closing(source), closing(sqlite3.connect(Path(copy) / _DATABASE)) as target:
                    source.backup(target)
                client = _client_in(Path(copy))
                known = name in {collection.name for collection in client.list_collections()}
                yield client.get_collection(name, embedding_function=None) if known else None

    def parts(self, rows: Sequence[Any]) -> Iterator[Any]:
        """Divide rows into parts that Chroma accepts in one call."""
        step = _ROWS if self.place else self.client.get_max_batch_size()
        return (rows[start : start + step] for start in range(0, len(rows), step))

    def close(self) -> None:
        """Close the connection to a server. A folder stays open in this process."""
        if "client" in self.__dict__ and (self.place or self._server):
            self.client.close()
            del self.client

    def _created(self, name: str, encoder: str) -> Any:
        return self.client.get_or_create_collection(
            name,
            embedding_function=None,
            metadata={"encoder": encoder},
            # Chroma's graph is never searched, so the smallest one is built, in a quarter of the time.
            # `ip` leaves vectors as they are; `cosine` would normalise them again.
            configuration={"hnsw": {"space": "ip", "ef_construction": 1, "max_neighbors": 2}},
        )

    def _created_on_server(self, server: str, encoder: str) -> dict[str, Any]:
        run = re.sub(r"[^A-Za-z0-9_-]+", "-", self.folder.absolute().parent.name).strip("-_")[:40] or "run"
        place = Place(server, f"{run}.{uuid4().hex[:16]}")
        with _answering(server, self.folder.parent):
            made = {name: self._created(f"{place.prefix}.{name}", encoder) for name in NAMES}
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self._file.with_name(f"{self._file.name}.part")
        part.write_text(json.dumps(place._asdict()), encoding="utf-8")
        part.replace(self._file)  # a run that is killed before this creates others; these stay empty
        return {name: _OnServer(one, server, self.folder.parent) for name, one in made.items()}

    def _found(self, names: Sequence[str]) -> dict[str, Any]:
        """Return collections on a server. They are never created anew: texts would be paid for again."""
        from chromadb.errors import NotFoundError

        assert self.place
        server, prefix = self.place
        get, found = self.client.get_collection, dict[str, Any]()
        with _answering(server, self.folder.parent), suppress(NotFoundError):
            found |= {name: get(f"{prefix}.{name}", embedding_function=None) for name in names}
        if not found:
            raise InputError(
                f"the Chroma server at {server} no longer has the collections {prefix}.* of this run; start"
                f" it with the data that it had, or begin again elsewhere with `--reuse {self.folder.parent}`"
            )
        return {name: _OnServer(one, server, self.folder.parent) for name, one in found.items()}


def connect(server: str) -> Any:
    """Return a client of a Chroma server.

    A token, a tenant and a database are taken from the environment variables that Chroma names
    (CHROMA_CLIENT_AUTH_PROVIDER, CHROMA_CLIENT_AUTH_CREDENTIALS, CHROMA_TENANT, CHROMA_DATABASE).

    Raises:
        InputError: no server answers, it refuses the token, or it has another version.
    """
    import chromadb

    parts = urlsplit(server)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    remedy = f"start one with `chroma run --path FOLDER --port {port}`, or correct `chroma`"
    settings = chromadb.Settings(anonymized_telemetry=False, chroma_server_host=server)
    try:
        client = chromadb.HttpClient(
            server,
            settings=settings,
            tenant=os.environ.get("CHROMA_TENANT", chromadb.DEFAULT_TENANT),
            database=os.environ.get("CHROMA_DATABASE", chromadb.DEFAULT_DATABASE),
        )
        version = client.get_version()
    except Exception as error:  # chromadb raises ValueError and bare Exception, too
        raise InputError(f"no Chroma server answers at {server}: {_words(error)}; {remedy}") from error
    if version.split(".")[0] != chromadb.__version__.split(".")[0]:
        client.close()
        raise InputError(
            f"the Chroma server at {server} has version {version}, and the installed client"
            f" {chromadb.__version__} needs the same first number; {remedy}"
        )
    return client


class _OnServer:
    """A collection of a run on a server. A server that fails is reported in one line."""

    def __init__(self, collection: Any, server: str, run: Path):
        self._collection, self._server, self._run = collection, server, run
        self.metadata: dict[str, Any] = collection.metadata

    def get(self, **wanted: Any) -> Any:
        with _answering(self._server, self._run):
            return self._collection.get(**wanted)

    def upsert(self, **rows: Any) -> None:
        with _answering(self._server, self._run):
            self._collection.upsert(**rows)

    def update(self, **rows: Any) -> None:
        with _answering(self._server, self._run):
            self._collection.update(**rows)

    def delete(self, **wanted: Any) -> None:
        with _answering(self._server, self._run):
            self._collection.delete(**wanted)


def _client_in(folder: Path) -> Any:
    import chromadb

    settings = chromadb.Settings(anonymized_telemetry=False)
    return chromadb.PersistentClient(str(folder), settings=settings)


@contextmanager
def _answering(server: str, run: Path) -> Iterator[None]:
    """Report a failed request of a run to a server in one line."""
    try:
        yield
    except Exception as error:  # httpx and chromadb raise their own types, and a bare Exception
        raise InputError(
            f"the Chroma server at {server} failed: {_words(error)}; start it again with the data that it"
            f" had, then `tutelage resume {run}`: the finished work is kept"
        ) from error


def _words(error: Exception) -> str:
    said = " ".join(str(error).split())[:200].removesuffix(" Are you sure it is running?")
    return said.rstrip(".") or type(error).__name__
