"""Test requests through the Batch API: half the price, submitted once, found again after a crash."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

import pytest
from tutelage.agents.endpoints.endpoint import TeacherDownError
from tutelage.agents.endpoints.limits import Limits
from tutelage.agents.endpoints.submitted import Submitted
from tutelage.agents.rehearsal.faults import Faults
from tutelage.agents.rehearsal.rehearsal import Behaviour, Rehearsal
from tutelage.agents.rehearsal.rehearsal_model import RehearsalModel
from tutelage.agents.rehearsal.server import Offers, serve
from tutelage.agents.request import Request
from tutelage.agents.schemas import labels_schema
from tutelage.agents.teacher.budget import Budget
from tutelage.agents.teacher.teacher import Teacher
from tutelage.student.errors import Interrupted

SCHEMA = labels_schema(("order_status", "return_refund"))
QUICK = Limits(poll=0.02)


def labeling(seed: int) -> Request:
    labels = {"order_status": "", "return_refund": ""}
    texts = [{"id": "1", "text": "Where is my parcel?"}]
    return Request("labeler", {"task": "", "labels": labels, "texts": texts}, SCHEMA, seed, ["1"])


def batches(url: str) -> list[dict[str, Any]]:
    """Return the batches of a server, newest first."""
    with urlopen(f"{url}/batches") as answer:
        return json.load(answer)["data"]


@pytest.fixture(scope="module")
def model(encoder, shop) -> RehearsalModel:
    return RehearsalModel(
        rehearsal=Rehearsal(shop("teacher"), encoder.encode, behaviour=Behaviour(label_noise=0.0))
    )


@pytest.fixture
def batched(teacher_at, tmp_path: Path) -> Callable[..., Teacher]:
    """Return a function that makes a teacher which sends its requests in batches."""

    def make(url: str, **options: Any) -> Teacher:
        record = Submitted(tmp_path / "batches.sqlite")
        return teacher_at(url, batches=record, limits=QUICK, price_prompt=2, price_completion=10, **options)

    return make


def test_concurrent_requests_are_sent_as_one_batch_at_half_the_price(model, batched, teacher_at) -> None:
    events: list[dict[str, Any]] = []
    with serve(model, batch_polls=3) as url:
        teacher = batched(url, on_call=events.append)
        replies = teacher.ask([labeling(seed) for seed in range(20)])
        [batch] = batches(url)
        online = teacher_at(url, journal="online.sqlite", price_prompt=2, price_completion=10)
        assert [reply.items for reply in online.ask([labeling(seed) for seed in range(20)])] == [
            reply.items for reply in replies
        ]
    assert batch["request_counts"]["total"] == 19, "the first request finds out what the endpoint supports"
    assert all(reply.parsed[0].probability for reply in replies)
    costs = [teacher.journal.spent()["cost"], online.journal.spent()["cost"]]
    assert costs[0] == pytest.approx(costs[1] * (1 + 19 / 2) / 20)
    assert teacher.journal.spent()["calls"] == 20
    assert [event["status"] for event in events if "batch" in event][-1] in ("in_progress", "finalizing")


def test_a_stopped_teacher_does_not_wait_for_its_batch_and_a_new_one_finds_it(model, batched) -> None:
    requests = [labeling(seed) for seed in range(6)]
    with serve(model, batch_polls=40) as url:
        teacher = batched(url, on_call=lambda event: "batch" in event and teacher.stop())
        with pytest.raises(Interrupted):
            teacher.ask(requests)
        assert [batch["status"] for batch in batches(url)] == ["in_progress"]
        assert [len(reply.items) for reply in batched(url).ask(requests)] == [1] * 6
        assert len(batches(url)) == 1


def test_failed_or_invalid_batch_replies_are_requested_again_in_another_batch(model, batched) -> None:
    faults = Faults(share=0.5, kinds=("refusal", "500", "429", "missing ids", "truncated json"), seed=6)
    with serve(model, faults=faults) as url:
        replies = batched(url).ask([labeling(seed) for seed in range(30)])
        assert [reply.items[0].label for reply in replies] == ["order_status"] * 30
        assert 2 <= len(batches(url)) <= 12
    assert {"refusal", "500", "429", "truncated json"} <= set(faults.injected)


PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_batch import QUICK, labeling
from tutelage.agents.teacher.journal import Journal
from tutelage.agents.providers.models import ModelSpec, make_model
from tutelage.agents.endpoints.submitted import Submitted
from tutelage.agents.teacher.settings import TeacherSettings
from tutelage.agents.teacher.teacher import Teacher
from tutelage.prompts import ROLES

folder = Path({folder!r})
spec = ModelSpec(model="openai:rehearsal", base_url={url!r})
teacher = Teacher(
    dict.fromkeys(ROLES, spec), make_model, Journal(folder / "journal.sqlite"),
    TeacherSettings(
        batches=Submitted(folder / "batches.sqlite"), limits=QUICK,
        on_call=lambda event: print(event.get("status") or "call", flush=True),
    ),
)
print(sum(len(reply.items) for reply in teacher.ask([labeling(seed) for seed in range(12)])))
"""


@contextmanager
def asking_process(folder: Path, url: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a process that sends twelve requests in a batch."""
    program = PROGRAM.format(tests=str(Path(__file__).parent), folder=str(folder), url=url)
    arguments = [sys.executable, "-c", program]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        yield process


@pytest.mark.parametrize("noted", [True, False], ids=["recorded", "killed before it was recorded"])
def test_a_killed_process_finds_its_batch_again_after_a_restart(
    model: RehearsalModel, tmp_path: Path, noted: bool
) -> None:
    with serve(model, batch_polls=40) as url:
        with asking_process(tmp_path, url) as first:
            assert first.stdout
            for line in first.stdout:
                if "progress" in line:
                    first.send_signal(signal.SIGKILL)
                    break
        assert first.returncode == -signal.SIGKILL
        if not noted:  # as after a crash between the server's answer and the record of it
            (tmp_path / "batches.sqlite").unlink()
        with asking_process(tmp_path, url) as second:
            assert second.stdout
            assert second.stdout.read().split()[-1] == "12"
        [batch] = batches(url)
    assert batch["request_counts"] == {"total": 11, "completed": 11, "failed": 0}


def test_a_cancelled_batch_raises_an_error_and_is_submitted_again_on_the_next_call(model, batched) -> None:
    def cancel(event: dict[str, Any]) -> None:
        if event.get("status") == "in_progress" and not cancelled:
            cancelled.append(str(event["batch"]))
            urlopen(HttpRequest(f"{url}/batches/{event['batch']}/cancel", method="POST")).close()

    cancelled: list[str] = []
    with serve(model, batch_polls=9) as url:
        teacher = batched(url, on_call=cancel)
        with pytest.raises(TeacherDownError, match="was cancelled; its finished replies are kept"):
            teacher.ask([labeling(seed) for seed in range(5)])
        replies = teacher.ask([labeling(seed) for seed in range(5)])
        assert [len(reply.items) for reply in replies] == [1] * 5
        assert {batch["status"] for batch in batches(url)} == {"cancelled", "completed"}
    assert len(cancelled) == 1


def test_a_batch_that_the_provider_no_longer_has_is_submitted_again(model, batched) -> None:
    requests = [labeling(seed) for seed in range(6)]
    for journal in ("one.sqlite", "two.sqlite"):  # both share the record of submitted batches
        with serve(model) as url:
            replies = batched(url, journal=journal).ask(requests)
            assert [len(reply.items) for reply in replies] == [1] * 6
            assert len(batches(url)) == 1


def test_the_minutes_budget_ends_the_wait_for_a_batch(model, batched) -> None:
    with serve(model, batch_polls=10**6) as url:
        teacher = batched(url, budget=Budget(minutes=0.05))
        replies = teacher.ask([labeling(seed) for seed in range(4)])
        assert [len(reply.items) for reply in replies] == [1, 0, 0, 0]
        assert "budget of minutes is spent" in replies[3].problems[-1]
        assert teacher.refusal() == "budget of 0.05 minutes is spent"


def test_the_budget_reserves_half_the_price_for_batch_calls(model, batched) -> None:
    with serve(model) as url:
        whole = batched(url)
        whole.ask([labeling(seed) for seed in range(20)])
        cost = whole.journal.spent()["cost"]
        limited = batched(url, journal="limited.sqlite", budget=Budget(money=1.5 * cost))
        assert sum(len(reply.items) for reply in limited.ask([labeling(seed) for seed in range(20)])) == 20


class ShortReplies(Offers):
    """The features of a server whose model writes at most 600 tokens."""

    def refused(self, body: dict[str, Any]) -> str | None:
        return "max_tokens" if body.get("max_tokens", 0) > 600 else super().refused(body)


def test_a_cap_refused_in_a_batch_is_left_out_of_the_next_batch(model, batched) -> None:
    log: list[dict[str, Any]] = []
    texts = [{"id": str(i), "text": f"Where is parcel {i}?"} for i in range(3)]
    long = Request("labeler", {**labeling(0).payload, "texts": texts}, SCHEMA, 0, [*"012"])
    with serve(model, log=log, offers=ShortReplies()) as url:
        teacher = batched(url)
        assert teacher.ask([labeling(seed) for seed in range(2)])[1].items
        assert len(teacher.ask([long])[0].items) == 3
    assert ["max_tokens" in body for body in log] == [True, True, True, False]
