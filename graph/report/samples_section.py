"""The report's sections about classes, weaknesses and samples."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, cast

from tutelage.graph.report.page import Html, bar, table, tag
from tutelage.graph.report.run_section import Run
from tutelage.graph.weaknesses import Card, rate
from tutelage.student.corpus import Sample, is_drawn
from tutelage.student.evaluation.evaluate import Report, wilson
from tutelage.student.tasks.task_type import BOUNDARY, INVENTED, MISSED, TaskType

STATUSES = {
    "kept": "accepted by the critic, if there is one; used for training unless its round was rolled back",
    "duplicate": "too similar to a text of its batch, to a kept sample, or to a labelled text of yours",
    "leak": "too similar to a text of gate or test; only the id of that text is shown here",
    "surplus": "more texts than needed: the student ranked these last, so no label was paid for",
    "refused": "labelled but not accepted: by the critic, by a filter, or because two labels disagree",
    "unlabelled": "the labeler gave no label",
    "unjudged": "labelled, but the critic gave no verdict",
    "draft": "still unfinished when the run stopped",
}
MARKS = {"open": "○ open", "cured": "✓ cured", "returned": "↩ returned"}
LARGE = 20  # a confusion matrix of more labels is too large to read
CARE = """The errors of a weakness are counted on all diagnose texts with its label (with folds: on those of
its fold). For an invented label they are counted on the other texts; in a task without labels, on the ten
texts that are nearest to its examples. An error is a text that is predicted in the way that the weakness
describes. A weakness is cured while its errors are at most half of their number when it was found, and
returned if they rise above that again. Read the bars with care: small counts have wide 95 % intervals, and
error counts that were selected for being high tend to fall by themselves (regression to the mean)."""


def classes_section(test: Report | None) -> list[Html]:
    """Show the metrics of each label on test, and which labels are confused with which."""
    if test is None:
        return [tag("p", "None: the test set has not been opened, or there is none.")]
    rows = [
        (c["label"], c["precision"], c["recall"], c["f1"], bar(0, c["f1"]), c["support"])
        for c in sorted(test["classes"], key=lambda c: c["f1"])
    ]
    caption = tag("p", "The final student on test, the label with the lowest F1 first.", class_="soft")
    listed = table(["Label", ">Precision", ">Recall", ">F1", "", ">Support"], rows)
    if not test["confusion"]:
        return [caption, listed] if rows else [tag("p", "None: this task type has no labels.")]
    small = len(rows) <= LARGE
    labels = [c["label"] for c in test["classes"]]
    return [caption, listed, *(_matrix if small else _pairs_confused)(labels, test["confusion"])]


def _matrix(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> list[Html]:
    top = [tag("th", label, scope="col") for label in labels]
    lines = [tag("tr", tag("td", "gold ↓ predicted →", class_="soft"), *top)]
    for i, row in enumerate(counts):
        cells = []
        for j, count in enumerate(row):
            kind = "none" if not count else "hit" if i == j else "miss"
            cells.append(tag("td", count, class_=kind, style=f"--part: {count / max(sum(row), 1):.2f}"))
        lines.append(tag("tr", tag("th", labels[i], scope="row"), *cells))
    return [tag("h3", "Confusion matrix"), tag("div", tag("table", *lines, class_="heat"), class_="wide")]


def _pairs_confused(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> list[Html]:
    wrong = [
        (gold, predicted, counts[i][j], f"{counts[i][j] / sum(counts[i]):.0%}")
        for i, gold in enumerate(labels)
        for j, predicted in enumerate(labels)
        if i != j and counts[i][j]
    ]
    worst = sorted(wrong, key=lambda row: -row[2])[:LARGE]
    head = ["Gold label", "Predicted label", ">Texts", ">Share of the gold label"]
    return [tag("h3", f"The {len(worst)} most confused pairs"), table(head, worst)]


def weaknesses_section(cards: Sequence[Card]) -> list[Html]:
    """Show each weakness card with its errors when found and after later rounds."""
    if not cards:
        return [tag("p", "None: no weakness was found, or none was looked for.")]
    counts = Counter[str](card["status"] for card in cards)
    total = ", ".join(f"{counts[status]} {status}" for status in MARKS if counts[status])
    grid = tag("div", *(_card(card) for card in cards), class_="cards")
    return [tag("p", tag("b", f"{total}."), f" {CARE}", class_="soft"), grid]


def _card(card: Card) -> Html:
    later = [(f"after round {round}", errors) for round, errors in card["history"]]
    evaluations = [("when found", card["errors"]), *later]
    size = card["support"]
    rows = [(when, rate(errors, size), bar(*wilson(errors, size))) for when, errors in evaluations]
    origin = (
        f"{card['id']} of round {card['round']}; {card['requested']} texts requested, {card['kept']} kept"
    )
    return tag(
        "article",
        tag("span", MARKS[card["status"]], class_="mark"),
        tag("h3", card["name"]),
        *_confusion(card),
        tag("p", card["hypothesis"]),
        tag("ul", *(tag("li", text) for text in card["examples"])),
        table(["Evaluated", "Errors", "0 – 100 %"], rows),
        tag("p", origin, class_="soft"),
        class_=card["status"],
        id=card["id"],
    )


def _confusion(card: Card) -> list[Html]:
    """Say which label is confused with which. Empty for a task without labels."""
    label, other = (tag("b", card[name]) for name in ("label", "confused_with"))
    if not card["label"]:
        return []
    words = {
        MISSED: (label, " is missed"),
        INVENTED: (label, " is invented"),
        BOUNDARY: (label, " with a wrong boundary"),
    }
    return [tag("p", *words.get(card["confused_with"], (label, " predicted as ", other)))]


def samples_section(run: Run) -> list[Html]:
    """Show the number of samples of each status, with examples."""
    counts = run.status_counts
    rows = [(status, counts[status], meaning) for status, meaning in STATUSES.items() if counts[status]]
    parts = [table(["Status", ">Samples", "<Meaning"], rows) if rows else tag("p", "None yet.")]
    if run.samples is None:
        return [*parts, tag("p", "The texts are listed here when the run ends.", class_="soft")]
    labels = list(run.about["task"]["labels"])
    for status in STATUSES:
        if samples := [sample for sample in run.samples if sample["status"] == status]:
            parts.append(_examples(run.task_type, labels, status, samples, 20 if status == "kept" else 10))
    return parts


def _examples(
    task_type: TaskType, labels: Sequence[str], status: str, samples: Sequence[Sample], limit: int
) -> Html:
    """Show samples spread evenly over the run. Columns that are empty for all of them are left out."""
    size = min(limit, len(samples))
    rows = [_sample(task_type, labels, samples[i * len(samples) // size]) for i in range(size)]
    filled = [name for name in rows[0] if any(row[name] not in (None, "") for row in rows)]
    listed = table(filled, [[row[name] for name in filled] for row in rows])
    return tag("details", tag("summary", f"{status}: {size} of {len(samples):,}"), listed)


def _label(task_type: TaskType, labels: Sequence[str], s: Sample) -> Html | str | None:
    """Return a sample's label as text, highlighted if it lacks the label that the text was written for."""
    value = cast(Mapping[str, Any], s).get(task_type.label_field)
    if value is None:
        return None
    label = task_type.parse_label(value, s["text"], labels)
    words, drawn = task_type.to_text(label, s["text"]), is_drawn(s)
    return (
        words
        if drawn or s["requested"] in task_type.labels_in(label)
        else tag("span", words, class_="mark warn")
    )


def _sample(task_type: TaskType, labels: Sequence[str], s: Sample) -> dict[str, object]:
    confidence, neighbour = s.get("confidence"), s.get("neighbour")
    with_source = None if confidence is None else f"{confidence:.2f} {s.get('confidence_source', '')}"
    return {
        ">Round": s["round"],
        "<Text": s["text"],
        "Requested": s["requested"],
        "Label": _label(task_type, labels, s),
        "Confidence": with_source,
        "Weakness": tag("a", s["weakness"], href=f"#{s['weakness']}") if s["weakness"] else "",
        "<Reason": s.get("reason"),
        "<Nearest text": f"held-out text {neighbour}" if neighbour and s["status"] == "leak" else neighbour,
        ">Similarity": s.get("similarity"),
    }
