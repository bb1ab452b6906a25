"""The server over real HTTP: answers, errors, limits, the token and the metrics."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tutelage import __version__
from tutelage.graph.serving.limits import Limits
from tutelage.graph.serving.served_model import ServedModel
from tutelage.student.tasks.fields import ONE, PAIR

Client = aiohttp.ClientSession


def test_two_hundred_requests_at_once_get_each_its_own_answers(
    shop_model: ServedModel, shop: Callable[[str], Any], serving: Any, ask: Any, counts: Any
) -> None:
    texts = sorted((row["text"] for row in shop("test")), key=len)[:50]
    expected = dict(zip(texts, shop_model.predict(texts), strict=True))
    asked = [[text] for text in texts * 4]
    asked[17] = texts[::-1]

    async def check() -> None:
        async with serving(shop_model) as client:
            found = await asyncio.gather(*(ask(client, some) for some in asked))
            for some, (status, reply) in zip(asked, found, strict=True):
                assert status == 200
                for text, one in zip(some, reply["predictions"], strict=True):
                    assert one["label"] == expected[text].label
                    assert one["confidence"] == pytest.approx(expected[text].confidence, abs=1e-3)
            counted = await counts(client)
            assert counted['tutelage_requests_total{path="/predict",status="200"}'] == 200
            assert counted["tutelage_texts_total"] == counted["tutelage_batch_texts_sum"] == 249
            assert counted["tutelage_batch_texts_count"] < 200, "requests shared batches"
            assert counted["tutelage_queue_texts"] == 0

    asyncio.run(check())


def test_pairs_and_lists_of_labels(head_folder: Callable[..., Path], serving: Any, ask: Any) -> None:
    pairs, several = ServedModel(head_folder(PAIR)), ServedModel(head_folder(ONE, [0.5, 0.5]))

    async def check() -> None:
        async with serving(pairs) as client:
            status, reply = await ask(client, [{"text_a": "a man sleeps", "text_b": "he is awake"}])
            assert status == 200
            assert reply["predictions"][0]["label"] in ("yes", "no")
        async with serving(several) as client:
            status, reply = await ask(client, ["a man sleeps", "where is my parcel?"])
            assert status == 200
            assert all(isinstance(one["label"], list) for one in reply["predictions"])

    asyncio.run(check())


def test_the_model_describes_itself(shop_model: ServedModel, serving: Any) -> None:
    async def check() -> None:
        async with serving(shop_model) as client, client.get("/") as response:
            assert await response.json() == {
                "tutelage": __version__,
                "kind": "classification",
                "labels": shop_model.labels,
                "fields": ["text"],
                "probabilities": True,
                "precision": True,
            }

    asyncio.run(check())


def test_every_error_is_one_sentence_in_json(shop_model: ServedModel, serving: Any, counts: Any) -> None:
    limits = Limits(texts=2, body=100)
    cases: list[tuple[str, str, bytes, int, str]] = [
        ("GET", "/nothing", b"", 404, "there is nothing at /nothing; the paths are /predict"),
        ("GET", "/predict", b"", 405, "/predict does not take GET; use POST"),
        ("POST", "/health", b"", 405, "/health does not take POST; use GET, HEAD"),
        ("POST", "/predict", b"no", 400, "the body cannot be read as JSON"),
        ("POST", "/predict", b'{"texts": ["a", ""]}', 422, "texts[1] is empty"),
        ("POST", "/predict", b'{"texts": ["a", "b", "c"]}', 413, "texts has 3 texts, at most 2"),
        ("POST", "/predict", b" " * 101, 413, "the body has more than 100 bytes"),
    ]

    async def check() -> None:
        async with serving(shop_model, limits) as client:
            for method, path, body, status, words in cases:
                async with client.request(method, path, data=body) as response:
                    assert response.status == status
                    assert response.content_type == "application/json"
                    reply = await response.json()
                assert list(reply) == ["error"]
                assert words in reply["error"]
            zipped = {"Content-Encoding": "gzip"}
            async with client.post("/predict", data=b"this is not gzip", headers=zipped) as response:
                assert response.status == 400
            counted = await counts(client)
            assert counted['tutelage_requests_total{path="other",status="404"}'] == 1
            assert counted['tutelage_requests_total{path="/predict",status="413"}'] == 2

    asyncio.run(check())


def test_a_body_that_does_not_arrive_is_given_up(shop_model: ServedModel, serving: Any) -> None:
    async def check() -> None:
        async with serving(shop_model, Limits(patience=0.1)) as client:
            reader, writer = await asyncio.open_connection("127.0.0.1", client._base_url.port)
            writer.write(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{")
            assert b" 408 " in await reader.readline()
            writer.close()

    asyncio.run(check())


def test_what_is_not_http_is_answered_and_not_logged(
    shop_model: ServedModel, serving: Any, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def check() -> None:
        async with serving(shop_model) as client:
            for data in (b"nonsense\r\n\r\n", b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\n\r\n"):
                reader, writer = await asyncio.open_connection("127.0.0.1", client._base_url.port)
                writer.write(data)
                assert b" 400 " in await reader.readline()
                writer.close()

    asyncio.run(check())
    assert (caplog.text, capfd.readouterr().err) == ("", "")


def test_without_the_token_only_health_answers(
    shop_model: ServedModel, serving: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def check() -> None:
        async with serving(shop_model, token="s3cret") as client:
            async with client.get("/health") as response:
                assert response.status == 200
            for path in ("/", "/metrics", "/predict", "/nothing"):
                async with client.get(path) as response:
                    assert (response.status, response.headers["WWW-Authenticate"]) == (401, "Bearer")
                    assert "the token is missing" in (await response.json())["error"]
            for given in ("s3cret", "Bearer s3cre", "Bearer s3cret2", "Basic s3cret", "Bearer ü"):
                async with client.get("/", headers={"Authorization": given}) as response:
                    assert response.status == 401
                    assert "s3cret" not in await response.text()
            async with client.get("/", headers={"Authorization": "Bearer s3cret"}) as response:
                assert response.status == 200

    asyncio.run(check())
    assert "s3cret" not in caplog.text


def test_a_client_that_asks_too_often_is_told_to_wait(
    shop_model: ServedModel, serving: Any, ask: Any
) -> None:
    async def check() -> None:
        async with serving(shop_model, Limits(rate=0.1)) as client:
            assert (await ask(client, ["a"]))[0] == 200
            async with client.post("/predict", data='{"texts": ["a"]}') as response:
                assert response.status == 429
                assert 1 <= int(response.headers["Retry-After"]) <= 10
            async with client.get("/health") as response:
                assert response.status == 200

    asyncio.run(check())
