"""The report's sections about texts: classes, weaknesses, samples."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, cast

from tutelage.graph.report.page import Html, bar, table, tag
from tutelage.graph.report.run_section import Run
from tutelage.graph.weaknesses import Card, rate
from tutelage.student.corpus import Sample, is_drawn
from tutelage.student.evaluation.evaluate import Report, wilson
from tutelage.student.tasks import BOUNDARY, INVENTED, MISSED, Kind

FATES = {
    "kept": "accepted by the critic, if one is asked; trained on, unless its round was rolled back",
    "duplicate": "too near to a text of its batch, to one kept before, or to a labelled text of yours",
    "leak": "too near to a text of gate or test, of which only the id is given here",
    "surplus": "more than was wanted: the student wanted these least, so no label was paid for",
    "refused": "labelled, and not accepted: by the critic, by a filter, or for want of agreement",
    "unlabelled": "the labeler gave it no label",
    "unjudged": "labelled, but the critic never saw it or left it out",
    "draft": "unfinished when the run stopped",
}
MARKS = {"open": "○ open", "cured": "✓ cured", "returned": "↩ returned"}
LARGE = 20  # with more labels nobody reads a confusion matrix
CARE = """A weakness is measured on all diagnose texts with its label, or those of its fold (of one that is
invented, on the others; where texts have no labels, on the ten nearest to those that show it); an error is
one answered as it says. It is cured while its errors are at most half of those it was found with, and
returned when they no longer are. Read the bars with care: small counts have wide 95 % intervals, and errors
that were chosen because they are high tend to fall by themselves (regression to the mean)."""


def classes_section(test: Report | None) -> list[Html]:
    """Each label on test, and what is taken for what."""
    if test is None:
        return [tag("p", "None: the test set has not been opened, or there is none.")]
    rows = [
        (c["label"], c["precision"], c["recall"], c["f1"], bar(0, c["f1"]), c["support"])
        for c in sorted(test["classes"], key=lambda c: c["f1"])
    ]
    told = tag("p", "The student that was left, on test; weakest label first.", class_="soft")
    listed = table(["Label", ">Precision", ">Recall", ">F1", "", ">In gold"], rows)
    if not test["confusion"]:
        return [told, listed] if rows else [tag("p", "None: this kind of task has no labels.")]
    small = len(rows) <= LARGE
    labels = [c["label"] for c in test["classes"]]
    return [told, listed, *(_matrix if small else _pairs_confused)(labels, test["confusion"])]


def _matrix(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> list[Html]:
    top = [tag("th", label, scope="col") for label in labels]
    lines = [tag("tr", tag("td", "gold ↓ answered →", class_="soft"), *top)]
    for i, row in enumerate(counts):
        cells = []
        for j, count in enumerate(row):
            kind = "none" if not count else "hit" if i == j else "miss"
            cells.append(tag("td", count, class_=kind, style=f"--part: {count / max(sum(row), 1):.2f}"))
        lines.append(tag("tr", tag("th", labels[i], scope="row"), *cells))
    return [tag("h3", "Confusion"), tag("div", tag("table", *lines, class_="heat"), class_="wide")]


def _pairs_confused(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> list[Html]:
    wrong = [
        (gold, answer, counts[i][j], f"{counts[i][j] / sum(counts[i]):.0%}")
        for i, gold in enumerate(labels)
        for j, answer in enumerate(labels)
        if i != j and counts[i][j]
    ]
    worst = sorted(wrong, key=lambda row: -row[2])[:LARGE]
    head = ["Gold label", "Answered", ">Texts", ">Of the gold label"]
    return [tag("h3", f"The {len(worst)} most confused pairs"), table(head, worst)]


def weaknesses_section(cards: Sequence[Card]) -> list[Html]:
    """The cards, each with its errors before and after."""
    if not cards:
        return [tag("p", "None: no round looked for weaknesses, or none was found.")]
    counts = Counter[str](card["status"] for card in cards)
    total = ", ".join(f"{counts[status]} {status}" for status in MARKS if counts[status])
    grid = tag("div", *(_card(card) for card in cards), class_="cards")
    return [tag("p", tag("b", f"{total}."), f" {CARE}", class_="soft"), grid]


def _card(card: Card) -> Html:
    exams = [("when found", card["errors"]), *((f"after round {r}", errors) for r, errors in card["history"])]
    size = card["support"]
    rows = [(when, rate(errors, size), bar(*wilson(errors, size))) for when, errors in exams]
    origin = f"{card['id']} of round {card['round']}; {card['ordered']} texts ordered, {card['kept']} kept"
    return tag(
        "article",
        tag("span", MARKS[card["status"]], class_="mark"),
        tag("h3", card["name"]),
        *_slip(card),
        tag("p", card["hypothesis"]),
        tag("ul", *(tag("li", text) for text in card["examples"])),
        table(["Exam", "Errors", "0 – 100 %"], rows),
        tag("p", origin, class_="soft"),
        class_=card["status"],
        id=card["id"],
    )


def _slip(card: Card) -> list[Html]:
    """What is taken for what; nothing where a task has no labels."""
    label, other = (tag("b", card[name]) for name in ("label", "confused_with"))
    if not card["label"]:
        return []
    words = {
        MISSED: (label, " is missed"),
        INVENTED: (label, " is invented"),
        BOUNDARY: (label, " with other borders"),
    }
    return [tag("p", *words.get(card["confused_with"], (label, " answered as ", other)))]


def samples_section(run: Run) -> list[Html]:
    """Samples by fate, with examples of each."""
    rows = [(fate, run.fates[fate], why) for fate, why in FATES.items() if run.fates[fate]]
    parts = [table(["Fate", ">Samples", "<What it means"], rows) if rows else tag("p", "None yet.")]
    if run.samples is None:
        return [*parts, tag("p", "The texts are written out when the run ends.", class_="soft")]
    for fate in FATES:
        found = [sample for sample in run.samples if sample["status"] == fate]
        if found:
            parts.append(
                _examples(
                    run.kind, list(run.about["task"]["labels"]), fate, found, 20 if fate == "kept" else 10
                )
            )
    return parts


def _examples(kind: Kind, labels: Sequence[str], fate: str, found: Sequence[Sample], limit: int) -> Html:
    """Samples spread evenly over the run, without the columns that none of them fills."""
    size = min(limit, len(found))
    rows = [_sample(kind, labels, found[i * len(found) // size]) for i in range(size)]
    filled = [name for name in rows[0] if any(row[name] not in (None, "") for row in rows)]
    listed = table(filled, [[row[name] for name in filled] for row in rows])
    return tag("details", tag("summary", f"{fate}: {size} of {len(found):,}"), listed)


def _given(kind: Kind, labels: Sequence[str], s: Sample) -> Html | str | None:
    """The label a sample was given, in words; marked where what it was written for is not in it."""
    stands = cast(Mapping[str, Any], s).get(kind.key)
    if stands is None:
        return None
    label = kind.read(stands, s["text"], labels)
    words, drawn = kind.words(label, s["text"]), is_drawn(s)
    return words if drawn or s["requested"] in kind.groups(label) else tag("span", words, class_="mark warn")


def _sample(kind: Kind, labels: Sequence[str], s: Sample) -> dict[str, object]:
    confidence, near = s.get("confidence"), s.get("neighbour")
    stated = None if confidence is None else f"{confidence:.2f} {s.get('confidence_source', '')}"
    return {
        ">Round": s["round"],
        "<Text": s["text"],
        "Requested": s["requested"],
        "Given": _given(kind, labels, s),
        "Confidence": stated,
        "Weakness": tag("a", s["weakness"], href=f"#{s['weakness']}") if s["weakness"] else "",
        "<Reason": s.get("reason"),
        "<Neighbour": f"sealed text {near}" if near and s["status"] == "leak" else near,
        ">Similarity": s.get("similarity"),
    }
