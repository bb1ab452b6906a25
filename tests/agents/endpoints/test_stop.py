"""A stop: no request is sent after it, no wait outlasts it, and replies to calls in flight are kept."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tutelage.agents.endpoints.limits import Limits, Throttle
from tutelage.agents.endpoints.stop import Stop
from tutelage.agents.endpoints.submitted import Submitted
from tutelage.agents.rehearsal.faults import ALL_KINDS, FaultKind, Faults
from tutelage.agents.rehearsal.rehearsal import Behaviour, Rehearsal
from tutelage.agents.rehearsal.rehearsal_model import RehearsalModel
from tutelage.agents.rehearsal.server import Offers, serve
from tutelage.agents.request import Request
from tutelage.agents.schemas import labels_schema
from tutelage.student.errors import Interrupted

SCHEMA = labels_schema(("order_status", "return_refund"))


def labeling(seed: int) -> Request:
    labels = {"order_status": "", "return_refund": ""}
    texts = [{"id": "1", "text": "Where is my parcel?"}]
    return Request("labeler", {"task": "", "labels": labels, "texts": texts}, SCHEMA, seed, ["1"])


@dataclass
class Answering(Faults):
    """Faults that depend on the request's seed, and an action that is taken while the server answers."""

    kind_of: Callable[[int], FaultKind | None] = lambda seed: None
    action: Callable[[int], None] = lambda seed: None

    def inject(
        self, body: dict[str, Any], choice: dict[str, Any], among: Sequence[FaultKind] = ALL_KINDS
    ) -> FaultKind | None:
        self.action(body["seed"])
        return self.kind_of(body["seed"])


@pytest.fixture(scope="module")
def model(encoder, shop) -> RehearsalModel:
    return RehearsalModel(
        rehearsal=Rehearsal(shop("teacher"), encoder.encode, behaviour=Behaviour(label_noise=0.0))
    )


def test_a_call_that_is_refused_as_too_many_is_not_sent_again_after_a_stop(model, teacher_at) -> None:
    log: list[dict[str, Any]] = []
    faults = Answering(kind_of=lambda seed: "429", action=lambda seed: teacher.stop())
    with serve(model, log=log, faults=faults) as url:
        teacher = teacher_at(url, limits=Limits(patience=1))
        with pytest.raises(Interrupted):
            teacher.ask([labeling(seed) for seed in (1, 2, 3)])
    assert len(log) == 1, "neither a retry nor the calls that waited for the first one"


@pytest.mark.parametrize("kind", ["429", "429 retry-after"])
def test_a_call_in_flight_is_kept_and_one_that_waits_for_its_retry_ends(
    model, teacher_at, kind: FaultKind
) -> None:
    log: list[dict[str, Any]] = []
    faults = Answering(
        retry_after=3,
        kind_of=lambda seed: kind if seed == 1 else None,
        action=lambda seed: teacher.stop() if seed == 2 else None,  # sent when the first had its refusal
    )
    with serve(model, log=log, faults=faults) as url:
        teacher = teacher_at(url, limits=Limits(concurrency=3))
        with pytest.raises(Interrupted):
            teacher.ask([labeling(seed) for seed in (1, 2)])
        assert [body["seed"] for body in log] == [1, 2]
        assert teacher.journal.spent()["calls"] == 1
        assert len(teacher_at(url).ask([labeling(2)])[0].items) == 1
    assert len(log) == 2, "its reply came from the journal"


def test_a_request_is_not_reduced_and_sent_again_after_a_stop(model, teacher_at) -> None:
    log: list[dict[str, Any]] = []

    class Stops(list[dict[str, Any]]):
        def append(self, body: dict[str, Any]) -> None:
            log.append(body)
            teacher.stop()

    with serve(model, log=Stops(), offers=Offers(json_schema=False, tools=False, logprobs=False)) as url:
        teacher = teacher_at(url)
        with pytest.raises(Interrupted):
            teacher.ask([labeling(1)])
    assert len(log) == 1


def test_a_stop_is_reported_before_a_teacher_that_is_down(scripted, teacher_at) -> None:
    denied = {"error": {"message": "Incorrect API key provided", "type": "invalid_request_error"}}
    url, log = scripted((401, denied), json.dumps({"labels": []}))
    teacher = teacher_at(url, on_call=lambda event: teacher.stop())  # after the second, which needs a repair
    with pytest.raises(Interrupted):
        teacher.ask([labeling(1), labeling(2)])
    assert len(log) == 2


def test_the_direct_first_call_of_a_batch_process_is_kept(model, teacher_at, tmp_path: Path) -> None:
    log: list[dict[str, Any]] = []
    with serve(model, log=log, faults=Answering(action=lambda seed: teacher.stop())) as url:
        teacher = teacher_at(url, batches=Submitted(tmp_path / "batches.sqlite"), limits=Limits(poll=0.02))
        with pytest.raises(Interrupted):
            teacher.ask([labeling(seed) for seed in range(4)])
    assert len(log) == 1, "no batch was submitted"
    assert teacher.journal.spent()["calls"] == 1


def test_a_batch_that_is_waited_for_with_long_pauses_is_left_soon(model, teacher_at, tmp_path: Path) -> None:
    def stop(event: dict[str, Any]) -> None:
        if "batch" in event:
            teacher.stop()

    with serve(model, batch_polls=2) as url:
        record = Submitted(tmp_path / "batches.sqlite")
        # Without the stop, the batch would have ended at the second of these status requests.
        teacher = teacher_at(url, batches=record, limits=Limits(poll=3), on_call=stop)
        with pytest.raises(Interrupted):
            teacher.ask([labeling(seed) for seed in range(4)])
    assert len(set(record.batches().values())) == 1
    assert len(record.batches()) == 3


@pytest.mark.parametrize("retry_after", [None, 3600])
def test_every_wait_ends_with_a_stop(retry_after: float | None) -> None:
    async def main() -> None:
        stop = Stop()
        throttle = Throttle(Limits(requests_per_minute=1), stop.sleep)
        throttle.failed(0.0, busy=False, retry_after=retry_after)

        async def turns() -> None:
            for _ in range(3):  # the third waits for a minute
                async with throttle.turn(0):
                    pass

        waiting = asyncio.create_task(turns())
        await asyncio.sleep(0)
        stop.ask()
        async with asyncio.timeout(5):
            await waiting

    with pytest.raises(Interrupted):
        asyncio.run(main())
