"""The server while its student is busy: waiting requests, clients that leave, failures, and the end."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from tutelage.graph.serving.limits import Limits
from tutelage.graph.serving.listen import listening
from tutelage.graph.serving.metrics import Metrics
from tutelage.graph.serving.served_model import Answer, ServedModel
from tutelage.graph.serving.server import Server
from tutelage.student.encoder import Encoder
from tutelage.student.models.base import HeadStudent
from tutelage.student.tasks.fields import ONE


class Held(ServedModel):
    """A student that predicts only while its gate is open; `begun` says that a prediction waits there."""

    def __init__(self, path: Path):
        self.gate, self.begun = threading.Event(), threading.Event()
        self.gate.set()
        super().__init__(path)

    def close(self) -> None:
        self.gate.clear()
        self.begun.clear()

    async def until_begun(self) -> None:
        while not self.begun.is_set():
            await asyncio.sleep(0.01)

    def predict(self, texts: Sequence[str]) -> list[Answer]:
        self.begun.set()
        assert self.gate.wait(10)
        return super().predict(texts)


@pytest.fixture(scope="module")
def held(shop_folder: Path) -> Held:
    return Held(shop_folder)


def test_a_failure_is_logged_and_stays_with_its_request(
    encoder: Encoder, tmp_path: Path, serving: Any, ask: Any, counts: Any, caplog: pytest.LogCaptureFixture
) -> None:
    towards = encoder.encode(["boom"])[0]  # a text like this gets the second column, which has no name
    weight = np.stack([np.zeros_like(towards), towards])
    HeadStudent(encoder, weight, np.array([0.8, 0], np.float32), ["only"], ONE).save(tmp_path / "broken")
    model = Held(tmp_path / "broken")

    async def check() -> None:
        async with serving(model) as client:
            model.close()
            first = asyncio.ensure_future(ask(client, ["where is my parcel?"]))
            await model.until_begun()
            others = [asyncio.ensure_future(ask(client, texts)) for texts in (["a"], ["b", "boom"], ["c"])]
            while (await counts(client))["tutelage_queue_texts"] < 4:
                await asyncio.sleep(0.01)
            model.gate.set()
            found = await asyncio.gather(first, *others)
            assert [status for status, _ in found] == [200, 200, 500, 200]
            assert found[2][1]["error"].startswith("the server failed on this request; its log says why")

    asyncio.run(check())
    assert "IndexError" in caplog.text


def test_while_it_predicts_it_answers_and_a_full_queue_is_refused(
    held: Held, serving: Any, ask: Any, counts: Any
) -> None:
    async def check() -> None:
        async with serving(held, Limits(texts=1, queue=1)) as client:
            held.close()
            first = asyncio.ensure_future(ask(client, ["a"]))
            await held.until_begun()
            second = asyncio.ensure_future(ask(client, ["b"]))
            while (await counts(client))["tutelage_queue_texts"] < 1:  # answered while it predicts
                await asyncio.sleep(0.01)
            async with client.post("/predict", data='{"texts": ["c"]}') as response:
                assert (response.status, response.headers["Retry-After"]) == (503, "1")
                assert "texts wait already" in (await response.json())["error"]
            held.gate.set()
            assert [status for status, _ in await asyncio.gather(first, second)] == [200, 200]

    asyncio.run(check())


def test_the_texts_of_a_client_that_left_are_not_predicted(
    held: Held, serving: Any, ask: Any, counts: Any
) -> None:
    async def check() -> None:
        async with serving(held) as client:
            held.close()
            first = asyncio.ensure_future(ask(client, ["a"]))
            await held.until_begun()
            gone = asyncio.ensure_future(ask(client, ["b", "c"]))
            while (await counts(client))["tutelage_queue_texts"] < 2:
                await asyncio.sleep(0.01)
            gone.cancel()
            while (await counts(client))["tutelage_queue_texts"] > 0:
                await asyncio.sleep(0.01)
            held.gate.set()
            assert (await first)[0] == 200
            counted = await counts(client)
            assert counted["tutelage_batch_texts_sum"] == 1
            assert counted['tutelage_requests_total{path="/predict",status="499"}'] == 1

    asyncio.run(check())


def test_closing_the_server_first_answers_what_it_accepted(held: Held) -> None:
    async def check() -> None:
        held.close()
        async with aiohttp.ClientSession() as client:
            async with listening(Server(held, Limits(), Metrics()), "127.0.0.1", 0) as [address]:
                asked = client.post(f"{address}/predict", data='{"texts": ["a", "b"]}')
                accepted = asyncio.ensure_future(asked.__aenter__())
                await held.until_begun()
                asyncio.get_running_loop().call_later(0.1, held.gate.set)
            response = await accepted
            assert response.status == 200
            assert len((await response.json())["predictions"]) == 2
            with pytest.raises(aiohttp.ClientConnectorError):
                await client.get(f"{address}/health")

    asyncio.run(check())
