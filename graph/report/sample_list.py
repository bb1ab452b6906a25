"""The report's list of samples, each with its history. page.js filters it."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tutelage.graph.history.history import History, Statement, history
from tutelage.graph.history.records import Found, Records
from tutelage.graph.history.text import nearest_sentence
from tutelage.graph.report.embedding_map import MOST, spread
from tutelage.graph.report.page import Html, cut, cut_to_fit, fitting_length, tag
from tutelage.student.corpus import Sample

TEXTS, WORDS = 800_000, 600_000  # bytes of all texts in the list, and of all labels and reasons
HOW = """Open a sample to see where its text came from, what each call said about it, and which students were
trained on it. The calls are listed below. Open samples and calls are printed, the others are not. A
history with whole prompts: """


class Listed(NamedTuple):
    """A listed sample: its history, its labels (several in some task types), and the id of its element."""

    history: History
    labels: list[str]
    element: str


def listed_samples(records: Records) -> list[Listed]:
    """Return the samples that the report lists, with their histories."""
    return [
        Listed(history(records, Found("sample", sample)), _labels(records, sample), f"s{number}")
        for number, sample in enumerate(spread(records.samples, MOST))
    ]


def _labels(records: Records, sample: Sample) -> list[str]:
    return records.task_type.labels_in(sample["label"]) if "label" in sample else []


def sample_list(records: Records, listed: Sequence[Listed]) -> list[Html]:
    """Return the filters and the list."""
    if not listed:
        return []
    names = list(records.about["task"]["labels"])
    texts = cut_to_fit([one.history["text"] for one in listed], TEXTS)
    longest = fitting_length([word for one in listed for word in _words(one.history)], WORDS)
    cards = {card["id"] for card in records.cards}
    numbers = {label: str(number) for number, label in enumerate([*names, *records.task_type.no_label])}
    command = tag("code", f"tutelage trace {records.folder.path} ID")
    parts = [tag("p", HOW, command, class_="soft")]
    if len(records.samples) > MOST:
        which = f"{MOST:,} of {len(records.samples):,} samples are listed, spread evenly over the run"
        parts.append(tag("p", f"{which}; {records.folder.samples.name} has all."))
    rows = [_sample(one, text, longest, numbers, cards) for one, text in zip(listed, texts, strict=True)]
    return [
        *parts,
        _filters(listed, numbers),
        tag("div", *rows, class_="list", role="group", aria_label="samples"),
    ]


def _words(found: History) -> Iterable[str]:
    """Yield the parts of a history, beside the text, that can be long."""
    for statement in found["statements"]:
        yield from (statement["said"], statement["reason"])
    near = [nearest_sentence(found)] if found["nearest"] else []
    yield from (found["label"] or "", found["reason"], found["predicted_before"] or "", *near)


def _filters(listed: Sequence[Listed], numbers: dict[str, str]) -> Html:
    """Return the form. It is hidden until page.js runs, because it does nothing without."""
    statuses = sorted({one.history["status"] for one in listed})
    rounds = sorted({one.history["round"] for one in listed})
    found = [one.history["origin"]["weakness"] for one in listed]
    weaknesses = sorted({weakness["id"] for weakness in found if weakness})
    used = {label for one in listed for label in one.labels}
    labels = [
        tag("option", label or "no label of the task", value=label or "-", data_n=number)
        for label, number in numbers.items()
        if label in used
    ]
    choices = {
        "status": [tag("option", status) for status in statuses],
        "label": labels,
        "weakness": [tag("option", weakness) for weakness in weaknesses],
        "round": [tag("option", round) for round in rounds],
    }
    fields = [
        tag(
            "label",
            f"{name.capitalize()} ",
            tag("select", Html('<option value="">any</option>'), *options, name=name),
        )
        for name, options in choices.items()
    ]
    search = Html('<label>Text <input name="text" type="search" size="24"></label>')
    count = Html('<output id="count" aria-live="polite"></output>')
    return tag(
        "form", *fields, search, tag("button", "Reset", type="reset"), count, id="filters", hidden="hidden"
    )


def _sample(one: Listed, text: str, longest: int, numbers: dict[str, str], cards: set[str]) -> Html:
    found, weakness = one.history, one.history["origin"]["weakness"]
    good = "good" if found["status"] == "kept" else None
    summary = (
        tag("span", found["status"], class_=good),
        tag("span", cut(found["label"] or "", longest)),
        tag("span", str(found["round"])),
        tag("span", text),
    )
    return tag(
        "details",
        tag("summary", *summary),
        tag("div", *_lines(_facts(found, longest, cards))),
        class_="s",
        id=one.element,
        data_l=" ".join(numbers[label] for label in one.labels if label in numbers),
        data_w=weakness["id"] if weakness else None,
    )


def _lines(facts: Iterable[tuple[str, Sequence[object]]]) -> list[object]:
    """Return facts as lines, each with its name in bold. Elements without attributes keep the page small."""
    return [part for name, words in facts for part in (tag("b", name), " ", *words, Html("<br>"))]


def _facts(found: History, longest: int, cards: set[str]) -> Iterable[tuple[str, Sequence[object]]]:
    yield "Id", [found["id"]]
    yield "Text", _origin(found, cards)
    for statement in found["statements"]:
        yield "Said", [*_statement(statement, found, longest)]
    if found["review"]:
        yield "Review", [found["review"]]
    elif found["confidence"] is not None:
        yield "Confidence", [_confidence(found)]
    if found["reason"] and found["reason"] not in {one["reason"] for one in found["statements"]}:
        yield "Reason", [cut(found["reason"], longest)]
    if found["nearest"]:
        yield "Nearest", [cut(nearest_sentence(found), longest)]
    if found["status"] == "kept":
        yield "Trained", [_training(found)]
    if (before := found["predicted_before"]) is not None:
        yield "Predicted before", [cut(before, longest)]


def _confidence(found: History) -> str:
    raw, value = found["confidence_raw"], found["confidence"]
    before = "" if raw is None or raw == value else f", {raw:.2f} before calibration"
    return f"{value:.2f} ({found['confidence_source']}{before})"


def _training(found: History) -> str:
    """Say which students were trained on a kept sample."""
    training = found["training"]
    rounds = ", ".join(map(str, training["rounds"]))
    students = [f"in round{'s' if ',' in rounds else ''} {rounds}"] if rounds else []
    if training["rolled_back"]:
        students.append("which was rolled back")
    if training["not_fold"] is not None:
        students.append(f"not the student of fold {training['not_fold']}")
    delivered = {True: ["the delivered student"], False: ["not the delivered student"], None: []}
    return ", ".join([*students, *delivered[training["delivered"]]]) or "not yet"


def _origin(found: History, cards: set[str]) -> list[object]:
    origin, weakness = found["origin"], found["origin"]["weakness"]
    if origin["how"] == "drawn":
        chosen = origin["uncertainty"]
        return ["from your unlabelled texts", "" if chosen is None else f", uncertainty {chosen:.3g}"]
    words: list[object] = ["written by the ", _link("generator", origin["call"], found)]
    if origin["requested"]:
        words.append(f" for {origin['requested']}")
    if weakness:
        name = weakness["id"]
        words += [" and ", tag("a", name, href=f"#{name}") if name in cards else name]
    return words


def _statement(one: Statement, found: History, longest: int) -> Iterable[object]:
    yield _link(one["role"], one["call"], found)
    yield f": {cut(one['said'], longest) or 'nothing usable'}"
    yield "" if one["stated"] is None else f" ({one['stated']:.2f})"
    yield f", {cut(one['reason'], longest)}" if one["reason"] else ""


def _link(words: str, call: str, found: History) -> Html | str:
    return tag("a", words, href=f"#c-{call}") if call in found["calls"] else f"{words} (call {call})"
