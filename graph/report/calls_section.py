"""The teacher's calls in the report: what each role has cost, and what was sent and replied."""

import json
from collections.abc import Iterable, Mapping, Sequence

from tutelage.agents.brief import Brief
from tutelage.graph.history.calls import Call, cost_by_role
from tutelage.graph.history.records import Records
from tutelage.graph.history.text import own_part
from tutelage.graph.report.page import Html, cut_to_fit, table, tag
from tutelage.graph.report.run_section import money
from tutelage.graph.report.sample_list import Listed
from tutelage.prompts import ROLES

MOST = 2_000  # calls that are listed
LEAST = 50_000  # bytes of all prompts, and of all replies, however large the page is
FRAME = 300  # bytes of a call without its prompt and reply
WHAT = """The calls that the samples above name. A prompt is shown without the instructions of its role and
the description of the task, which are the same in all of its calls and shown first. If a page would become
too large, prompts and replies are cut short here."""


def roles_table(calls: Mapping[str, Call]) -> list[Html]:
    """Show what each role has cost."""
    costs = cost_by_role(calls)
    rows = [
        (
            role,
            one["calls"],
            one["prompt_tokens"],
            one["completion_tokens"],
            money(one["cost"]),
            f"{one['seconds']:,.1f}",
        )
        for role in ROLES
        if (one := costs.get(role))
    ]
    head = ["Role", ">Calls", ">Prompt tokens", ">Completion tokens", ">Cost", ">Seconds of waiting"]
    return [tag("h3", "By role"), table(head, rows)] if rows else []


def calls_section(records: Records, listed: Sequence[Listed], room: int) -> list[Html]:
    """List the calls that made the listed samples, with what was sent and what came back, cut short so that
    they take at most `room` bytes.
    """
    named = {key for one in listed for key in one.history["calls"]}
    named |= {card["found_by"] for card in records.cards}
    calls = [call for key, call in records.calls.items() if key in named]
    if not calls:
        return [tag("p", "None: no listed sample was written or labelled by a call.")]
    shown = calls[:MOST]
    budget = max((room - FRAME * len(shown)) // 2, LEAST)
    wide = sum(len(call.sent[1][1]) for call in shown) < budget  # enough room for a line for each field
    prompts = cut_to_fit([_own_parts(call, 1 if wide else None) for call in shown], budget)
    replies = cut_to_fit([call.reply for call in shown], budget)
    parts = [tag("p", WHAT, class_="soft"), *_common(shown)]
    if len(calls) > MOST:
        parts.append(tag("p", f"The first {MOST:,} of {len(calls):,} calls are listed."))
    rows = [_call(*one) for one in zip(shown, prompts, replies, strict=True)]
    return [*parts, tag("div", *rows, class_="list", role="group", aria_label="calls")]


def _common(calls: Sequence[Call]) -> Iterable[Html]:
    """Yield what all calls of a role have in common."""
    for role in ROLES:
        if call := next((call for call in calls if call.role == role), None):
            brief = {key: call.payload[key] for key in Brief.__annotations__ if key in call.payload}
            texts = [text for kind, text in call.messages if kind == "system"]
            parts = [*texts, json.dumps(brief, ensure_ascii=False, indent=1)]
            yield tag(
                "details", tag("summary", f"Instructions of the {role}"), tag("pre", "\n\n".join(parts))
            )


def _own_parts(call: Call, indent: int | None) -> str:
    """Return what a call was sent beside the parts that all calls of its role have in common."""
    _, user, *retries = [text for _, text in call.messages]
    return "\n\n".join([own_part(user, indent), *retries])


def _call(call: Call, prompt: str, reply: str) -> Html:
    node = [] if call.node == call.role else [call.node]
    place = ", ".join([call.role, *node, *([] if call.round is None else [f"round {call.round}"])])
    tokens = f"{call.entry.prompt_tokens:,} + {call.entry.completion_tokens:,} tokens"
    return tag(
        "details",
        tag("summary", tag("span", call.id), tag("span", place), tag("span", f"{call.model}, {tokens}")),
        tag("b", "Sent"),
        tag("pre", prompt),
        tag("b", "Reply"),
        tag("pre", reply),
        class_="c",
        id=f"c-{call.id}",
    )
