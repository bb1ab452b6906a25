"""A chat server that answers every request after the same delay, to be run as a process of its own.

It prints its port. GET /log returns, for each request so far, [question number, arrival time, reply time or
null], in seconds of the system's monotonic clock. GET /count returns their number. DELETE /log deletes them.
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
    """Label questions by their number: even ones with the first label, odd ones with the second."""

    def __init__(self, seconds: float, items: int):
        self.seconds, self.items = seconds, items
        self.log: list[list[float | None]] = []

    async def answer(self, request: web.Request) -> web.Response:
        """Return the chat completion for a request."""
        try:
            body = await request.read()
        except ConnectionResetError:  # the client was killed
            return web.Response(status=400)
        arrival = time.monotonic()
        if not (found := NUMBER.findall(body)):  # Curator tests whether the server follows a schema
            return web.json_response(wrapped("probe", json.dumps({"name": "Jason", "age": 25})))
        number = int(found[-1])
        line: list[float | None] = [number, arrival, None]
        self.log.append(line)
        await asyncio.sleep(self.seconds - (time.monotonic() - arrival))
        if request.transport and not request.transport.is_closing():
            line[2] = time.monotonic()
        return web.json_response(completion(number, self.items))

    async def requests(self, request: web.Request) -> web.Response:
        """Return the requests so far."""
        return web.json_response(self.log)

    async def count(self, request: web.Request) -> web.Response:
        """Return the number of requests so far."""
        return web.json_response(len(self.log))

    async def forget(self, request: web.Request) -> web.Response:
        """Delete the log."""
        self.log.clear()
        return web.json_response({})


def completion(number: int, items: int) -> dict[str, object]:
    """Return a reply in the format of the labeler."""
    label = LABELS[number % 2]
    labels = [{"id": str(i), "reason": "r", "label": label, "confidence": 0.5} for i in range(1, items + 1)]
    return wrapped(str(number), json.dumps({"labels": labels}))


def wrapped(name: str, content: str) -> dict[str, object]:
    """Return a model's text as a chat completion of the OpenAI protocol."""
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
    app.router.add_get("/log", answers.requests)
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
