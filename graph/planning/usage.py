"""Loads: what the requests of a run take in calls and tokens, at the low end or at the high one."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tutelage.agents.request import Ask
from tutelage.agents.teacher.reply_cap import reply_cap
from tutelage.graph.planning.requests import Outlook
from tutelage.prompts import ROLES, render
from tutelage.student.tasks.fields import split

# Measures are calls, tokens of their prompts, tokens of their replies.
Loads = NDArray[np.float64]
_REPAIRED = 0.1  # share of the calls that the high end has repaired


def stages(outlook: Outlook) -> Loads:
    """What each stage takes, shape (stages, roles, 3), in the order of `stage_names`."""
    rounds = outlook.task.budget.rounds
    nothing = np.zeros((len(ROLES), 3))
    first = outlook.first_labels()
    if not rounds:
        return np.array([_loads(outlook, first), nothing])
    last = outlook.last_round()
    begin = _loads(outlook, first or outlook.calibration())
    written = {number: outlook.written(number) for number in range(1, last + 1)}
    loads = {count: _loads(outlook, outlook.round(count)) for count in set(written.values())}
    of_rounds = [loads[written[n]] if n <= last else nothing for n in range(1, rounds + 1)]
    return np.array([begin, *of_rounds, _loads(outlook, outlook.control())])


def stage_names(outlook: Outlook) -> list[str]:
    """What the stages are called."""
    begin = "the calibration" if outlook.splits.labelled else "the first labels"
    rounds = (f"round {number}" for number in range(1, outlook.task.budget.rounds + 1))
    return [begin, *rounds, "the labels of random texts at the end"]


def _loads(outlook: Outlook, asks: list[Ask[Any]]) -> Loads:
    """What the calls of a stage take, with votes where needed; [role, measure]."""
    part, high = outlook.task.teacher, outlook.end == "high"
    loads = np.zeros((len(ROLES), 3))
    for ask in asks:
        loads[ROLES.index(ask.role)] += _load(outlook, ask)
    if high or not outlook.task.model_specs()["labeler"].logprobs:
        loads[ROLES.index("labeler")] *= part.votes
    if high:  # the prompt and the reply are sent once more
        calls, prompts, replies = loads.T
        loads += _REPAIRED * np.stack([calls, prompts + replies, replies], 1)
    return loads


def _load(outlook: Outlook, ask: Ask[Any]) -> tuple[float, float, float]:
    """What one call takes. A token is four characters at the low end and three bytes of UTF-8 at the high
    one, where the schema is sent along: what tokenizers make of most scripts lies between (ours).
    """
    sent = "".join(render(ask.role, ask.payload, outlook.task.prompts))
    reply = _reply(outlook, ask)
    if outlook.end == "low":
        return 1, len(sent) // 4, len(json.dumps(reply, ensure_ascii=False)) // 4
    schema = json.dumps(ask.form.schema, ensure_ascii=False)
    written = json.dumps(reply, ensure_ascii=False, indent=1)
    cap = reply_cap(ask, outlook.task.model_specs()[ask.role])  # no call is let to write more
    return 1, len((sent + schema).encode()) / 3, min(cap, len(written.encode()) / 3)


def _reply(outlook: Outlook, ask: Ask[Any]) -> dict[str, object]:
    """A right reply, of the length to be expected."""
    high, strategy = outlook.end == "high", outlook.strategy
    kind, extreme = outlook.task.form, max if high else min
    label = extreme(outlook.task.labels or [""], key=lambda label: len(label.encode()))
    seed = extreme(outlook.known.seed, key=lambda row: len(row["label"]))
    reason = " ".join(["reason"] * (20 if high else 1))
    said: dict[str, object] = {
        "id": "12",
        "reason": reason,
        kind.key: kind.shown(seed["label"], seed["text"]),  # of one label a text the next line says it
        "label": label,
        "confused_with": label,
        "confidence": 0.95,
        "verdict": "accept",
        "kind": "hard",
        "weakness": "w01-1" if high else "",
        "evidence": ["0" * 16] * (4 if high else 1),
        "hypothesis": f"{reason} {reason}",
        "name": label,
    }
    weaknesses = strategy.shown if high else 1  # each is of one wrong text at least
    texts = outlook.texts(weaknesses if ask.role == "analyst" else ask.size)
    fields = list(ask.form.item.model_fields)
    own = outlook.task.fields
    items = [{field: {**said, **split(row["text"], own)}[field] for field in fields} for row in texts]
    return {ask.form.field: items}
