"""Fixtures for the tests of serving: folders of small real students, and servers on free ports."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from tutelage.graph.serving.limits import Limits
from tutelage.graph.serving.listen import listening
from tutelage.graph.serving.metrics import Metrics
from tutelage.graph.serving.served_model import ServedModel
from tutelage.graph.serving.server import Server
from tutelage.student.data.rows import Row
from tutelage.student.encoder import Encoder
from tutelage.student.evaluation.confidence import Reliability
from tutelage.student.models.base import HeadStudent
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train

Client = aiohttp.ClientSession
LIMITS = Limits()


@pytest.fixture(scope="session")
def shop_folder(
    shop: Callable[[str], list[Row]], encoder: Encoder, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the folder of a head student that was trained on the bundled task. Its confidence is measured:
    of twenty rows, the ten with a confidence of 0.4 and above are right.
    """
    rows = shop("seed")
    labels = sorted({row["label"] for row in rows})
    student = train(rows, labels, TrainingConfig(mode="head", device="cpu"), seed=0, encoder=encoder)
    folder = tmp_path_factory.mktemp("shop") / "student"
    student.save(folder)
    sure, unsure = np.linspace(0.4, 0.9, 10), np.linspace(0.1, 0.35, 10)
    Reliability(1.0, 0.1, 0.1, [*unsure, *sure], [False] * 10 + [True] * 10).save(folder)
    return folder


@pytest.fixture(scope="session")
def head_folder(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that saves a head student with random weights for two labels, which reads these
    fields and, with `thresholds`, predicts any number of labels.
    """

    def make(fields: tuple[str, ...], thresholds: Any = None) -> Path:
        width = encoder.dimensions * (4 if len(fields) > 1 else 1)
        weight = np.random.default_rng(0).normal(size=(2, width)).astype(np.float32)
        bias = np.zeros(2, np.float32)
        limits = None if thresholds is None else np.array(thresholds)
        folder = tmp_path_factory.mktemp("head") / "student"
        HeadStudent(encoder, weight, bias, ["yes", "no"], fields, thresholds=limits).save(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def shop_model(shop_folder: Path) -> ServedModel:
    """Return the student of `shop_folder`, as a server holds it."""
    return ServedModel(shop_folder)


@pytest.fixture(scope="session")
def serving() -> Callable[..., AbstractAsyncContextManager[Client]]:
    """Return a function that opens a server for a model on a free port, and returns a client of it."""

    @asynccontextmanager
    async def make(
        model: ServedModel, limits: Limits = LIMITS, token: str | None = None
    ) -> AsyncIterator[Client]:
        server = Server(model, limits, Metrics(), token)
        connections = aiohttp.TCPConnector(limit=0)
        async with (
            listening(server, "127.0.0.1", 0) as [address],
            Client(address, connector=connections) as client,
        ):
            yield client

    return make


@pytest.fixture(scope="session")
def counts() -> Callable[[Client], Awaitable[dict[str, float]]]:
    """Return a coroutine that reads the metrics of a server, by name."""

    async def read(client: Client) -> dict[str, float]:
        async with client.get("/metrics") as response:
            assert response.headers["Content-Type"].startswith("text/plain")
            lines = (await response.text()).splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    return read


@pytest.fixture(scope="session")
def ask() -> Callable[..., Any]:
    """Return a coroutine that posts texts to /predict, or any body, and returns the status and the reply."""

    async def post(client: Client, texts: Any = None, body: Any = None, **fields: Any) -> tuple[int, Any]:
        data = body if body is not None else json.dumps({"texts": texts, **fields})
        async with client.post("/predict", data=data) as response:
            return response.status, await response.json()

    return post
