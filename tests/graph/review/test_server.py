"""The page's server: who may reach it, what it refuses, and that a decision is on disk before its answer."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tutelage.graph.review.decisions import Queue, Review
from tutelage.graph.review.open_review import OpenReview
from tutelage.graph.review.page.open import ReviewPage, review_page
from tutelage.graph.review.page.server import BODY
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.reviewing import review_by_page
from tutelage.student.errors import InputError

Waiting = Callable[..., OpenReview]


@contextmanager
def waited_for(review: OpenReview) -> Iterator[tuple[ReviewPage, threading.Thread]]:
    """Open the page of a review, with a thread that waits until it is finished."""
    with review_page(review) as page:
        waiter = threading.Thread(target=page.wait)
        waiter.start()
        try:
            yield page, waiter
        finally:
            post(page.url, "finish")
            waiter.join(10)


def get(url: str, **headers: str) -> tuple[int, str, Any]:
    """Return the status, the body and the headers of an answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as response:
            return response.status, response.read().decode(), response.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers


def post(url: str, path: str, body: Any = None, *, kind: str = "application/json") -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
    request = urllib.request.Request(url + path, data, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_decision_is_on_disk_when_the_server_answers(waiting: Waiting) -> None:
    review = waiting(count=3)
    one, other, last = review.waiting
    with waited_for(review) as (page, waiter):
        status, state = post(page.url, "decide", {"id": one["id"], "action": "accept"})
        assert (status, state["decided"], state["item"]["id"]) == (200, 1, other["id"])
        written = Review(RunFolder(review.folder.path)).decisions()
        assert written[one["id"]]["label"] == one["label"]
        wrong = next(name for name in review.task.labels if name != other["label"])
        post(page.url, "decide", {"id": other["id"], "action": "relabel", "label": wrong})
        assert post(page.url, "undo")[1]["item"]["id"] == other["id"]
        post(page.url, "decide", {"id": other["id"], "action": "refuse"})
        _, state = post(page.url, "decide", {"id": last["id"], "action": "skip"})
        assert state["done"] == {"accept": 1, "refuse": 1, "skip": 1}
        assert state["phase"] == "decided"
        assert waiter.is_alive()
        assert post(page.url, "undo")[1]["item"]["id"] == last["id"]
        post(page.url, "decide", {"id": last["id"], "action": "skip"})
        assert post(page.url, "finish")[1]["phase"] == "finished"
        waiter.join(10)
        assert not waiter.is_alive()
    assert [made["action"] for made in review.decisions.values()] == ["accept", "refuse", "skip"]


def test_requests_without_the_token_are_refused(waiting: Waiting) -> None:
    with waited_for(waiting()) as (page, _):
        parts = urlsplit(page.url)
        host = f"http://{parts.netloc}/"
        for path in ("", "state", "wrong/state", "page.js", f"{parts.path[1:-2]}/state", "%00/state"):
            status, body, headers = get(host + path)
            assert status == 403, path
            assert "token" in json.loads(body)["error"]
            assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert post(host, "decide", {"id": "x", "action": "skip"})[0] == 403
        assert len(parts.path) > 30
        assert parts.hostname == "127.0.0.1"


def test_requests_under_another_host_name_are_refused(waiting: Waiting) -> None:
    with waited_for(waiting()) as (page, _):
        port = urlsplit(page.url).port
        for name in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1.evil.example:{port}"):
            assert get(page.url + "state", Host=name)[0] == 403, name
        assert get(page.url + "state", Host=f"localhost:{port}")[0] == 200


def test_the_page_loads_nothing_from_elsewhere(waiting: Waiting) -> None:
    with waited_for(waiting()) as (page, _):
        scripts = dict.fromkeys(("view.js", "editors.js", "page.js"), "text/javascript")
        for name, kind in {"": "text/html", "page.css": "text/css", **scripts}.items():
            status, body, headers = get(page.url + name)
            assert status == 200
            assert headers.get_content_type() == kind
            assert "://" not in body
            assert not any(word in body for word in ("innerHTML", "outerHTML", "AdjacentHTML", "eval("))
            assert "script-src 'self'" in headers["Content-Security-Policy"]
            assert headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "is not JSON"),
        (b"[" * 100_000, 400, "is not JSON"),
        (b"[]", 400, "is a JSON list, expected an object"),
        ({"id": "nobody", "action": "skip"}, 400, "no text with the id 'nobody'"),
        ({"id": ["x"], "action": "skip"}, 400, "names the `id` of its text"),
        ({"id": "ID", "action": "praise"}, 400, "the action is accept, relabel, refuse or skip"),
        ({"id": "ID", "action": ["skip"]}, 400, "the action is accept, relabel, refuse or skip"),
        ({"id": "ID", "action": "refuse"}, 400, "a row of your own data"),
        ({"id": "ID", "action": "relabel"}, 400, "needs the right label"),
        ({"id": "ID", "action": "relabel", "label": "nowhere"}, 400, "is not one of the task's"),
        ({"id": "ID", "action": "relabel", "label": {"a": 1}}, 400, "expected the name of a label"),
        (b" " * (BODY + 1), 413, "has more than 1,000,000 bytes"),
    ],
)  # fmt: skip
def test_what_is_not_a_decision_is_refused_and_changes_nothing(
    body: Any, status: int, words: str, waiting: Waiting
) -> None:
    review = waiting()
    if isinstance(body, dict) and body["id"] == "ID":
        body = {**body, "id": review.waiting[0]["id"]}
    with waited_for(review) as (page, _):
        found, reply = post(page.url, "decide", body)
        assert (found, words in reply["error"]) == (status, True), reply
        assert not review.folder.review_decisions.exists()


def test_a_form_of_another_page_cannot_post(waiting: Waiting) -> None:
    review = waiting()
    body = json.dumps({"id": review.waiting[0]["id"], "action": "skip"}).encode()
    with waited_for(review) as (page, _):
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            assert post(page.url, "decide", body, kind=kind)[0] == 415
        assert get(page.url + "decide")[0] == 405
        assert review.decisions == {}


def test_two_windows_do_not_decide_a_text_twice(waiting: Waiting) -> None:
    review = waiting(count=12)
    replies = []
    with waited_for(review) as (page, _):

        def click(action: str) -> None:
            for item in list(review.queue["items"])[1:11]:
                replies.append(post(page.url, "decide", {"id": item["id"], "action": action}))

        windows = [threading.Thread(target=click, args=(action,)) for action in ("refuse", "skip")]
        for window in windows:
            window.start()
        for window in windows:
            window.join()
        assert sorted(status for status, _ in replies) == [200] * 10 + [409] * 10
        assert all(reply["state"]["item"] for status, reply in replies if status == 409)
        assert len(review.folder.review_decisions.read_text().splitlines()) == 10


def test_a_finished_review_takes_no_decision_until_the_next_texts_come(waiting: Waiting) -> None:
    review = waiting(count=3)
    queue = review.queue
    with review_page(review, "The student is being trained.") as page:
        waiter = threading.Thread(target=page.wait)
        waiter.start()
        first = queue["items"][0]["id"]
        while json.loads(get(page.url + "state")[1])["phase"] != "reviewing":
            pass
        _, state = post(page.url, "finish")
        assert (state["phase"], state["next_step"]) == ("finished", "The student is being trained.")
        assert (state["decided"], state["done"]) == (0, {}), "nobody decided anything"
        waiter.join(10)
        assert [made["action"] for made in review.decisions.values()] == ["unseen"] * 3
        assert post(page.url, "decide", {"id": first, "action": "skip"})[0] == 409
        assert post(page.url, "undo")[0] == 409
        later = [{**item, "id": f"later {item['id']}"} for item in queue["items"]]
        Review(review.folder).put(Queue(round=2, attempt=0, items=later))
        assert post(page.url, "finish")[1]["phase"] == "finished"
        assert len(review.waiting) == 3, "a window that was left open does not finish the next texts"
        waiter = threading.Thread(target=page.wait)
        waiter.start()
        while (state := json.loads(get(page.url + "state")[1]))["phase"] != "reviewing":
            pass
        assert (state["round"], state["item"]["id"]) == (2, f"later {first}")
        post(page.url, "finish")
        waiter.join(10)


def test_a_killed_process_keeps_what_was_decided(waiting: Waiting) -> None:
    review = waiting(count=6)
    code = f"""
from pathlib import Path
from tutelage.graph.review.open_review import OpenReview
from tutelage.graph.review.page.open import review_page
with review_page(OpenReview(Path({str(review.folder.path)!r}))) as page:
    print(page.url, flush=True)
    page.wait()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        url = process.stdout.readline().strip()
        try:
            while json.loads(get(url + "state")[1])["phase"] != "reviewing":
                pass
            ids = [item["id"] for item in review.waiting]
            for id in ids[:3]:
                assert post(url, "decide", {"id": id, "action": "skip"})[0] == 200
        finally:
            os.kill(process.pid, signal.SIGKILL)
    with pytest.raises((urllib.error.URLError, http.client.HTTPException, ConnectionError)):
        urllib.request.urlopen(url + "state")
    assert list(review.decisions) == ids[:3]
    with waited_for(review) as (page, _):
        state = json.loads(get(page.url + "state")[1])
        assert (state["decided"], state["item"]["id"]) == (3, ids[3])


def test_a_full_disk_is_said_and_cuts_no_earlier_decision(waiting: Waiting) -> None:
    """A limit on the size of files, which the kernel enforces, stops a write in the middle of its line."""
    review = waiting(count=3)
    review.decide(review.waiting[0]["id"], "accept")
    size = review.folder.review_decisions.stat().st_size
    code = f"""
import resource
from pathlib import Path
from tutelage.graph.review.open_review import OpenReview
from tutelage.graph.review.page.open import review_page
with review_page(OpenReview(Path({str(review.folder.path)!r}))) as page:
    resource.setrlimit(resource.RLIMIT_FSIZE, ({size + 20}, {size + 20}))
    print(page.url, flush=True)
    page.wait()
"""
    ids = [item["id"] for item in review.waiting]
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        url = process.stdout.readline().strip()
        while json.loads(get(url + "state")[1])["phase"] != "reviewing":
            pass
        status, reply = post(url, "decide", {"id": ids[0], "action": "skip"})
        assert (status, reply["error"]) == (507, "the decision was not kept: [Errno 27] File too large")
        assert json.loads(get(url + "state")[1])["decided"] == 1
        assert post(url, "finish")[0] == 507, "the texts left could not be kept as unseen"
        process.kill()
    assert review.folder.review_decisions.stat().st_size == size + 20, "a part of the line was written"
    assert len(review.decisions) == 1
    review.decide(ids[1], "skip")
    assert list(review.decisions)[1:] == ids[1:]


def test_a_review_without_going_on_is_finished_and_says_how_to_go_on(waiting: Waiting) -> None:
    review, said = waiting(count=3), list[str]()
    path = review.folder.path
    ended = threading.Thread(target=lambda: review_by_page(path, None, said.append))
    ended.start()
    while not said:
        pass
    url = said[0].split(" at ")[1].split()[0]
    while json.loads(get(url + "state")[1])["phase"] != "reviewing":
        pass
    post(url, "decide", {"id": review.waiting[0]["id"], "action": "accept"})
    _, state = post(url, "finish")
    ended.join(10)
    assert state["next_step"] == f"Your decisions are kept. To go on with the run: tutelage review {path}"
    assert state["closing"] == f"To go on with the run: tutelage review {path}"
    assert said[1:] == [f"1 decision is kept, 2 texts left without one; to go on: tutelage review {path}"]
    assert review.waiting == [], "the next review asks nothing again"


def test_ctrl_c_passes_through(waiting: Waiting) -> None:
    code = f"""
from pathlib import Path
from tutelage.graph.runs.reviewing import review_by_page
from tutelage.student.errors import Interrupted
try:
    review_by_page(Path({str(waiting().folder.path)!r}), None, lambda line: print(line, flush=True))
except Interrupted as stopped:
    print(stopped)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert "http://127.0.0.1:" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
        assert output.startswith("stopped; the decisions are kept, to go on: `tutelage review ")


def test_a_run_without_texts_to_review_is_refused(waiting: Waiting, tmp_path: Path) -> None:
    review = waiting()
    review.folder.review_queue.unlink()
    with (
        pytest.raises(InputError, match=r"has no texts to review yet; continue it with `tutelage"),
        review_page(review),
    ):
        pass
    code = f"""
from pathlib import Path
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.run_folder.lock import locked
with locked(RunFolder(Path({str(review.folder.path)!r}))):
    print("locked", flush=True)
    input()
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(InputError, match="yet; the run is at work, and waits"), review_page(review):
            pass
        process.communicate("\n", timeout=30)
    with pytest.raises(InputError, match="yet; continue it with"), review_page(review):
        pass
