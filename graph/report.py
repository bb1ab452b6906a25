"""The report: a run folder as one HTML page for people, which needs no network and no script."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from html import escape
from io import StringIO
from itertools import accumulate
from string import Template
from typing import Any

from tutelage.agents.journal import Spent
from tutelage.graph.cards import Card, rate, read_cards
from tutelage.graph.folder import RoundLine, RunFolder
from tutelage.prompts import ROLES
from tutelage.student.corpus import Sample
from tutelage.student.exam import Report, wilson

FATES = {
    "kept": "accepted by the critic; trained on, unless its round was rolled back",
    "duplicate": "too near to a text of its batch, to one kept before, or to a seed or diagnose text",
    "leak": "too near to a gate or test text; of that one only the id is known here",
    "sure": "more than was wanted: the student doubted these least, so no label was paid for",
    "refused": "labelled, but the critic did not accept it or disagreed with the labeler twice",
    "unlabelled": "the labeler gave no label",
    "draft": "unfinished when the run stopped",
}
METRICS = {"macro_f1": "macro-F1"}
MARKS = {"open": "○ open", "cured": "✓ cured", "returned": "↩ returned"}
LARGE = 20  # labels beyond which a confusion matrix is no longer read


class Html(str):
    """Text that is HTML already; any other text is escaped when it is put into a tag."""


@dataclass(frozen=True)
class _Run:
    """What stands in a run folder; `samples` is None until the run ends."""

    folder: RunFolder
    about: dict[str, Any]
    rounds: list[RoundLine]
    cards: list[Card]
    samples: list[Sample] | None

    @property
    def best(self) -> int | None:
        accepted = [line["round"] for line in self.rounds if line["accepted"]]
        return self.about.get("best", accepted[-1] if accepted else None)

    @property
    def test(self) -> Report | None:
        return self.about.get("test")

    @property
    def spent(self) -> Spent:
        """Of the whole run, or of the rounds that are over."""
        return self.about.get("spent") or _sum_spent(self.rounds)

    def scores(self, exam: str) -> dict[int, float]:
        """Round -> score of its student; empty where there is no such exam or it is not opened yet."""
        if exam == "test":
            return dict(zip((x["round"] for x in self.rounds), self.about.get("test_by_round") or [], strict=False))
        found = {x["round"]: x["metric"] if exam == "diagnose" else x["gate"] for x in self.rounds}
        return {round: score for round, score in found.items() if score is not None}


def write_report(folder: RunFolder, control: RunFolder | None = None) -> None:
    """Write `report.html` of a run, finished or not, from its folder alone.

    Args:
        folder: the run; its report is replaced.
        control: a run of another strategy on the same task, shown beside it.

    Raises:
        InputError: one of them is not a run folder.
    """
    run, other = _read(folder), _read(control) if control else None
    sections = {
        "Learning curve": [_curve(run, other), *_against(run, other)],
        "Rounds": _rounds(run, other),
        "Classes": _classes(run.test),
        "Weaknesses": _weaknesses(run.cards),
        "Samples": _samples(run),
        "Leak check": _leaks(run.about),
        "Cost": _cost(run),
        "Configuration": _configuration(run.about),
    }
    ids = {title: title.lower().replace(" ", "-") for title in sections}
    links = [_tag("a", title, href=f"#{name}") for title, name in ids.items()]
    body = [_tag("section", _tag("h2", t), *parts, id=ids[t]) for t, parts in sections.items()]
    title = f"{run.about['task']['name']} · tutelage"
    page = PAGE.substitute(
        title=escape(title), style=STYLE, body=_join([_headline(run), _tag("nav", *links), *body], "\n")
    )
    folder.write(folder.report, page)


def _read(folder: RunFolder) -> _Run:
    samples = None
    if folder.samples.exists():
        with folder.samples.open(encoding="utf-8") as file:  # splitlines would cut at U+2028 inside a text
            samples = [json.loads(line) for line in file]
    return _Run(folder, folder.about(), folder.read_rounds(), read_cards(folder), samples)


def _headline(run: _Run) -> Html:
    about, task = run.about, run.about["task"]
    counts = _fates(run)
    facts: dict[str, object] = {
        "Stopped because": about.get("stop", "not stopped yet"),
        "Strategy": about["strategy"]["name"],
        "Teacher": ", ".join(sorted(set(_teachers(task).values()))),
        "Teacher calls": run.spent["calls"],
        "Tokens": f"{run.spent['prompt_tokens']:,} in, {run.spent['completion_tokens']:,} out",
        "Cost": _money(run.spent["cost"]),
        "Samples kept": f"{counts['kept']:,} of {counts.total():,} written",
    }
    if run.test:
        facts["Test accuracy"] = f"{_accuracy(run.test)}, {run.test['size']:,} texts"
    heading = _tag("h1", task["name"]), _tag("p", task["instruction"], class_="soft")
    return _tag("header", *heading, *_warnings(run), *_scores(run), _pairs(facts))


def _warnings(run: _Run) -> list[Html]:
    told = []
    if "stop" not in run.about:
        done, wanted = max(len(run.rounds) - 1, 0), run.about["task"]["budget"]["rounds"]
        told.append(
            f"Unfinished: {done} of {wanted} rounds are over, and the test set has not been opened."
            f" Continue with: tutelage resume {run.folder.path}"
        )
    rehearsed = [role for role, model in _teachers(run.about["task"]).items() if model == "rehearsal"]
    if rehearsed:
        who = "teacher" if len(rehearsed) == len(ROLES) else " and ".join(rehearsed)
        told.append(
            f"The {who} was the rehearsal teacher: a look-up in labelled texts, not a language model."
            " The scores say nothing about a language model."
        )
    return [_tag("p", text, class_="note") for text in [*told, *run.about["notes"]]]


def _teachers(task: dict[str, Any]) -> dict[str, str]:
    """Role -> model."""
    teacher = task["teacher"]
    return {role: teacher["roles"].get(role, {}).get("model", teacher["model"]) for role in ROLES}


def _scores(run: _Run) -> list[Html]:
    """From the untouched student to the best one, on test or, while that is closed, on what is open."""
    exam = next((name for name in ("test", "gate", "diagnose") if run.scores(name)), None)
    if exam is None:
        return [_tag("p", "No exam has been sat yet.", class_="soft")]
    scores, task = run.scores(exam), run.about["task"]
    steps = {"seeds only": scores.get(0), f"best student, round {run.best}": scores.get(run.best or 0)}
    if exam == "test":
        steps = {"untouched": run.about["test_untouched"], **steps}
    where = f"{METRICS.get(task['metric'], task['metric'])} on {exam}, {run.about['data'][exam]:,} texts"
    if exam != "test":
        where += "; there is no test set" if "stop" in run.about else "; test is opened when the run ends"
    tiles = [_tag("div", _tag("b", score), _tag("span", name)) for name, score in steps.items()]
    return [_tag("div", *tiles, class_="tiles"), _tag("p", where, class_="soft")]


def _curve(run: _Run, control: _Run | None) -> Html:
    if not run.rounds:
        return _tag("p", "No round is over yet.")
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    parts = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "", **dict.fromkeys(parts, INKS["muted"])}):
        figure = Figure(figsize=(7.4, 3.7), layout="constrained")
        axes = figure.add_subplot()
        exams = [exam for exam in ("test", "gate", "diagnose") if run.scores(exam)]
        lines = [(run, exam, exam, "-") for exam in exams]
        lines += [(control, exam, f"{exam}, control", "--") for exam in exams[:1] if control]
        for drawn, exam, label, dashes in lines:
            calls, scores = _calls(drawn), drawn.scores(exam)
            x, y = [calls[round] for round in scores], list(scores.values())
            axes.plot(x, y, dashes, marker="o", markersize=4, label=label, color=INKS[exam], linewidth=1.8)
        gone = [(_calls(run)[x["round"]], run.scores(e)[x["round"]]) for x in _undone(run) for e in exams]
        if gone:
            axes.plot(*zip(*gone, strict=True), "X", markersize=9, color=INKS["bad"], label="rolled back")
        axes.set(xlabel="teacher calls so far", ylabel=METRICS.get(run.about["task"]["metric"], "accuracy"))
        axes.grid(axis="y", color=INKS["line"], linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=5, columnspacing=1.4)
        picture = StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(picture, format="svg", transparent=True, metadata=nothing)
    return _tag("figure", _inlined(picture.getvalue()))
