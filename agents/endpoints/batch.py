"""Send calls through the OpenAI Batch API, at half the price and within a day.

Calls that are made together form one batch. The mapping from calls to batches is written to disk before
waiting for the first reply, and the metadata of each batch names its run. A run that was killed therefore
finds all its batches again and submits nothing twice.
"""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from tutelage.agents.endpoints.endpoint import Endpoint, RefusedError, TeacherDownError
from tutelage.agents.endpoints.entry import Entry
from tutelage.agents.endpoints.exchange import Call, entry_of, openai_options, raw_reply
from tutelage.agents.endpoints.failures import names_cap, read_failure
from tutelage.agents.endpoints.submitted import Submitted
from tutelage.agents.providers.redact import redact
from tutelage.student.errors import Interrupted

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage
    from openai import AsyncOpenAI
    from openai.types import Batch
    from tutelage.agents.providers.chat import DirectChatOpenAI

DISCOUNT = 0.5
_GATHER = 0.05  # seconds without a new call before the waiting calls are submitted
_TURNS = 3  # submissions of a call whose line the provider fails to answer
_KEPT = 30 * 86_400  # seconds for which providers keep the files of a batch
_ENDED = ("completed", "expired", "cancelled", "failed")
Line = dict[str, Any]  # one line of a result file


class Batches:
    """Complete calls in batches, using the connection and the capabilities of an endpoint.

    If the endpoint's `stop` is asked for, calls that wait for a batch do not wait any longer: a resumed run
    finds the batch. Those that were sent directly are awaited, because their replies exist nowhere else.

    Args:
        endpoint: the model. Unless its capabilities are known, the first call of a process goes directly to
            it at full price: a batch with an unsupported request format would only fail hours later.
        record: the calls and batches that the run has submitted.
        poll: seconds between two status requests for a batch.
        on_change: called with the batch's id, its status, and the number of calls answered and in total.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        record: Submitted,
        *,
        poll: float = 30.0,
        on_change: Callable[[dict[str, object]], None] = lambda event: None,
    ):
        self.endpoint, self.record, self._poll, self._on_change = endpoint, record, poll, on_change
        self._first = asyncio.Lock()
        self._waiting: list[tuple[Call, asyncio.Future[Line]]] = []
        self._sender: asyncio.Task[None] | None = None
        self._adopted = False

    async def complete(self, call: Call) -> tuple[Entry, int]:
        """Return the reply and the number of submissions, once the call's batch has ended.

        Raises:
            RefusedError: the provider refused this line or failed to answer it.
            TeacherDownError: the batch failed or was cancelled, or the provider cannot be reached.
            Interrupted: the user asked to stop before the batch had ended.
        """
        async with self._first:
            if not self.endpoint.settled and call.key not in self.record.batches():
                return await self.endpoint.complete(call)
        start = time.monotonic()
        for turn in range(1, _TURNS + 1):
            line = await self._enqueue(self.endpoint.allowed(call))
            response = line.get("response") or {}
            if response.get("status_code") == 200:
                message = self._model.result(response["body"]).generations[0].message
                reply = raw_reply(cast("AIMessage", message))
                return entry_of(self.endpoint.spec, call, reply, time.monotonic() - start, DISCOUNT), turn
            self.record.forget(call.key)
            if "cancelled" in line:
                raise self._down(f"batch {line['cancelled']} was cancelled; its finished replies are kept")
            if call.cap and names_cap(json.dumps(line)):
                call = self.endpoint.uncapped(call)
                continue
            if 400 <= response.get("status_code", 500) < 500 and response["status_code"] != 429:
                break
        raise RefusedError(f"its batch gave no reply: {redact(json.dumps(line, ensure_ascii=False))[:300]}")

    def down(self, role: str, why: str) -> TeacherDownError:
        """Mark the endpoint as down and return the error to raise, like `Endpoint.down`."""
        return self.endpoint.down(role, why)

    def mark_useless(self, role: str, why: str) -> TeacherDownError:
        """Mark the endpoint as useless for a role and return the error, like `Endpoint.useless`."""
        return self.endpoint.mark_useless(role, why)

    def reopen(self) -> None:
        """Allow calls again after `down` or `useless`, like `Endpoint.back`."""
        self.endpoint.reopen()

    async def close(self) -> None:
        """Close the connections."""
        await self.endpoint.close()

    async def _enqueue(self, call: Call) -> Line:
        """Return the result line of a call once its batch has ended."""
        future: asyncio.Future[Line] = asyncio.get_running_loop().create_future()
        self._waiting.append((call, future))
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._serve())
        return await future

    async def _serve(self) -> None:
        while self._waiting:
            before = -1
            while before != len(self._waiting):
                before = len(self._waiting)
                await asyncio.sleep(_GATHER)
            gathered, self._waiting = self._waiting, []
            try:
                lines = await self.endpoint.stop.wait_for(self._answers([call for call, _ in gathered]))
            except Exception as error:  # any error must reach the callers, or they would wait forever
                known = isinstance(error, TeacherDownError | Interrupted)
                reason = error if known else self._down(read_failure(error).words)
                for _, future in gathered:
                    if not future.done():
                        future.set_exception(reason)
                continue
            for call, future in gathered:
                if not future.done():  # its caller may have stopped waiting
                    future.set_result(lines.get(call.key, {"error": "missing from the batch's results"}))

    async def _answers(self, calls: Sequence[Call]) -> dict[str, Line]:
        timeout = self.endpoint.spec.timeout  # the client's own time-out is much longer, for whole replies
        client = self._model.root_async_client.with_options(max_retries=6, timeout=timeout)
        await self._adopt(client)
        known = self.record.batches()
        if fresh := [call for call in calls if call.key not in known]:
            await self._submit(client, fresh)
            known = self.record.batches()
        lines: dict[str, Line] = {}
        for name in dict.fromkeys(known[call.key] for call in calls):
            lines |= await self._collect(client, name)
        return lines

    async def _submit(self, client: "AsyncOpenAI", calls: Sequence[Call]) -> None:
        content = "".join(json.dumps(self._line(call), ensure_ascii=False) + "\n" for call in calls)
        file = await client.files.create(file=("calls.jsonl", content.encode()), purpose="batch")
        # No retries: if only the response was lost, `_adopt` finds the batch; a retry would pay twice.
        self._adopted = False
        batch = await client.with_options(max_retries=0).batches.create(
            input_file_id=file.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={"tutelage": self.record.run},
        )
        self.record.note(batch.id, [call.key for call in calls])
        self._adopted = True

    def _line(self, call: Call) -> Line:
        body = self._model.request(call.messages, **openai_options(self.endpoint.capabilities, call))
        return {"custom_id": call.key, "method": "POST", "url": "/v1/chat/completions", "body": body}

    async def _collect(self, client: "AsyncOpenAI", name: str) -> dict[str, Line]:
        """Wait for a batch to end and return its lines by call key; none if the provider deleted it."""
        from openai import NotFoundError

        try:
            batch = await self._ended(client, name)
        except NotFoundError:
            self.record.forget_batch(name)
            return {}
        if batch.status == "failed":
            self.record.forget_batch(name)
            problems = [problem.message for problem in (batch.errors and batch.errors.data) or []]
            why = redact("; ".join(map(str, problems)) or "no reason was given")
            raise self._down(f"batch {name} failed: {why}")
        lines: dict[str, Line] = {}
        if batch.status == "cancelled":
            lines = {key: {"cancelled": name} for key, of in self.record.batches().items() if of == name}
        for file in (batch.output_file_id, batch.error_file_id):
            if file:
                text = (await client.files.content(file)).text
                lines |= {line["custom_id"]: line for line in _lines(text)}
        return lines

    async def _ended(self, client: "AsyncOpenAI", name: str) -> "Batch":
        seen = ""
        while (batch := await client.batches.retrieve(name)).status not in _ENDED:
            counts = batch.request_counts
            done, total = (counts.completed, counts.total) if counts else (0, 0)
            if (progress := f"{batch.status} {done}") != seen:
                self._on_change({"batch": name, "status": batch.status, "done": done, "of": total})
                seen = progress
            await asyncio.sleep(self._poll)
        return batch

    async def _adopt(self, client: "AsyncOpenAI") -> None:
        """Record batches of this run that a process submitted but was killed before recording."""
        if self._adopted:
            return
        async for batch in client.batches.list(limit=100):
            if time.time() - batch.created_at > _KEPT:
                break
            if (batch.metadata or {}).get("tutelage") == self.record.run and not self.record.knows(batch.id):
                text = (await client.files.content(batch.input_file_id)).text
                self.record.note(batch.id, [line["custom_id"] for line in _lines(text)])
        self._adopted = True

    @property
    def _model(self) -> "DirectChatOpenAI":
        return cast("DirectChatOpenAI", self.endpoint.model)

    def _down(self, why: str) -> TeacherDownError:
        return self.endpoint.down("batch", why)


def _lines(text: str) -> list[Line]:
    return [json.loads(line) for line in text.split("\n") if line.strip()]
