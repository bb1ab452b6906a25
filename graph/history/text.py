"""The history of a sample as text: lines for the terminal, and the sentences that the report shows too."""

import json
from collections.abc import Iterator, Sequence

from tutelage.agents.analyst import weakness_name
from tutelage.agents.brief import Brief
from tutelage.graph.history.evidence import ShownRow
from tutelage.graph.history.history import History, Statement
from tutelage.graph.history.trace import CallRecord, TracedSample
from tutelage.prompts import read_payload

SHORT = 400  # characters of a prompt or reply that are shown without --prompts
ROWS = 8  # rows shown to an agent that are listed without --prompts


def trace_lines(traced: TracedSample, *, whole: bool = False) -> Iterator[str]:
    """Yield a history as lines of text; with `whole`, all prompts and replies are complete."""
    found, calls = traced["history"], traced["calls"]
    for line in [*_head(found), *_origin(found, whole), *_said(found), *_use(found)]:
        yield _printable(line)
    yield "calls" if calls else "calls: none"
    for call in calls:
        yield from map(_printable, _call(call, whole))


def one_line(text: str, size: int) -> str:
    """Return a text on one line, cut to a number of characters, without control characters."""
    flat = _printable(" ".join(text.split()))
    return flat if len(flat) <= size else f"{flat[: size - 1]}…"


def _head(found: History) -> list[str]:
    lines = [f"sample {found['id']}", *_indented(found["text"], "  "), ""]
    if found["purpose"] == "sample":
        reason = f": {found['reason']}" if found["reason"] else ""
        lines.append(
            f"status   {found['status']}{reason} (round {found['round']}, attempt {found['attempt']})"
        )
    else:
        purposes = {
            "first_label": "one of the teacher's first labels, which serve as your own",
            "control": "drawn at random and labelled, to measure what choosing texts is worth",
        }
        lines.append(f"status   {purposes[found['purpose']]}")
    return [*lines, f"label    {found['label'] if found['label'] is not None else 'none'}{confidence(found)}"]


def confidence(found: History) -> str:
    """Return the confidence of a sample's label in brackets, with its source; "" if there is none."""
    if (value := found["confidence"]) is None:
        return ""
    if found["review"]:
        return f" ({found['review']})"
    sources = {
        "logprobs": "the probability of its tokens",
        "votes": "the share of votes",
        "stated": "as the teacher stated",
    }
    words = f" (confidence {value:.2f}, {sources.get(found['confidence_source'], '')}"
    raw = found["confidence_raw"]
    return f"{words}, {raw:.2f} before calibration)" if raw is not None and raw != value else f"{words})"


def origin_sentence(found: History) -> str:
    """Return a sentence that says where the text of a sample came from."""
    origin = found["origin"]
    if origin["how"] == "drawn":
        chosen = origin["uncertainty"]
        why = ""
        if chosen is not None:
            why = f", chosen with an uncertainty of {chosen + 0.0:.4g} (the higher, the less sure)"
        return f"drawn from your unlabelled texts, {origin['place'] or origin['file']}{why}"
    asked = f" for the label {origin['requested']}" if origin["requested"] else ""
    kind = f" (kind `{origin['kind']}`)" if origin["kind"] not in ("", "pool") else ""
    return f"written by the generator{asked}{kind}, in the call {origin['call'] or '(unknown)'}"


def training_sentence(found: History) -> str:
    """Return a sentence that says which students were trained on a sample."""
    training = found["training"]
    if not training["rounds"] and not training["delivered"]:
        ended = training["delivered"] is not None
        return "no student was trained on it" if ended else "no student has been trained on it yet"
    numbers = ", ".join(map(str, training["rounds"]))
    rounds = "round" if len(training["rounds"]) == 1 else "rounds"
    sentence = (
        f"the students of {rounds} {numbers} were trained on it" if numbers else "it was not used in a round"
    )
    if (fold := training["not_fold"]) is not None:
        sentence += f", except that of fold {fold}, whose rows the teacher saw with it"
    if training["rolled_back"]:
        sentence += "; this round was rolled back"
    also = "too" if numbers else "trained on it"
    delivered = {True: f" was {also}", False: " was not", None: ""}[training["delivered"]]
    return f"{sentence}; the delivered student{delivered}" if delivered else sentence


def nearest_sentence(found: History) -> str:
    """Return a sentence about the text that a sample is too similar to; "" if it was not compared."""
    if near := found["nearest"]:
        held_out = f"a held-out text ({near['held_out']}), which is not shown"
        own = f"sample {near['sample']}" if near["sample"] else "a text of yours"
        what = held_out if near["held_out"] else f"{own}: {near['text']}"
        return f"similarity {near['similarity']:.4f} to {what}"
    return "no other text was too similar" if found["screened"] else ""


def _origin(found: History, whole: bool) -> Iterator[str]:
    origin = found["origin"]
    yield from ("", "where the text came from", f"  {origin_sentence(found)}")
    if weakness := origin["weakness"]:
        pair = weakness_name(weakness["label"], weakness["confused_with"]) if weakness["label"] else ""
        named = f"{weakness['name']} ({pair})" if pair not in ("", weakness["name"]) else weakness["name"]
        yield f"  for the weakness {weakness['id']}: {named}"
        if weakness["hypothesis"]:
            yield f"    {weakness['hypothesis']}"
        if weakness["found_by"]:
            yield f"    found by the analyst, in the call {weakness['found_by']}"
        yield from _rows("    rows that are evidence for it", weakness["evidence"], whole)
    yield from _rows("  labelled rows that the generator was shown", origin["shown"], whole)


def _rows(title: str, rows: Sequence[ShownRow], whole: bool) -> Iterator[str]:
    if not rows:
        return
    yield f"{title} ({len(rows)})"
    margin = " " * (len(title) - len(title.lstrip()) + 2)
    for row in rows if whole else rows[:ROWS]:
        label = f"{row['label']} predicted as {row['predicted']}" if "predicted" in row else row["label"]
        text = row["text"] if whole else one_line(row["text"], 90)
        yield f"{margin}{row.get('place') or row['id']}  {label}  {text}"
    if not whole and len(rows) > ROWS:
        yield f"{margin}and {len(rows) - ROWS} more; --prompts lists all"


def _said(found: History) -> Iterator[str]:
    yield from ("", "labels and verdicts")
    for one in found["statements"]:
        yield f"  {statement_line(one)}"
    if found["review"]:
        yield f"  {found['review']}"
    if not (found["statements"] or found["review"]):
        yield "  none: no call labelled or judged it"
    if found["verdict"] == "undisputed":
        yield "  not judged by the critic: the students did not confidently dispute the label"


def statement_line(one: Statement) -> str:
    """Return what a call said about a sample, on one line."""
    stated = "" if one["stated"] is None else f", stated confidence {one['stated']:.2f}"
    where = "" if one["round"] is None else f"round {one['round']}, "
    reason = f": {one['reason']}" if one["reason"] else ""
    said = one["said"] or "nothing usable"
    return f"{one['role']} ({where}node {one['node']}, call {one['call']}) said {said}{stated}{reason}"


def _use(found: History) -> Iterator[str]:
    yield from ("", "near-duplicates")
    yield f"  {nearest_sentence(found) or 'not compared'}"
    yield from ("", "training")
    if (predicted := found["predicted_before"]) is not None:
        yield f"  before training, the student predicted {predicted}"
    yield from (f"  {training_sentence(found)}", "")


def _call(call: CallRecord, whole: bool) -> Iterator[str]:
    where = "" if call["round"] is None else f"round {call['round']}, "
    cost = "at an unknown price" if call["cost"] is None else f"cost {call['cost']:.4g}"
    tokens = f"{call['prompt_tokens']:,} + {call['completion_tokens']:,} tokens"
    paid = "" if call["paid"] else ", copied from an earlier run"
    yield f"  {call['id']}  {call['role']}, {where}node {call['node']}, {call['model']}"
    yield f"    {tokens}, {cost}{paid}"
    parts = [({"human": "prompt"}.get(role, role), text) for role, text in call["messages"]]
    parts.append(("reply", call["reply"]))
    if whole:
        for name, text in parts:
            yield from (f"    {name}", *_indented(text, "      "))
        return
    for name, text in parts:
        if name != "system":
            short = one_line(own_part(text) if name == "prompt" else text, SHORT)
            yield f"    {name:<7} {short}{' (--prompts shows all)' if short.endswith('…') else ''}"


def own_part(prompt: str, indent: int | None = None) -> str:
    """Return what a prompt holds beside the description of the task, which is the same in all calls."""
    try:
        payload = read_payload(prompt)
    except ValueError:
        return prompt
    own = {key: value for key, value in payload.items() if key not in Brief.__annotations__}
    return json.dumps(own, ensure_ascii=False, indent=indent)


def _indented(text: str, margin: str) -> list[str]:
    return [f"{margin}{line}" for line in text.split("\n")]


def _printable(line: str) -> str:
    """Return a line without control characters: texts could move the cursor of a terminal or recolour it."""
    return "".join(
        c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in line
    )
