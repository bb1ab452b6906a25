"""Test the Batch API of the rehearsal server with the real OpenAI client."""

import asyncio
import json
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from tutelage.agents.rehearsal.faults import Faults
from tutelage.agents.rehearsal.rehearsal import Behaviour, Rehearsal
from tutelage.agents.rehearsal.rehearsal_model import RehearsalModel
from tutelage.agents.rehearsal.server import Offers, serve
from tutelage.prompts import render
from tutelage.student.data.rows import Row, content_id

TEXTS = {"l'été\u2028à la plage ☀️": "été", "la neige tombe ❄": "hiver 🎿"}
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def model(encoder) -> RehearsalModel:
    rows = [Row(id=content_id(text), text=text, label=label) for text, label in TEXTS.items()]
    return RehearsalModel(rehearsal=Rehearsal(rows, encoder.encode, behaviour=Behaviour(label_noise=0.0)))


def question(*texts: str, **options: Any) -> dict[str, Any]:
    """Return a chat request to label texts."""
    shown = [{"id": str(i), "text": text} for i, text in enumerate(texts or TEXTS, 1)]
    payload = {"task": "", "labels": dict.fromkeys(TEXTS.values(), ""), "texts": shown}
    system, user = render("labeler", payload)
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    return {"model": "rehearsal", "messages": messages, **options}


def labels_in(text: str) -> list[str]:
    return [entry["label"] for entry in json.loads(text)["labels"]]


def line(name: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"custom_id": name, "method": "POST", "url": CHAT, "body": body}


def as_file(*lines: dict[str, Any]) -> bytes:
    return "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in lines).encode()


@asynccontextmanager
async def client_of(url: str, **options: Any):
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, **options) as client:
        yield client


async def submit(client: openai.AsyncOpenAI, content: bytes, **about: Any) -> Any:
    file = await client.files.create(file=("calls.jsonl", content), purpose="batch")
    return await client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h", **about)


async def ended(client: openai.AsyncOpenAI, key: str) -> Any:
    while (batch := await client.batches.retrieve(key)).status in ("validating", "in_progress", "cancelling"):
        pass
    return batch


async def lines_of(client: openai.AsyncOpenAI, file_id: str) -> dict[str, dict[str, Any]]:
    text = (await client.files.content(file_id)).text
    return {entry["custom_id"]: entry["response"] for entry in map(json.loads, text.splitlines())}


def on(model: RehearsalModel, work: Any, **options: Any) -> Any:
    """Return what `work(client)` returns, with a new server."""

    async def main(url: str) -> Any:
        async with client_of(url) as client:
            return await work(client)

    with serve(model, **options) as url:
        return asyncio.run(main(url))


@pytest.mark.parametrize("polls", [0, 1, 3])
def test_a_batch_completes_after_the_set_number_of_polls(model, polls: int) -> None:
    async def work(client: openai.AsyncOpenAI) -> list[str]:
        batch = await submit(client, as_file(line("a", question())))
        return [batch.status, *[(await client.batches.retrieve(batch.id)).status for _ in range(polls + 1)]]

    assert on(model, work, batch_polls=polls) == ["validating", *["in_progress"] * polls, "completed"]


def test_each_line_of_a_batch_is_answered_and_logged_as_a_chat_request(model) -> None:
    bodies = {f"call {i}": question(text) for i, text in enumerate(TEXTS)}
    log: list[dict[str, Any]] = []

    async def work(client: openai.AsyncOpenAI) -> Any:
        batch = await submit(client, as_file(*[line(*item) for item in bodies.items()]))
        assert log == []
        batch = await ended(client, batch.id)
        replies = await lines_of(client, batch.output_file_id)
        return batch, replies, {name: await client.chat.completions.create(**bodies[name]) for name in bodies}

    batch, replies, asked = on(model, work, log=log)
    assert log == [*bodies.values()] * 2
    assert {name: replies[name]["body"] for name in bodies} == {
        name: reply.model_dump(exclude_unset=True) for name, reply in asked.items()
    }
    assert list(replies) != list(bodies), "no order is promised"
    assert batch.request_counts.model_dump() == {"total": 2, "completed": 2, "failed": 0}
    assert (batch.error_file_id, batch.completion_window, batch.input_file_id) == (None, "24h", "file-1")


def test_a_batch_outlives_its_client_and_is_found_by_its_metadata(model) -> None:
    async def first(url: str) -> str:
        async with client_of(url) as client:
            await submit(client, as_file(line("a", question())), metadata={"run": "one"})
            return (await submit(client, as_file(line("b", question())), metadata={"run": "two"})).id

    async def second(url: str) -> tuple[str, list[str]]:
        async with client_of(url, http_client=openai.DefaultAioHttpClient()) as client:
            [found] = [b async for b in client.batches.list(limit=1) if b.metadata == {"run": "two"}]
            batch = await ended(client, found.id)
            return batch.id, [*await lines_of(client, batch.output_file_id)]

    with serve(model) as url:
        key = asyncio.run(first(url))
        assert asyncio.run(second(url)) == (key, ["b"])


def test_batches_are_listed_newest_first_over_pages(model) -> None:
    async def work(client: openai.AsyncOpenAI) -> tuple[list[str], list[str]]:
        made = [(await submit(client, as_file(line("a", question())))).id for _ in range(3)]
        return made, [batch.id async for batch in client.batches.list(limit=2)]

    made, listed = on(model, work)
    assert listed == made[::-1]


@pytest.mark.parametrize("transport", [openai.DefaultAsyncHttpxClient, openai.DefaultAioHttpClient])
def test_a_file_comes_back_byte_for_byte(model, transport) -> None:
    content = "a\r\nb\u2028c\r\n--boundary\n\n".encode() + bytes(range(256))

    async def main(url: str) -> tuple[Any, bytes]:
        async with client_of(url, http_client=transport()) as client:
            file = await client.files.create(file=("x.jsonl", content), purpose="batch")
            stored = await client.files.retrieve(file.id)
            return stored, (await client.files.content(file.id)).content

    with serve(model) as url:
        stored, back = asyncio.run(main(url))
    assert back == content
    assert (stored.bytes, stored.purpose, stored.status) == (len(content), "batch", "processed")


def test_a_refused_line_is_in_the_error_file(model) -> None:
    wrong = question(logprobs=True)

    async def work(client: openai.AsyncOpenAI) -> Any:
        batch = await submit(client, as_file(line("good", question()), line("wrong", wrong)))
        batch = await ended(client, batch.id)
        files = [await lines_of(client, key) for key in (batch.output_file_id, batch.error_file_id)]
        return batch.request_counts.model_dump(), *files

    counts, good, bad = on(model, work, offers=Offers(logprobs=False))
    assert counts == {"total": 2, "completed": 1, "failed": 1}
    assert ([*good], [*bad]) == (["good"], ["wrong"])
    assert bad["wrong"]["status_code"] == 400
    assert bad["wrong"]["body"]["error"]["param"] == "logprobs"


def test_a_failed_line_is_answered_in_a_later_batch(model) -> None:
    faults = Faults(share=1.0, kinds=("500", "hang"), max_per_request=1)

    async def work(client: openai.AsyncOpenAI) -> Any:
        content = as_file(line("a", question()))
        first, second = [await ended(client, (await submit(client, content)).id) for _ in range(2)]
        assert first.output_file_id is None
        failed = await lines_of(client, first.error_file_id)
        return failed, await lines_of(client, second.output_file_id)

    failed, answered = on(model, work, faults=faults)
    assert failed["a"]["status_code"] == 500
    assert labels_in(answered["a"]["body"]["choices"][0]["message"]["content"]) == [*TEXTS.values()]
    assert faults.injected == {"500": 1}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        as_file(line("a", question()), line("a", question())),
        as_file({**line("a", question()), "url": "/v1/embeddings"}),
        as_file({"custom_id": "a"}),
    ],
)
def test_a_batch_with_an_invalid_file_fails_with_the_reason(model, content: bytes) -> None:
    log: list[dict[str, Any]] = []

    async def work(client: openai.AsyncOpenAI) -> Any:
        return await ended(client, (await submit(client, content)).id)

    batch = on(model, work, log=log)
    assert batch.status == "failed"
    assert batch.errors.data[0].message
    assert log == []


def test_a_cancelled_batch_answers_nothing_and_cannot_be_cancelled_again(model) -> None:
    log: list[dict[str, Any]] = []

    async def work(client: openai.AsyncOpenAI) -> Any:
        batch = await submit(client, as_file(line("a", question())))
        statuses = [(await client.batches.cancel(batch.id)).status, (await ended(client, batch.id)).status]
        with pytest.raises(openai.ConflictError, match="with status 'cancelled'"):
            await client.batches.cancel(batch.id)
        return statuses

    assert on(model, work, log=log) == ["cancelling", "cancelled"]
    assert log == []


def test_unknown_files_and_batches_return_404(model) -> None:
    async def work(client: openai.AsyncOpenAI) -> None:
        with pytest.raises(openai.NotFoundError, match="No such File object: file-9"):
            await client.files.content("file-9")
        with pytest.raises(openai.NotFoundError, match="No batch found with id 'batch_9'"):
            await client.batches.retrieve("batch_9")
        with pytest.raises(openai.NotFoundError, match="No such File object: file-9"):
            await client.batches.create(input_file_id="file-9", endpoint=CHAT, completion_window="24h")

    on(model, work)
