"""A chat server in a process of its own that answers every request after the same time.

It prints its port. GET /log gives, for each request so far, [number of the question, when it came, when it
was answered or null], in seconds of the system's monotonic clock; GET /count how many; DELETE /log forgets.
"""

import argparse
import asyncio
import json
import re
import time
from contextlib import suppress

from aiohttp import web

NUMBER = re.compile(rb"parcel number (\d+)")
LABELS = ("order_status", "return_refund")


class Answers:
    """Answers a question by its number: even ones are of the first label, odd ones of the second."""

    def __init__(self, seconds: float, items: int):
        self.seconds, self.items = seconds, items
        self.log: list[list[float | None]] = []

    async def answer(self, request: web.Request) -> web.Response:
        """The chat completion of a request."""
        try:
            body = await request.read()
        except ConnectionResetError:  # its sender was killed
            return web.Response(status=400)
        came = time.monotonic()
        if not (found := NUMBER.findall(body)):  # Curator's question whether a schema is kept to
            return web.json_response(wrapped("probe", json.dumps({"name": "Jason", "age": 25})))
        number = int(found[-1])
        line: list[float | None] = [number, came, None]
        self.log.append(line)
        await asyncio.sleep(self.seconds - (time.monotonic() - came))
        if request.transport and not request.transport.is_closing():
            line[2] = time.monotonic()
        return web.json_response(completion(number, self.items))

    async def told(self, request: web.Request) -> web.Response:
        """The requests so far."""
        return web.json_response(self.log)

    async def count(self, request: web.Request) -> web.Response:
        """How many requests so far."""
        return web.json_response(len(self.log))

    async def forget(self, request: web.Request) -> web.Response:
        """Begin anew."""
        self.log.clear()
        return web.json_response({})


def completion(number: int, items: int) -> dict[str, object]:
    """A reply in the form of the labeler."""
    label = LABELS[number % 2]
    labels = [{"id": str(i), "reason": "r", "label": label, "confidence": 0.5} for i in range(1, items + 1)]
    return wrapped(str(number), json.dumps({"labels": labels}))


def wrapped(name: str, content: str) -> dict[str, object]:
    """A model's words in the OpenAI chat protocol."""
    message = {"role": "assistant", "content": content}
    return {
        "id": name,
        "object": "chat.completion",
        "created": 0,
        "model": "bench",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 300, "completion_tokens": 25, "total_tokens": 325},
    }


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--milliseconds", type=float, default=100)
    parser.add_argument("--items", type=int, default=1)
    wanted = parser.parse_args()
    answers = Answers(wanted.milliseconds / 1000, wanted.items)
    app = web.Application(client_max_size=2**24)
    app.router.add_post("/v1/chat/completions", answers.answer)
    app.router.add_get("/log", answers.told)
    app.router.add_get("/count", answers.count)
    app.router.add_delete("/log", answers.forget)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
