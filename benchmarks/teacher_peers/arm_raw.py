"""The upper bound: aiohttp alone posts the bodies of our teacher and reads the JSON of the replies."""

import asyncio
import json
from collections.abc import Iterator

import aiohttp
from measured import LABELS, Job, report
from tutelage.agents.schemas import labels_schema
from tutelage.prompts import render

SCHEMA = labels_schema(LABELS)


def bodies(job: Job) -> Iterator[bytes]:
    schema = {"name": SCHEMA.title, "schema": SCHEMA.json_schema, "strict": True}
    for texts in job.questions():
        asked = [{"id": str(i), "text": text} for i, text in enumerate(texts, 1)]
        payload = {"task": "Sort mail.", "labels": dict.fromkeys(LABELS, ""), "texts": asked}
        system, user = render("labeler", payload)
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        response_format = {"type": "json_schema", "json_schema": schema}
        body = {
            "model": "bench",
            "messages": messages,
            "seed": 0,
            "logprobs": True,
            "response_format": response_format,
        }
        yield json.dumps(body).encode()


async def ask_all(job: Job) -> list[str | None]:
    waiting = list(enumerate(bodies(job)))[::-1]
    labels: list[str | None] = [None] * job.calls
    headers = {"Content-Type": "application/json"}

    async def worker(client: aiohttp.ClientSession) -> None:
        while waiting:
            number, body = waiting.pop()
            async with client.post(f"{job.url}/chat/completions", data=body, headers=headers) as response:
                content = (await response.json())["choices"][0]["message"]["content"]
            labels[number] = json.loads(content)["labels"][0]["label"]

    connections = aiohttp.TCPConnector(limit=job.at_once)
    async with aiohttp.ClientSession(connector=connections) as client:
        await asyncio.gather(*(worker(client) for _ in range(job.at_once)))
    return labels


if __name__ == "__main__":
    report("aiohttp", lambda job: asyncio.run(ask_all(job)))
