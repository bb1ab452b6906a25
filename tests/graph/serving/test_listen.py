"""The process: it refuses what cannot work with one line, and ends without losing what it accepted."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tutelage.graph.serving.limits import Limits
from tutelage.graph.serving.listen import TOKEN, listening, serve
from tutelage.graph.serving.metrics import Metrics
from tutelage.graph.serving.served_model import ServedModel
from tutelage.graph.serving.server import Server
from tutelage.student.errors import InputError


def asked(address: str) -> tuple[threading.Thread, list[Any]]:
    """Send a request of fifteen batches, and return when the first is being predicted. The thread ends with
    the reply, which is then in the list.
    """
    body = json.dumps({"texts": [f"{i} where is my parcel? " * 5 for i in range(60)]}).encode()
    replies: list[Any] = []

    def post() -> None:
        with urllib.request.urlopen(f"{address}/predict", body) as response:
            replies.append(json.load(response))

    client = threading.Thread(target=post)
    client.start()
    while True:
        with urllib.request.urlopen(f"{address}/metrics") as response:
            if b"tutelage_batch_texts_count 0.0" not in response.read():
                return client, replies
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_after_the_requests_that_it_accepted(
    number: signal.Signals, shop_folder: Path
) -> None:
    before = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]
    clients = []

    def ask_and_end(line: str) -> None:
        clients.append(asked(line.split()[2]))
        os.kill(os.getpid(), number)

    def announce(line: str) -> None:
        threading.Thread(target=ask_and_end, args=(line,)).start()

    assert serve(shop_folder, Limits(batch=4), port=0, announce=announce) == number
    [(client, replies)] = clients
    client.join(10)
    assert len(replies[0]["predictions"]) == 60
    assert [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)] == before


def test_ctrl_c_ends_the_command_with_code_130_and_without_a_traceback(shop_folder: Path) -> None:
    arguments = [sys.executable, "-m", "tutelage.cli", "serve", shop_folder, "--port", "0", "--batch", "4"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(arguments, **pipes) as process:
        try:
            client, replies = asked(process.stdout.readline().split()[2])
            process.send_signal(signal.SIGINT)
            client.join(20)
            assert len(replies[0]["predictions"]) == 60
            assert process.communicate(timeout=20) == ("", "")
            assert process.returncode == 130
        finally:
            process.kill()


def test_a_port_in_use_is_one_line(shop_model: ServedModel) -> None:
    async def check() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(
                InputError, match=rf"cannot listen on 127\.0\.0\.1:{port}: Address already in"
            ):
                async with listening(Server(shop_model, Limits(), Metrics()), "127.0.0.1", port):
                    pass

    asyncio.run(check())


def test_an_unknown_host_is_one_line(shop_model: ServedModel) -> None:
    async def check() -> None:
        with pytest.raises(InputError, match=r"cannot listen on nowhere\.invalid:0: .+; choose another"):
            async with listening(Server(shop_model, Limits(), Metrics()), "nowhere.invalid", 0):
                pass

    asyncio.run(check())


@pytest.mark.parametrize(
    ("host", "token", "limits", "words"),
    [
        ("0.0.0.0", None, Limits(), f"is reachable from other machines and {TOKEN} is not set"),
        ("", None, Limits(), "is reachable from other machines"),
        ("127.0.0.1", "  ", Limits(), f"{TOKEN} is set but blank"),
        ("127.0.0.1", None, Limits(texts=9, queue=8), "raise --queue or lower --max-texts"),
        ("::1", None, Limits(), "holds no student"),
        ("localhost", None, Limits(), "holds no student"),
        ("0.0.0.0", "s3cret", Limits(), "holds no student"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(
    host: str, token: str | None, limits: Limits, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TOKEN, raising=False)
    if token:
        monkeypatch.setenv(TOKEN, token)
    with pytest.raises(InputError) as refused:
        serve(tmp_path, limits, host=host)
    assert words in str(refused.value)
    assert "s3cret" not in str(refused.value)
