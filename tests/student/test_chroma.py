"""A corpus on a real Chroma server: two runs at once, killed processes, and servers that cannot be used."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from tutelage.student.corpus import Corpus, stored_samples
from tutelage.student.encoder import GivenEncoder
from tutelage.student.errors import InputError

from tests.student.test_corpus_exact import BATCH, NEAR, Planted, batches, brute_force, keep_new

Server = Callable[..., AbstractContextManager[str]]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server(chroma_at: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with chroma_at(tmp_path_factory.mktemp("chroma")) as url:
        yield url


def opened(run: Path, server: str | None) -> Corpus:
    return Corpus(run / "corpus", GivenEncoder(Planted()), threshold=NEAR, server=server)


def documents(corpus: Corpus) -> list[str]:
    """Return the known texts, in any order."""
    found = corpus._collections["known"].get(include=["documents"])["documents"]
    return sorted(found)


def test_decisions_on_a_server_are_those_of_brute_force(server: str, tmp_path: Path) -> None:
    held_out = [f"text number {i}" for i in range(0, 60, 4)]
    found: list[bool] = []
    opened(tmp_path, server).hold_out(held_out)
    for number, texts in enumerate(batches()):
        if number % 3 == 0:  # as after a restart: all vectors are read from the server
            corpus = opened(tmp_path, server)
        found += keep_new(corpus, texts)
    assert found == brute_force(held_out)
    assert 150 < sum(found) < 400
    assert corpus._collections["held_out"].get(include=["documents"])["documents"] == [None] * 15
    assert [path.name for path in (tmp_path / "corpus").iterdir()] == ["server.json"]


PROGRAM = """
import sys
from pathlib import Path
from tests.student.test_corpus_exact import batches, keep_new
from tests.student.test_chroma import opened

corpus, first, last = opened(Path(sys.argv[1]), sys.argv[2]), *map(int, sys.argv[3:])
for number, texts in list(enumerate(batches()))[first:last]:
    print("batch", number, flush=True)
    keep_new(corpus, texts)
print("end", flush=True)
"""


def writer(run: Path, server: str, first: int, last: int) -> "subprocess.Popen[str]":
    """Start a process that keeps the texts of some batches."""
    command = [sys.executable, "-c", PROGRAM, run, server, first, last]
    return subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_of_two_runs_that_write_at_once_one_is_killed_and_no_row_is_lost_doubled_or_mixed(
    server: str, tmp_path: Path
) -> None:
    one, other = tmp_path / "one" / "first", tmp_path / "other" / "first"  # two users, the same name
    kept = [
        text
        for text, near in zip((t for texts in batches() for t in texts), brute_force([]), strict=True)
        if not near
    ]
    whole = len(batches())
    with writer(one, server, 0, whole) as killed, writer(other, server, 0, 5) as going_on:
        assert killed.stdout
        for number in range(4):
            assert killed.stdout.readline() == f"batch {number}\n"
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        resumed = opened(one, None)  # its folder says where it is
        stored = set(documents(resumed))
        assert {text for text in kept if int(text.split()[-1]) < 3 * BATCH} <= stored <= set(kept)
        for texts in batches()[3:]:
            keep_new(resumed, [text for text in texts if text not in stored])
        assert going_on.stdout
        assert going_on.stdout.read().endswith("end\n")
    assert documents(resumed) == sorted(kept)
    assert documents(opened(other, server)) == sorted(t for t in kept if int(t.split()[-1]) < 5 * BATCH)


def test_a_run_forgets_its_own_rounds_only(server: str, tmp_path: Path, draft: Callable[..., Any]) -> None:
    one, other = (opened(tmp_path / name, server) for name in ("one", "other"))
    for corpus in (one, other):
        made = [draft(f"text number {i}", round=i, place=i) for i in (1, 2)]
        corpus.put(made)
        corpus.add_judged(made)
        corpus.update([draft("text number 2", round=2, place=2, status="kept")])
    one.forget(since=2)
    assert [sample["round"] for sample in one.drafts()] == [1]
    assert [near and near.source for near in one.neighbours(["text number 1", "text number 2"])] == [
        "known", None,
    ]  # fmt: skip
    assert [(s["round"], s["status"]) for s in other.drafts()] == [(1, "draft"), (2, "kept")]
    assert stored_samples(tmp_path / "other" / "corpus") == other.drafts()


def test_a_server_that_is_killed_and_started_again_has_every_row(chroma_at: Server, tmp_path: Path) -> None:
    with chroma_at(tmp_path / "data") as url:
        corpus = opened(tmp_path, url)
        before = [keep_new(corpus, texts) for texts in batches()[:3]]
    with pytest.raises(InputError, match=rf"^the Chroma server at {url} failed: .*start it again with the"):
        keep_new(corpus, batches()[3])
    with chroma_at(tmp_path / "data", int(url.rpartition(":")[2])):
        after = [keep_new(corpus, texts) for texts in batches()[3:]]
    assert [near for batch in before + after for near in batch] == brute_force([])


def test_a_server_that_has_lost_the_rows_of_a_run_is_refused(chroma_at: Server, tmp_path: Path) -> None:
    with chroma_at(tmp_path / "data") as url:
        opened(tmp_path / "run", url).add_rows([])
        opened(tmp_path / "run", url).drafts()
    with (
        chroma_at(tmp_path / "empty", int(url.rpartition(":")[2])),
        pytest.raises(InputError, match=r"no longer has the collections run\.\w{16}\.\* of this run; start"),
    ):
        opened(tmp_path / "run", url).drafts()


@contextmanager
def answering(reply: Callable[[BaseHTTPRequestHandler], tuple[int, bytes]]) -> Iterator[str]:
    """Run a server that sends the given replies."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = reply(self)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{http.server_address[1]}"
    finally:
        http.shutdown()
        http.server_close()


def forwarded(server: str, request: BaseHTTPRequestHandler) -> bytes:
    body = request.rfile.read(int(request.headers["Content-Length"] or 0))
    return bytes(urlopen(Request(f"{server}{request.path}", body or None, dict(request.headers))).read())


def test_a_server_of_another_version_or_of_another_kind_is_refused(server: str, tmp_path: Path) -> None:
    def old(request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        return 200, b'"0.6.3"' if request.path.endswith("/version") else forwarded(server, request)

    with answering(old) as url, pytest.raises(InputError, match=r"has version 0\.6\.3, and the installed"):
        opened(tmp_path, url).store.check()
    with answering(lambda _: (404, b'{"detail": "Not Found"}')) as url, pytest.raises(InputError) as refused:
        opened(tmp_path, url).store.check()
    port = url.rpartition(":")[2]
    assert str(refused.value) == (
        f'no Chroma server answers at {url}: {{"detail": "Not Found"}}; start one with'
        f" `chroma run --path FOLDER --port {port}`, or correct `chroma`"
    )
    assert not list(tmp_path.iterdir())


def test_a_token_of_chromas_environment_variables_is_sent(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def guarded(request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        if request.headers["X-Chroma-Token"] != "of-this-test":
            return 401, json.dumps({"error": "AuthError", "message": "no token"}).encode()
        return 200, forwarded(server, request)

    with answering(guarded) as url:
        with pytest.raises(InputError, match=f"no Chroma server answers at {url}: no token; start one"):
            opened(tmp_path, url).store.check()
        monkeypatch.setenv("CHROMA_CLIENT_AUTH_PROVIDER", "chromadb.auth.token_authn.TokenAuthClientProvider")
        monkeypatch.setenv("CHROMA_CLIENT_AUTH_CREDENTIALS", "of-this-test")
        monkeypatch.setenv("CHROMA_AUTH_TOKEN_TRANSPORT_HEADER", "X-Chroma-Token")
        opened(tmp_path, url).store.check()
        opened(tmp_path, url).hold_out(["text number 1"])
