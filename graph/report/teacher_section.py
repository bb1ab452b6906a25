"""The report's section about the teacher: how often it was right, and what its confidence is worth."""

from collections.abc import Mapping

from tutelage.agents.teacher.calibration import Calibration
from tutelage.graph.report.charts import reliability_plot
from tutelage.graph.report.page import Html, pairs, table, tag
from tutelage.graph.report.run_section import share

SOURCES = {
    "logprobs": "the probability of the label's tokens",
    "votes": "the share of votes that agree",
    "stated": "what the teacher says of itself",
}
HOW = """Before the first round the labeler was given diagnose texts without their labels, evenly drawn from
all labels where there are several. Temperature scaling divides the logarithms of its confidence by T: above
1 the teacher was too sure of itself, below 1 too modest. The expected calibration error (ECE) is the mean
distance of confidence from accuracy over ten bins. What is called calibrated is cross-fitted: each text is
scaled by a T that was fitted without it. Points are as large as their bins are full; lines are 95 %
intervals."""


def teacher_section(measured: Calibration | None, counters: Mapping[str, object]) -> list[Html]:
    """What calibration.json says, and how the teacher's calls went."""
    names = {name.replace("_", " ").capitalize(): count for name, count in counters.items()}
    counted = [tag("h3", "Its calls"), pairs(names)] if names else []
    if measured is None:
        return [
            tag("p", "Not measured: this run compared no answer of the teacher with your labels."),
            *counted,
        ]
    if measured["accuracy"] is None:
        return [tag("p", f"Not measured: {measured['note']}."), *counted]
    notes = [tag("p", f"{measured['note']}.", class_="note")] if measured["note"] else []
    care = (
        f"An ECE on few texts, such as these {measured['rows']:,}, is biased upwards: chance alone moves the"
        " accuracy of a bin, and a perfect confidence would not be given 0."
    )
    return [
        pairs(_facts(measured, measured["accuracy"])),
        *notes,
        *_rivals(measured),
        reliability_plot(measured),
        tag("p", HOW, " ", care, class_="soft"),
        *counted,
    ]


def _rivals(measured: Calibration) -> list[Html]:
    """The teacher beside the student it would teach, on the same rows."""
    if (found := measured.get("rivals")) is None:
        return []
    called = {
        "the teacher": found["teacher"],
        "a student of your labels alone": found["student"],
        "naming the commonest label always": found["commonest"],
    }
    rows = [(name, score, f"{low:.3f} to {high:.3f}") for name, (score, low, high) in called.items()]
    told = f"On the same {found['rows']:,} of your own rows, which that student has not learnt:"
    return [tag("p", told), table(["", f">{found['metric']}", ">95 %"], rows)]


def _facts(measured: Calibration, right: float) -> dict[str, object]:
    rows = measured["rows"]
    return {
        "Right on your texts": f"{round(right * rows):,} of {rows:,}",
        "Accuracy, 95 % interval": share(right, rows),
        "Its confidence is": SOURCES.get(measured["source"], measured["source"]),
        "Temperature T": f"{measured['temperature']:.2f}",
        "ECE as given": measured["ece_before"],
        "ECE calibrated": measured["ece_after"],
    }
