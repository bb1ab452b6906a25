"""The teacher's calls of a run, each with its place in the run and what it said about which texts."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypedDict

from tutelage.agents.brief import fields_of, labels_of, task_type_of
from tutelage.agents.endpoints.entry import Entry
from tutelage.agents.providers.redact import redact
from tutelage.agents.schemas import (
    ReplySchema,
    diagnosis_schema,
    drafts_schema,
    labels_schema,
    verdicts_schema,
)
from tutelage.agents.teacher.journal import stored_replies
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.run_folder.trace import Event
from tutelage.prompts import read_payload
from tutelage.student.tasks.fields import join


@dataclass(frozen=True)
class Call:
    """One call of the teacher. `node` and `round` say which step of the run made it; `round` is None if the
    trace has lost it. `sent` are (role, text) pairs, of which the first two are the prompt; the others show
    the model an earlier reply that was incomplete. `paid` is False for a reply that was copied from an
    earlier run.
    """

    id: str
    role: str
    node: str
    round: int | None
    model: str
    sent: Sequence[tuple[str, str]]
    entry: Entry
    paid: bool

    @property
    def messages(self) -> list[tuple[str, str]]:
        """Return what was sent, without keys."""
        return [(role, redact(text)) for role, text in self.sent]

    @property
    def reply(self) -> str:
        """Return the model's whole reply, without keys."""
        return redact(self.entry.content)

    @cached_property
    def payload(self) -> Mapping[str, Any]:
        """The data that the prompt held; {} if it holds no block of JSON."""
        user = next((text for role, text in self.sent if role == "human"), "")
        try:
            return read_payload(user)
        except ValueError:
            return {}

    @cached_property
    def items(self) -> list[Any]:
        """The valid items of the reply: labels, verdicts, drafts or weaknesses (agents/schemas.py)."""
        if not self.payload:
            return []
        return [found.item for found in self._schema.read(self.entry.content)[0]]

    def texts(self, field: str) -> list[str]:
        """Return the texts in a list of the payload, such as `shots`; those of a pair are joined."""
        return [self.text_of(entry) for entry in self.payload.get(field, ())]

    def text_of(self, entry: str | Mapping[str, str]) -> str:
        """Return the text of an entry in the payload."""
        return entry if isinstance(entry, str) else join(entry, fields_of(self.payload))

    @property
    def _schema(self) -> ReplySchema[Any]:
        labels, task_type = labels_of(self.payload), task_type_of(self.payload)
        if self.role == "labeler":
            return labels_schema(labels, task_type)
        if self.role == "critic":
            return verdicts_schema()
        if self.role == "analyst":
            return diagnosis_schema(labels, task_type.error_kinds)
        written = bool(self.payload.get("answers"))
        return drafts_schema(labels, fields_of(self.payload), task_type=task_type, with_labels=written)


class RoleCost(TypedDict):
    """What a role has cost: paid calls, tokens, seconds of waiting, and money (None if unknown)."""

    calls: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    cost: float | None


def read_calls(folder: RunFolder, events: Sequence[Event]) -> dict[str, Call]:
    """Return all calls of a run by id, oldest first. Replies that were useless and are void come too.

    Args:
        folder: the run folder; the run may be in progress.
        events: the run's trace.
    """
    if not folder.journal.exists():
        return {}
    first: dict[str, Event] = {}
    for event in events:
        if event["event"] == "call":
            first.setdefault(event["call"], event)
    return {
        stored.call: Call(
            id=stored.call,
            role=stored.entry.role,
            node=first.get(stored.call, {}).get("node") or stored.entry.node,
            round=first.get(stored.call, {}).get("round"),
            model=str(stored.request["model"]),
            sent=[(role, text) for role, text in stored.request["messages"]],
            entry=stored.entry,
            paid=stored.paid,
        )
        for stored in stored_replies(folder.journal)
    }


def calls_by_text(calls: Mapping[str, Call]) -> dict[str, list[tuple[Call, Any]]]:
    """Map each text to the calls that labelled or judged it, with the item of the reply about this text (None
    if the reply has none), oldest first.
    """
    found: dict[str, list[tuple[Call, Any]]] = defaultdict(list)
    for call in calls.values():
        if field := {"labeler": "texts", "critic": "samples"}.get(call.role):
            items: dict[str, Any] = {}
            for item in call.items:
                items.setdefault(item.id, item)
            for entry in call.payload.get(field, ()):
                found[call.text_of(entry)].append((call, items.get(entry["id"])))
    return found


def cost_by_role(calls: Mapping[str, Call]) -> dict[str, RoleCost]:
    """Return what each role has cost, for the roles that were called."""
    costs: dict[str, RoleCost] = {}
    for call in calls.values():
        if not call.paid:
            continue
        before = costs.get(call.role) or RoleCost(
            calls=0, prompt_tokens=0, completion_tokens=0, seconds=0.0, cost=0.0
        )
        money, more = before["cost"], call.entry.cost
        costs[call.role] = RoleCost(
            calls=before["calls"] + 1,
            prompt_tokens=before["prompt_tokens"] + call.entry.prompt_tokens,
            completion_tokens=before["completion_tokens"] + call.entry.completion_tokens,
            seconds=before["seconds"] + call.entry.seconds,
            cost=None if money is None or more is None else money + more,
        )
    return costs
