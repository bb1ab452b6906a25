"""Fixtures shared by the tests: an offline environment, the real encoder, and small real servers."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # busy waiting would slow the other tests down
os.environ.setdefault("OMP_NUM_THREADS", "1")  # one test per core
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.pop("LANGSMITH_TRACING", None)

import pytest
import tutelage
import yaml
from tutelage.agents.brief import Brief
from tutelage.agents.providers.models import ModelSpec, make_model
from tutelage.agents.rehearsal.rehearsal import Behaviour, Rehearsal
from tutelage.agents.rehearsal.rehearsal_model import RehearsalModel
from tutelage.agents.rehearsal.server import serve
from tutelage.agents.teacher.journal import Journal
from tutelage.agents.teacher.settings import TeacherSettings
from tutelage.agents.teacher.teacher import Teacher
from tutelage.prompts import ROLES
from tutelage.student.corpus import Sample
from tutelage.student.data.readers import read_rows
from tutelage.student.data.rows import Row, content_id
from tutelage.student.encoder import Encoder

SAMPLE = Path(tutelage.__file__).parent / "graph" / "sample"
WORDS = "refund money back want my order where is parcel late a the broken lost it now please"


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Store the detected capabilities of endpoints in a temporary folder, not in the user's cache."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip whole runs after the time that .ci/run sets, in seconds since 1970."""
    if item.get_closest_marker("slow") and time.time() > float(
        os.environ.get("TUTELAGE_NO_SLOW_TEST_AFTER", "inf")
    ):
        pytest.skip("the time for whole runs is over: make test-slow runs all of them")


# The code of a process that loads the libraries once and forks a child for every command. Loading takes five
# seconds, and most commands less than one.
COMMANDS = """
import json, os, sys, traceback
import tutelage.cli, chromadb, torch, transformers, sentence_transformers, langgraph.checkpoint.sqlite
import langchain_openai, matplotlib.figure, transformers.models.bert.modeling_bert

for line in sys.stdin:
    wanted = json.loads(line)
    child = os.fork()
    if not child:
        os.chdir(wanted["cwd"])
        os.environ.clear()
        os.environ.update(wanted["env"])
        for number, (path, flags) in enumerate(zip(wanted["files"], (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY))):
            os.dup2(os.open(path, flags), number)
        sys.stdin = open(0, encoding="utf-8")
        sys.argv = ["tutelage", *wanted["arguments"]]
        code = 1
        try:
            tutelage.cli.main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """Return a function that runs the command line in a separate process, with `input` as standard input."""
    arguments = [sys.executable, "-c", COMMANDS]
    files = [tmp_path_factory.mktemp("command") / name for name in ("stdin", "stdout", "stderr")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdin
        assert parent.stdout
        requests, codes = parent.stdin, parent.stdout

        def run(
            *arguments: object, cwd: Path | None = None, input: str = "", env: dict[str, str] | None = None
        ) -> "subprocess.CompletedProcess[str]":
            for path, content in zip(files, (input, "", ""), strict=True):
                path.write_bytes(content.encode("utf-8"))
            wanted = {
                "arguments": [str(one) for one in arguments],
                "cwd": str(cwd or Path.cwd()),
                "env": dict(os.environ if env is None else env),
                "files": [str(path) for path in files],
            }
            requests.write(json.dumps(wanted) + "\n")
            requests.flush()
            code = int(codes.readline())
            stdout, stderr = (path.read_text(encoding="utf-8") for path in files[1:])
            return subprocess.CompletedProcess(wanted["arguments"], code, stdout, stderr)

        yield run
        requests.close()


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    """Return the MiniLM encoder that is installed as a package."""
    return Encoder("minilm")


@pytest.fixture(scope="session")
def brief() -> Brief:
    """Return the description of the bundled task that agents get."""
    task = yaml.safe_load((SAMPLE / "task.yaml").read_text(encoding="utf-8"))
    return {"task": task["instruction"], "labels": task["labels"]}


@pytest.fixture(scope="session")
def shop(brief: Brief) -> Callable[[str], list[Row]]:
    """Return a function that reads the rows of a file of the bundled task, named without its suffix."""
    return lambda name: read_rows(SAMPLE / f"{name}.jsonl", list(brief["labels"]))


@pytest.fixture(scope="session")
def easy() -> list[Row]:
    """Return twenty-four rows of two labels whose texts share few words."""
    refund = [f"i want my money back {word}" for word in WORDS.split()[:12]]
    status = [f"where is the late parcel {word}" for word in WORDS.split()[:12]]
    pairs = [(text, "refund") for text in refund] + [(text, "status") for text in status]
    return [Row(id=content_id(text), text=text, label=label) for text, label in pairs]


@pytest.fixture(scope="session")
def tiny_bert() -> Callable[..., str]:
    """Return a function that saves a random 2-layer BERT to a folder, and returns the folder's name; with
    `pooling` the folder is one for sentence-transformers.
    """

    def make(folder: Path, *, pooling: str | None = None, positions: int = 160) -> str:
        import torch
        from transformers import BertConfig, BertModel, BertTokenizerFast

        folder.mkdir(parents=True)
        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS.split()]
        (folder / "vocab.txt").write_text("\n".join(vocabulary))
        BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
        torch.manual_seed(0)
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
        config = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=positions, **sizes)
        BertModel(config).save_pretrained(folder)
        if pooling:
            kinds = {"": "sentence_transformers.models.Transformer"}
            kinds["1_Pooling"] = "sentence_transformers.models.Pooling"
            modules = [
                {"idx": i, "name": str(i), "path": path, "type": kind}
                for i, (path, kind) in enumerate(kinds.items())
            ]
            (folder / "modules.json").write_text(json.dumps(modules))
            modes = {f"pooling_mode_{mode}": mode == pooling for mode in ("cls_token", "mean_tokens")}
            (folder / "1_Pooling").mkdir()
            chosen = {"word_embedding_dimension": 32, **modes}
            (folder / "1_Pooling" / "config.json").write_text(json.dumps(chosen))
        return str(folder)

    return make


@pytest.fixture(scope="session")
def draft() -> Callable[..., Sample]:
    """Return a function that makes a sample of a text; keyword arguments replace other fields."""

    def make(text: str, **fields: Any) -> Sample:
        made = Sample(
            id=content_id(text),
            text=text,
            round=1,
            attempt=0,
            place=0,
            kind="any",
            requested="return_refund",
            weakness="",
            written_by="0123456789ab",
            status="draft",
        )
        return Sample({**made, **fields})

    return make


@pytest.fixture(scope="session")
def chroma_at() -> Callable[..., AbstractContextManager[str]]:
    """Return a function that runs a real Chroma server on a folder, and yields its address. The server is
    killed at the end; started again with the same folder and `port`, it has its data.
    """
    return _chroma_server


@contextmanager
def _chroma_server(folder: Path, port: int = 0) -> Iterator[str]:
    if not port:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    program = Path(sys.executable).with_name("chroma")
    arguments = [program, "run", "--path", folder, "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "ANONYMIZED_TELEMETRY": "False"}
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL) as server:
        try:
            end = time.monotonic() + 60
            while not _listening(port):
                assert server.poll() is None, "the Chroma server ended"
                assert time.monotonic() < end, "the Chroma server does not start"
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()


def _listening(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def teacher_at(tmp_path: Path) -> Iterator[Callable[..., Teacher]]:
    """Return a function that makes a teacher, which calls a server through the real OpenAI client. Teachers
    are closed after the test.
    """
    with ExitStack() as stack:

        def make(
            url: str, *, make: Any = make_model, journal: str = "journal.sqlite", **options: Any
        ) -> Teacher:
            fields = {name: options.pop(name) for name in list(options) if name in ModelSpec.__annotations__}
            spec = ModelSpec(**{"model": "openai:rehearsal", "base_url": url or None, **fields})
            teacher = Teacher(
                dict.fromkeys(ROLES, spec), make, Journal(tmp_path / journal), TeacherSettings(**options)
            )
            stack.callback(teacher.close)
            return teacher

        yield make


@pytest.fixture
def rehearsal(
    encoder: Encoder, shop: Callable[[str], list[Row]]
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Return the URL of a server with an error-free rehearsal teacher, and the list of requests so far."""
    log: list[dict[str, Any]] = []
    model = RehearsalModel(
        rehearsal=Rehearsal(shop("teacher"), encoder.encode, behaviour=Behaviour(label_noise=0.0))
    )
    with serve(model, log=log) as url:
        yield url, log


@pytest.fixture
def scripted() -> Iterator[Callable[..., tuple[str, list[dict[str, Any]]]]]:
    """Return a function that starts a server with the given replies, which are sent in turn, then status 400.
    It returns the server's URL and the list of requests.

    A reply is the text of the model, or the status and body of an error. Each request has its API key under
    `key`.
    """
    with ExitStack() as stack:
        yield lambda *replies: stack.enter_context(_scripted(list(replies)))


@contextmanager
def _scripted(replies: list[str | tuple[int, dict[str, Any]]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    log: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            log.append({**body, "key": self.headers["Authorization"].removeprefix("Bearer ")})
            if not replies:
                self._send({"error": {"message": "no reply is left", "type": "invalid_request_error"}}, 400)
                return
            reply = replies.pop(0)
            if isinstance(reply, tuple):
                self._send(reply[1], reply[0])
                return
            message = {"role": "assistant", "content": reply}
            usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            head = {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"]}
            self._send({**head, "choices": [choice], "usage": usage})

        def _send(self, reply: dict[str, Any], status: int = 200) -> None:
            data = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", log
    finally:
        server.shutdown()
        server.server_close()
