"""Look up samples of a run and trace each to its rows and calls; `text.py` writes this as text."""

from collections.abc import Sequence
from typing import Any, TypedDict, cast

from tutelage.graph.history.calls import Call
from tutelage.graph.history.evidence import ShownRow
from tutelage.graph.history.history import History, history
from tutelage.graph.history.origins import places
from tutelage.graph.history.records import Records, read_records
from tutelage.graph.run_folder.folder import RunFolder

LISTED = 3  # samples of each status in a list


class CallRecord(TypedDict):
    """A call as JSON: `messages` are the (role, text) pairs that were sent, without keys."""

    id: str
    role: str
    node: str
    round: int | None
    model: str
    messages: list[tuple[str, str]]
    reply: str
    finish: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    cost: float | None
    paid: bool


class TracedSample(TypedDict):
    """A history, and the calls that it names, in their order."""

    history: History
    calls: list[CallRecord]


def trace_sample(folder: RunFolder, start: str) -> list[TracedSample]:
    """Return the history of the sample whose id begins with `start`, with the places of rows in the user's
    files. There are several if the run drew or wrote the same text several times.

    Raises:
        InputError: this is not a run folder, or no sample or several begin so.
    """
    records = read_records(folder)
    found = [history(records, one) for one in records.find(start)]
    return [
        TracedSample(
            history=_with_places(records, one),
            calls=[_record(records.calls[key]) for key in one["calls"]],
        )
        for one in found
    ]


def list_samples(folder: RunFolder) -> list[dict[str, Any]]:
    """Return a few samples of each status, with their ids.

    Raises:
        InputError: this is not a run folder.
    """
    records = read_records(folder)
    found = [one for several in records.by_id.values() for one in several]
    by_status: dict[str, dict[str, dict[str, Any]]] = {}
    for purpose, sample in found:
        status = sample["status"] if purpose == "sample" else purpose.replace("_", " ")
        entry = {"id": sample["id"], "status": status, "round": sample["round"], "text": sample["text"]}
        by_status.setdefault(status, {}).setdefault(sample["id"], entry)
    return [entry for entries in by_status.values() for entry in [*entries.values()][:LISTED]]


def _with_places(records: Records, found: History) -> History:
    """Return the history with the places of its rows in the user's files."""
    data = records.about["task"]["data"]
    origin = found["origin"]
    weakness = origin["weakness"]
    rows = [*origin["shown"], *(weakness["evidence"] if weakness else ())]
    wanted = {name: {row["id"] for row in rows} for name in ("labelled", "seed", "diagnose")}
    wanted["unlabelled"] = {found["id"]} if origin["how"] == "drawn" else set()
    where: dict[str, str] = {}
    for name, ids in wanted.items():
        where |= places(data, name, ids, fields=records.fields, task_type=records.task_type)
    origin = {**origin, "place": where.get(found["id"], ""), "shown": _placed(origin["shown"], where)}
    if weakness:
        origin["weakness"] = {**weakness, "evidence": _placed(weakness["evidence"], where)}
    return {**found, "origin": origin}


def _placed(rows: Sequence[ShownRow], where: dict[str, str]) -> list[ShownRow]:
    return [cast(ShownRow, {**row, "place": where[row["id"]]} if row["id"] in where else row) for row in rows]


def _record(call: Call) -> CallRecord:
    return CallRecord(
        id=call.id,
        role=call.role,
        node=call.node,
        round=call.round,
        model=call.model,
        messages=call.messages,
        reply=call.reply,
        finish=call.entry.finish,
        prompt_tokens=call.entry.prompt_tokens,
        completion_tokens=call.entry.completion_tokens,
        seconds=call.entry.seconds,
        cost=call.entry.cost,
        paid=call.paid,
    )
