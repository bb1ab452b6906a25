"""The report's section about the teacher: its accuracy and the calibration of its confidence."""

from collections.abc import Mapping

from tutelage.agents.teacher.calibration import Calibration
from tutelage.graph.report.charts import reliability_plot
from tutelage.graph.report.page import Html, pairs, table, tag
from tutelage.graph.report.run_section import share
from tutelage.graph.review.apply import ReviewCounts

SOURCES = {
    "logprobs": "the probability of the label's tokens",
    "votes": "the share of votes that agree",
    "stated": "the confidence that the teacher states",
}
DONE = {
    "accept": "accepted",
    "relabel": "relabelled",
    "refuse": "refused",
    "skip": "skipped",
    "unseen": "not looked at",
}
METHOD = """Before the first round the labeler labelled some of your texts without seeing your labels. If the
task has several labels, the texts were drawn evenly from all of them. Temperature scaling divides the
logarithms of the confidence by T: above 1 the teacher was overconfident, below 1 underconfident. The
expected calibration error (ECE) is the mean distance between confidence and accuracy over ten bins. The
calibrated values are cross-fitted: each text is scaled with a T that was fitted without it. The size of a
point shows the number of texts in its bin; lines are 95 % intervals."""


def teacher_section(
    measured: Calibration | None, counters: Mapping[str, object], review: ReviewCounts | None
) -> list[Html]:
    """Show the measurements of calibration.json, what a person found in the review, and counts of the
    teacher's calls.
    """
    counts = {name.replace("_", " ").capitalize(): count for name, count in counters.items()}
    counted = [*_review(review), *([tag("h3", "Calls"), pairs(counts)] if counts else [])]
    if measured is None:
        return [
            tag("p", "Not measured: this run did not compare the teacher with your labels."),
            *counted,
        ]
    if measured["accuracy"] is None:
        return [tag("p", f"Not measured: {measured['note']}."), *counted]
    notes = [tag("p", f"{measured['note']}.", class_="note")] if measured["note"] else []
    care = (
        f"An ECE on few texts, such as these {measured['rows']:,}, is biased upwards: the accuracy of a bin"
        " varies by chance, so that even a perfectly calibrated confidence would have an ECE above 0."
    )
    return [
        pairs(_facts(measured, measured["accuracy"])),
        *notes,
        *_baselines(measured),
        reliability_plot(measured),
        tag("p", METHOD, " ", care, class_="soft"),
        *counted,
    ]


def review_sentence(found: ReviewCounts) -> str:
    """Return a sentence about what a person did with samples and rows."""
    parts = [
        f"{title}: {', '.join(f'{count} {DONE[action]}' for action, count in counts.items())}"
        for title, counts in (("samples", found["samples"]), ("rows of yours", found["own_rows"]))
        if counts
    ]
    return f"judged in the review: {'; '.join(parts)}"


def _review(found: ReviewCounts | None) -> list[Html]:
    """Say what a person did with samples and rows, and how often the teacher was right at random."""
    if found is None:
        return []
    facts: dict[str, object] = {}
    for title, counts in (("Samples", found["samples"]), ("Your own rows", found["own_rows"])):
        if counts:
            facts[title] = ", ".join(f"{count} {DONE[action]}" for action, count in counts.items())
    if found["drawn"]:
        low, high = found["interval"]
        facts["Teacher's label found right"] = (
            f"{found['right']} of the {found['drawn']} kept samples that were drawn at random and got a label"
            f" (95 % interval {low:.0%} to {high:.0%})"
        )
    return [tag("h3", "Review by a person"), pairs(facts)]


def _baselines(measured: Calibration) -> list[Html]:
    """Compare the teacher with a student trained on the user's labels alone, on the same rows."""
    if (found := measured.get("baselines")) is None:
        return []
    scores = {
        "the teacher": found["teacher"],
        "a student trained on your labels alone": found["student"],
        "always predicting the most frequent label": found["majority_class"],
    }
    rows = [(name, score, f"{low:.3f} to {high:.3f}") for name, (score, low, high) in scores.items()]
    caption = f"Scores on the same {found['rows']:,} of your own rows; the student was not trained on them:"
    return [tag("p", caption), table(["", f">{found['metric']}", ">95 % interval"], rows)]


def _facts(measured: Calibration, accuracy: float) -> dict[str, object]:
    rows = measured["rows"]
    return {
        "Correct on your texts": f"{round(accuracy * rows):,} of {rows:,}",
        **({"Of these, judged in the review": reviewed} if (reviewed := measured.get("reviewed")) else {}),
        "Accuracy, 95 % interval": share(accuracy, rows),
        "Source of the confidence": SOURCES.get(measured["source"], measured["source"]),
        "Temperature T": f"{measured['temperature']:.2f}",
        "ECE, uncalibrated": measured["ece_before"],
        "ECE, calibrated": measured["ece_after"],
    }
