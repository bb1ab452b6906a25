"""Estimate the usage of a run: calls, prompt tokens and completion tokens of each stage and role."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tutelage.agents.request import Request
from tutelage.agents.teacher.reply_cap import reply_cap
from tutelage.graph.planning.requests import PlannedRun
from tutelage.prompts import ROLES, render
from tutelage.student.tasks.fields import split

Usage = NDArray[np.float64]  # the last axis has calls, prompt tokens and completion tokens
_REPAIRED = 0.1  # share of the calls that are repaired in the high estimate


def stages(planned: PlannedRun) -> Usage:
    """Return the usage of each stage, shape (stages, roles, 3), in the order of `stage_names`."""
    rounds = planned.task.budget.rounds
    nothing = np.zeros((len(ROLES), 3))
    first = planned.first_labels()
    if not rounds:
        return np.array([_usage(planned, first), nothing])
    last = planned.last_round()
    before = _usage(planned, first or planned.calibration())
    written = {number: planned.written(number) for number in range(1, last + 1)}
    usage = {count: _usage(planned, planned.round(count)) for count in set(written.values())}
    per_round = [usage[written[n]] if n <= last else nothing for n in range(1, rounds + 1)]
    return np.array([before, *per_round, _usage(planned, planned.control())])


def stage_names(planned: PlannedRun) -> list[str]:
    """Return the names of the stages."""
    first = "the calibration" if planned.splits.labelled else "the first labels"
    rounds = (f"round {number}" for number in range(1, planned.task.budget.rounds + 1))
    return [first, *rounds, "the labels of random texts at the end"]


def _usage(planned: PlannedRun, requests: list[Request[Any]]) -> Usage:
    """Return the usage of a stage, including votes and repairs, shape (roles, 3)."""
    part, high = planned.task.teacher, planned.end == "high"
    usage = np.zeros((len(ROLES), 3))
    for request in requests:
        usage[ROLES.index(request.role)] += _usage_of_call(planned, request)
    if high or not planned.task.model_specs()["labeler"].logprobs:
        usage[ROLES.index("labeler")] *= part.votes
    if high:  # a repair sends the prompt and the reply once more
        calls, prompts, replies = usage.T
        usage += _REPAIRED * np.stack([calls, prompts + replies, replies], 1)
    return usage


def _usage_of_call(planned: PlannedRun, request: Request[Any]) -> tuple[float, float, float]:
    """Return the usage of one call. A token counts as four characters in the low estimate. In the high one it
    counts as three bytes of UTF-8, and the JSON schema is sent too. For most scripts, tokenizers lie between
    these two (ours).
    """
    sent = "".join(render(request.role, request.payload, planned.task.prompts))
    reply = _reply(planned, request)
    if planned.end == "low":
        return 1, len(sent) // 4, len(json.dumps(reply, ensure_ascii=False)) // 4
    schema = json.dumps(request.schema.json_schema, ensure_ascii=False)
    written = json.dumps(reply, ensure_ascii=False, indent=1)
    cap = reply_cap(request, planned.task.model_specs()[request.role])  # no reply can be longer
    return 1, len((sent + schema).encode()) / 3, min(cap, len(written.encode()) / 3)


def _reply(planned: PlannedRun, request: Request[Any]) -> dict[str, object]:
    """Return a valid reply to the request, as short or as long as the estimate assumes."""
    high, strategy = planned.end == "high", planned.strategy
    task_type, extreme = planned.task.type, max if high else min
    label = extreme(planned.task.labels or [""], key=lambda label: len(label.encode()))
    seed = extreme(planned.known.seed, key=lambda row: len(row["label"]))
    reason = " ".join(["reason"] * (20 if high else 1))
    values: dict[str, object] = {
        "id": "12",
        "reason": reason,
        task_type.label_field: task_type.to_payload(
            seed["label"], seed["text"]
        ),  # overridden below if it is "label"
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
    weaknesses = strategy.analyst_examples if high else 1  # each needs at least one wrong text
    texts = planned.texts(weaknesses if request.role == "analyst" else request.size)
    keys = list(request.schema.item.model_fields)
    fields = planned.task.fields
    items = [{key: {**values, **split(row["text"], fields)}[key] for key in keys} for row in texts]
    return {request.schema.field: items}
