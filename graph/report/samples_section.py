"""The report's sections about classes, weaknesses and samples."""

from collections import Counter
from collections.abc import Sequence

from tutelage.graph.history.evidence import evidence_for
from tutelage.graph.history.records import Records
from tutelage.graph.report.page import Html, bar, table, tag
from tutelage.graph.report.run_section import Run
from tutelage.graph.report.sample_list import Listed, sample_list
from tutelage.graph.weaknesses import Card, rate
from tutelage.student.evaluation.evaluate import Report, wilson
from tutelage.student.tasks.task_type import BOUNDARY, INVENTED, MISSED

STATUSES = {
    "kept": "accepted by the critic, if there is one; used for training unless its round was rolled back",
    "duplicate": "too similar to a text of its batch, to a kept sample, or to a labelled text of yours",
    "leak": "too similar to a text of test or gate, which no student may be trained on; its id is shown",
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


def weaknesses_section(records: Records) -> list[Html]:
    """Show each weakness card with its errors when found and after later rounds, and its evidence."""
    cards = records.cards
    if not cards:
        return [tag("p", "None: no weakness was found, or none was looked for.")]
    counts = Counter[str](card["status"] for card in cards)
    total = ", ".join(f"{counts[status]} {status}" for status in MARKS if counts[status])
    grid = tag("div", *(_card(records, card) for card in cards), class_="cards")
    return [tag("p", tag("b", f"{total}."), f" {CARE}", class_="soft"), grid]


def _card(records: Records, card: Card) -> Html:
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
        *_evidence(records, card),
        class_=card["status"],
        id=card["id"],
    )


def _evidence(records: Records, card: Card) -> list[Html]:
    """List the rows that the analyst cited, and link to its call."""
    call, rows = evidence_for(records, card["hypothesis"])
    if not call:
        return []
    link = tag("p", "Found in the call ", tag("a", call.id, href=f"#c-{call.id}"), ".")
    lines = [
        tag("li", row["text"], f" ({row['label']}, predicted {row.get('predicted', '')})") for row in rows
    ]
    count = f"{len(rows)} {'row' if len(rows) == 1 else 'rows'}"
    return [tag("details", tag("summary", f"Evidence: {count}"), tag("ul", *lines), link)]


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


LEFT_OUT = """Texts that the teacher labelled before the first round, or at random for the comparison, are not
listed here; the command tutelage trace shows their history."""


def samples_section(run: Run, records: Records, listed: Sequence[Listed]) -> list[Html]:
    """Show the number of samples of each status, and list them."""
    counts = Counter[str](sample["status"] for sample in records.samples) or run.status_counts
    rows = [(status, counts[status], meaning) for status, meaning in STATUSES.items() if counts[status]]
    counted = table(["Status", ">Samples", "<Meaning"], rows) if rows else tag("p", "None yet.")
    return [counted, tag("p", LEFT_OUT, class_="soft"), *sample_list(records, listed)]
