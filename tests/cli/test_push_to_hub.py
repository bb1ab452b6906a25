"""`tutelage export --push-to-hub`, against a local server with the hub's HTTP interface.

Each push is a process of its own, because huggingface_hub reads its settings when it is imported.
"""

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

LARGE = (".safetensors", ".parquet")
PUSH = """
import sys
from pathlib import Path
from tutelage.graph.handover.hub import push_to_hub
from tutelage.student.errors import InputError

try:
    print(push_to_hub(Path("model"), sys.argv[1], public="public" in sys.argv, samples="samples" in sys.argv))
except InputError as error:
    sys.exit(str(error))
"""


class Hub(ThreadingHTTPServer):
    """A hub with one user. `refused` gives statuses by the last part of a path; `files` holds what was
    committed, by path, and `created` the requests for repositories.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.refused: dict[str, int] = {}
        self.created: list[dict[str, Any]] = []
        self.tokens: set[str | None] = set()
        self.large: dict[str, bytes] = {}
        self.files: dict[str, bytes] = {}


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        body, path = self.body(), self.path
        self.server.tokens.add(self.headers["Authorization"])
        status = next((code for part, code in self.server.refused.items() if part in path), 200)
        if status != 200:
            self.answer({"error": "refused for a test"}, status)
        elif path == "/api/repos/create":
            given = json.loads(body)
            self.server.created.append(given)
            owner = given["organization"] or "me"
            self.answer({"url": f"{self.server.url}/{owner}/{given['name']}"})
        elif path == "/api/validate-yaml":
            assert json.loads(body)["content"].startswith("---\n")
            self.answer({"errors": [], "warnings": []})
        elif path.endswith("/preupload/main"):
            paths = [one["path"] for one in json.loads(body)["files"]]
            modes = [(path, "lfs" if path.endswith(LARGE) else "regular") for path in paths]
            files = [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes]
            self.answer({"files": files})
        elif path.endswith(".git/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            for one in objects:
                one["actions"] = {"upload": {"href": f"{self.server.url}/storage/{one['oid']}"}}
            self.answer({"transfer": "basic", "objects": objects})
        else:
            assert path.endswith("/commit/main")
            self.commit([json.loads(line) for line in body.splitlines()])

    def do_PUT(self) -> None:
        body = self.body()
        assert hashlib.sha256(body).hexdigest() == self.path.rpartition("/")[2]
        self.server.large[self.path.rpartition("/")[2]] = body
        self.answer({})

    def commit(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.server.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.server.files[value["path"]] = self.server.large[value["oid"]]
        commit, name = "0" * 40, self.path.removeprefix("/api/models/").removesuffix("/commit/main")
        address = f"{self.server.url}/{name}/commit/{commit}"
        self.answer({"commitUrl": address, "commitOid": commit, "success": True})

    def body(self) -> bytes:
        if self.headers["Transfer-Encoding"] != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"]))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def answer(self, reply: dict[str, Any], status: int = 200) -> None:
        data = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder as `tutelage export` writes it, with small files."""
    made = tmp_path / "model"
    (made / "dataset").mkdir(parents=True)
    (made / "README.md").write_text("---\ntags: [tutelage]\n---\n# A model\n")
    (made / "config.json").write_text("{}")
    (made / "model.safetensors").write_bytes(bytes(range(256)) * 40)
    (made / "task.yaml").write_text("data: {labelled: /home/me/rows.jsonl}\n")
    (made / "dataset" / "samples.parquet").write_bytes(b"private texts")
    return made


def environment(hub_url: str, **more: str) -> dict[str, str]:
    """Return the variables of a process that reaches only the stand-in, whoever is logged in here."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))
    }
    settings = {"HF_ENDPOINT": hub_url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": "/nowhere", "NO_PROXY": "*"}
    return {**kept, **settings, "HF_TOKEN": "hf_secret", **more}


def push(folder: Path, env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PUSH, *arguments]
    return subprocess.run(command, cwd=folder.parent, env=env, capture_output=True, text=True, check=False)


def test_a_repository_is_private_and_without_task_and_samples_unless_asked(hub: Hub, folder: Path) -> None:
    done = push(folder, environment(hub.url), "reviews")
    assert (done.returncode, done.stdout.strip()) == (0, f"{hub.url}/me/reviews"), done.stderr
    assert [(one["name"], one["visibility"]) for one in hub.created] == [("reviews", "private")]
    assert hub.tokens == {"Bearer hf_secret"}
    names = ("README.md", "config.json", "model.safetensors")
    assert hub.files == {name: (folder / name).read_bytes() for name in names}


def test_a_public_repository_with_samples_still_has_no_task(hub: Hub, folder: Path) -> None:
    done = push(folder, environment(hub.url), "team/reviews", "public", "samples")
    assert done.returncode == 0, done.stderr
    [made] = hub.created
    assert (made["organization"], made["name"], made["visibility"]) == ("team", "reviews", "public")
    assert hub.files["dataset/samples.parquet"] == b"private texts"
    assert set(hub.files) == {"README.md", "config.json", "model.safetensors", "dataset/samples.parquet"}


@pytest.mark.parametrize(
    ("part", "status", "words"),
    [
        ("create", 401, "the hub refuses the token (401); set HF_TOKEN, or log in"),
        ("create", 403, "the token may not write there (403)"),
        ("create", 409, "a repository of this name exists (409); choose another name"),
        ("create", 503, "the hub has failed (503); try again later"),
        ("create", 429, "the hub refused it (429)"),
        ("commit", 403, "the token may not write there (403); take one with write access, or another name;"),
    ],
)
def test_a_refusal_of_the_hub_is_one_line(hub: Hub, folder: Path, part: str, status: int, words: str) -> None:
    hub.refused[part] = status
    done = push(folder, environment(hub.url), "reviews")
    [line] = done.stderr.strip().splitlines()[-1:]
    assert line.startswith("'reviews' was not pushed: ")
    assert words in line
    assert "; model was written and stays. To push it later, to a repository that does not exist yet:" in line
    assert line.endswith("hf upload NAME model --private --exclude task.yaml --exclude 'dataset/*'")
    assert ("me/reviews was created and is incomplete" in line) == (part == "commit")
    assert "hf_secret" not in done.stderr
    assert "Traceback" not in done.stderr
    assert hub.files == {}


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        ("a/b/c", {}, "a repository has a name of the form user/name"),
        ("reviews", {"HF_HUB_OFFLINE": "1"}, "the offline mode is on; unset HF_HUB_OFFLINE"),
        ("reviews", {"HF_ENDPOINT": "http://127.0.0.1:9"}, "the connection to the hub failed"),
    ],
)
def test_a_push_that_reaches_no_hub_is_one_line(
    hub: Hub, folder: Path, name: str, more: dict[str, str], words: str
) -> None:
    done = push(folder, environment(hub.url, **more), name)
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert (folder / "model.safetensors").exists()
    assert hub.created == []


def test_options_of_a_push_need_the_push(
    cli: Callable[..., Any], assert_refused: Callable[..., None]
) -> None:
    assert_refused(cli("export", "run", "out", "--public"), "belong to --push-to-hub")
    assert_refused(cli("export", "run", "out", "--with-samples"), "belong to --push-to-hub")
    assert_refused(cli("export", "run", "out", "--as", "csv", "--push-to-hub", "x"), "leave one of them out")


@pytest.mark.slow
def test_the_command_pushes_what_it_wrote_and_nothing_without_the_flag(
    hub: Hub, cli: Callable[..., Any], write_task: Callable[..., Path], tmp_path: Path
) -> None:
    assert cli("run", write_task(tmp_path), "--out", "run").returncode == 0
    env = environment(hub.url)

    def export(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tutelage.cli", "export", "run", *arguments, "--no-onnx"]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    assert export("kept").returncode == 0
    assert (hub.created, hub.files) == ([], {})
    done = export("model", "--push-to-hub", "me/shop")
    assert done.returncode == 0, done.stderr
    assert f"pushed to {hub.url}/me/shop (private), without task.yaml and the samples" in done.stdout
    exported = {path.relative_to(tmp_path / "model").as_posix() for path in (tmp_path / "model").rglob("*.*")}
    assert set(hub.files) == {name for name in exported if name != "task.yaml" and "dataset/" not in name}
    assert {"model.safetensors", "README.md", "modeling_head.py"} <= set(hub.files)
    for place in (str(tmp_path), "site-packages"):
        assert not [name for name, content in hub.files.items() if place.encode() in content]
    hub.refused["create"] = 409
    again = export("again", "--push-to-hub", "me/shop")
    assert again.returncode == 2
    assert again.stderr.splitlines()[-1].startswith("error: 'me/shop' was not pushed: a repository of this")
    assert (tmp_path / "again" / "model.safetensors").exists()
