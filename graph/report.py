"""The report: a run folder as one HTML page for people, which needs no network and no script."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from html import escape
from io import StringIO
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from tutelage.agents.journal import Spent
from tutelage.graph.cards import Card, rate, read_cards
from tutelage.graph.folder import RoundLine, RunFolder
from tutelage.graph.page import INKS, PAGE, STYLE, Html, bar, pairs, table, tag
from tutelage.prompts import ROLES
from tutelage.student.corpus import Sample
from tutelage.student.exam import Report, wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EXAMS = ("test", "gate", "diagnose")
FATES = {
    "kept": "accepted by the critic; trained on, unless its round was rolled back",
    "duplicate": "too near to a text of its batch, to one kept before, or to a seed or diagnose text",
    "leak": "too near to a gate or test text, of which only the id is given here",
    "surplus": "more than was wanted: the student doubted these least, so no label was paid for",
    "refused": "labelled, but the critic did not accept it",
    "unlabelled": "the labeler gave it no label",
    "draft": "unfinished when the run stopped",
}
MARKS = {"open": "○ open", "cured": "✓ cured", "returned": "↩ returned"}
LARGE = 20  # with more labels nobody reads a confusion matrix
CHANCE = """Round 0 is trained on the seeds alone. Chance is the share of resampled gate exams in which the
new student is at least as good as the best one before it; where it is small, the loss is beyond noise and the
round is rolled back. Tokens are prompt + completion; refused samples are counted by fate. Calls made after
the last exam stand in the total only."""
CARE = """A weakness is measured on all diagnose texts of its label; an error is one answered with the other
label. It is cured while its errors are at most half of those it was found with, and returned when they no
longer are. Read the bars with care: small counts have wide 95 % intervals, and errors that were chosen
because they are high tend to fall by themselves (regression to the mean)."""


@dataclass(frozen=True)
class _Run:
    """What stands in a run folder; `samples` is None until the run ends."""

    folder: RunFolder
    about: dict[str, Any]
    rounds: list[RoundLine]
    cards: list[Card]
    samples: list[Sample] | None

    @property
    def best(self) -> int:
        last = max((line["round"] for line in self.rounds if line["accepted"]), default=0)
        return int(self.about.get("best", last))

    @property
    def spent(self) -> Spent:
        """Of the whole run or, while it is unfinished, of the rounds that are over."""
        found: Spent | None = self.about.get("spent")
        return found or _total(self.rounds)

    @property
    def fates(self) -> Counter[str]:
        if self.samples is not None:
            return Counter(sample["status"] for sample in self.samples)
        parts = [Counter({"kept": line["samples_kept"], **line["refused"]}) for line in self.rounds]
        return sum(parts, Counter())

    def scores(self, exam: str) -> dict[int, float]:
        """Round -> score of its student; empty where there is no such exam or it is not opened yet."""
        values: list[float | None] = [x["metric"] if exam == "diagnose" else x["gate"] for x in self.rounds]
        if exam == "test":
            values = self.about.get("test_by_round") or []
        rounds = [line["round"] for line in self.rounds]
        return {round: score for round, score in zip(rounds, values, strict=False) if score is not None}


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
        "Rounds and cost": _rounds(run, other),
        "Classes": _classes(run.about.get("test")),
        "Weaknesses": _weaknesses(run.cards),
        "Samples": _samples(run),
        "Leak check": _leaks(run.about),
        "Configuration": _configuration(run.about),
    }
    ids = {title: title.lower().replace(" ", "-") for title in sections}
    links = tag("nav", *(tag("a", title, href=f"#{name}") for title, name in ids.items()))
    parts = [tag("section", tag("h2", t), *inside, id=ids[t]) for t, inside in sections.items()]
    title = escape(f"{run.about['task']['name']} · tutelage")
    body = "\n".join([_headline(run), links, *parts])
    folder.write(folder.report, PAGE.format(title=title, style=STYLE, body=body))


def _read(folder: RunFolder) -> _Run:
    samples = None
    if folder.samples.exists():
        with folder.samples.open(encoding="utf-8") as file:  # splitlines would cut a text at U+2028
            samples = [json.loads(line) for line in file]
    return _Run(folder, folder.about(), folder.read_rounds(), read_cards(folder), samples)


def _headline(run: _Run) -> Html:
    task, test = run.about["task"], run.about.get("test")
    calls, tokens, cost = _paid(run.spent)
    facts: dict[str, object] = {
        "Stopped because": run.about.get("stop", "not stopped yet"),
        "Strategy": run.about["strategy"]["name"],
        "Teacher": ", ".join(sorted(set(_teachers(task).values()))),
        "Teacher calls": calls,
        "Tokens, prompt + completion": tokens,
        "Cost": cost,
        "Samples kept": f"{run.fates['kept']:,} of {run.fates.total():,} written",
        "Test accuracy, 95 % interval": _accuracy(test) if test else "not measured",
    }
    name = tag("h1", task["name"]), tag("p", task["instruction"], class_="soft")
    return tag("header", *name, *_warnings(run), *_tiles(run), pairs(facts))


def _warnings(run: _Run) -> list[Html]:
    told = []
    if "stop" not in run.about:
        over = f"{max(len(run.rounds) - 1, 0)} of {run.about['task']['budget']['rounds']} rounds are over"
        told.append(f"Unfinished: {over}. Continue with `tutelage resume {run.folder.path}`.")
    rehearsed = [role for role, model in _teachers(run.about["task"]).items() if model == "rehearsal"]
    if rehearsed:
        who = "The teacher" if len(rehearsed) == len(ROLES) else f"The teacher as {' and '.join(rehearsed)}"
        what = "was the rehearsal teacher: a look-up in labelled texts, not a language model"
        told.append(f"{who} {what}. The scores say nothing about a language model.")
    return [tag("p", text, class_="note") for text in [*told, *run.about["notes"]]]


def _teachers(task: dict[str, Any]) -> dict[str, str]:
    teacher = task["teacher"]
    roles = {role: teacher["roles"].get(role) or {} for role in ROLES}
    return {role: own.get("model") or teacher["model"] for role, own in roles.items()}


def _tiles(run: _Run) -> list[Html]:
    """From the untouched student to the best: on test or, while that is closed, on what is open."""
    exam = next((exam for exam in EXAMS if run.scores(exam)), None)
    if exam is None:
        return [tag("p", "No round is over yet: there is no score.")]
    scores = run.scores(exam)
    steps = [("untouched", run.about["test_untouched"])] if exam == "test" else []
    steps += [("seeds only", scores.get(0)), (f"best student, round {run.best}", scores.get(run.best))]
    where = f"{_metric(run)} on {exam} ({run.about['data'][exam]:,} texts)"
    if exam != "test":
        has_test = run.about["data"]["test"]
        where += "; test is opened when the run ends" if has_test else "; there is no test set"
    tiles = [tag("div", tag("b", score), tag("span", name)) for name, score in steps]
    return [tag("div", *tiles, class_="tiles"), tag("p", where, class_="soft")]


def _curve(run: _Run, control: _Run | None) -> Html:
    """Every round's scores against the teacher calls made so far: an SVG in the colours of the page."""
    if not run.rounds:
        return tag("p", "No round is over yet.")
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    picture, nothing = StringIO(), dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "tutelage", "text.color": INKS["muted"]}):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.add_subplot()
        _plot(axes, run, control)
        axes.set_xlabel("teacher calls so far", color=INKS["muted"])
        axes.set_ylabel(_metric(run), color=INKS["muted"])
        axes.tick_params(color=INKS["muted"], labelcolor=INKS["muted"])
        axes.grid(axis="y", color=INKS["line"])
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(INKS["muted"])
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(-0.03, 1), ncols=5, columnspacing=1)
        figure.savefig(picture, format="svg", transparent=True, metadata=nothing)
    svg = picture.getvalue()
    for name, ink in INKS.items():
        svg = svg.replace(ink, f"var(--{name})")
    return tag("figure", Html(svg[svg.index("<svg") :]), role="img", aria_label="learning curve")


def _plot(axes: "Axes", run: _Run, control: _Run | None) -> None:
    exams = [exam for exam in EXAMS if run.scores(exam)]
    drawn = [(run, exam, exam, "-") for exam in exams]
    if control:
        drawn += [(control, exam, f"{exam}, control", "--") for exam in exams if control.scores(exam)][:1]
    for one, exam, label, dashes in drawn:
        points = zip(*_points(one, exam).values(), strict=True)
        axes.plot(*points, dashes, label=label, color=INKS[exam], marker="o", markersize=4)
    undone = [line["round"] for line in run.rounds if not line["accepted"]]
    crosses = [_points(run, exam)[round] for exam in exams for round in undone if round in run.scores(exam)]
    if crosses:
        axes.plot(*zip(*crosses, strict=True), "X", markersize=9, label="rolled back", color=INKS["bad"])


def _points(run: _Run, exam: str) -> dict[int, tuple[int, float]]:
    """Round -> (calls made by its end, score)."""
    calls = accumulate(line["teacher_calls"] for line in run.rounds)
    by_round = dict(zip((line["round"] for line in run.rounds), calls, strict=True))
    return {round: (by_round[round], score) for round, score in run.scores(exam).items()}


def _against(run: _Run, control: _Run | None) -> list[Html]:
    """How far the control may be compared with this run."""
    if control is None:
        return []
    told, one, two = [], run.about, control.about
    expected = ("strategy", "data")
    changed = [key for key in one["task"] if key not in expected and one["task"][key] != two["task"].get(key)]
    if one["data"]["digest"] != two["data"]["digest"]:
        told.append("The control was run on other data: the two cannot be compared.")
    elif changed:
        told.append(f"The control differs in more than its strategy: {', '.join(changed)}.")
    if one.get("test") and two.get("test"):
        here, there = _accuracy(one["test"]), _accuracy(two["test"])
        told.append(
            f"Test accuracy with its 95 % interval: {here}; control ({two['strategy']['name']}): {there}."
            " It is one run of each: a difference within the intervals may be chance."
        )
    return [tag("p", text) for text in told]


def _rounds(run: _Run, control: _Run | None) -> list[Html]:
    parts = [_round_table(run), tag("p", CHANCE, class_="soft")]
    if control:
        name = f"Control: strategy {control.about['strategy']['name']}"
        parts += [tag("h3", name), _round_table(control)]
    return parts


def _round_table(run: _Run) -> Html:
    head = (
        ">Round|>Diagnose|>Gate|>Chance|>Test|Outcome|>Calls|>Tokens|>Cost|>Kept|Refused|>Trained on|>Seconds"
    )
    test = run.scores("test")
    rows = [_round_row(x, x["round"] == run.best, test.get(x["round"])) for x in run.rounds]
    total = ("total", *[""] * 5, *_paid(run.spent), run.fates["kept"], *[""] * 3)
    return table(head.split("|"), [*rows, total])


def _round_row(x: RoundLine, best: bool, test: float | None) -> Sequence[object]:
    fate = "★ best" if best else "✓ accepted" if x["accepted"] else "✕ rolled back"
    return (
        x["round"],
        x["metric"],
        x["gate"],
        x["chance"],
        test,
        tag("span", fate, class_="mark good" if x["accepted"] else "mark bad"),
        *_paid(_total([x])),
        x["samples_kept"],
        ", ".join(f"{count:,} {fate}" for fate, count in x["refused"].items()),
        x["trained_on"],
        f"{x['seconds']:,.1f}",
    )


def _classes(test: Report | None) -> list[Html]:
    if test is None:
        return [tag("p", "None: the test set has not been opened, or there is none.")]
    rows = [
        (c["label"], c["precision"], c["recall"], c["f1"], bar(0, c["f1"]), c["support"])
        for c in sorted(test["classes"], key=lambda c: c["f1"])
    ]
    told = tag("p", "The best student on test, weakest label first.", class_="soft")
    listed = table(["Label", ">Precision", ">Recall", ">F1", "", ">Texts"], rows)
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


def _weaknesses(cards: Sequence[Card]) -> list[Html]:
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
        tag("p", tag("b", card["label"]), " answered as ", tag("b", card["confused_with"])),
        tag("p", card["hypothesis"]),
        tag("ul", *(tag("li", text) for text in card["examples"])),
        table(["Exam", "Errors", "0 – 100 %"], rows),
        tag("p", origin, class_="soft"),
        class_=card["status"],
        id=card["id"],
    )


def _samples(run: _Run) -> list[Html]:
    rows = [(fate, run.fates[fate], why) for fate, why in FATES.items() if run.fates[fate]]
    parts = [table(["Fate", ">Samples", "<What it means"], rows) if rows else tag("p", "None yet.")]
    if run.samples is None:
        return [*parts, tag("p", "The texts are written out when the run ends.", class_="soft")]
    for fate in FATES:
        found = [sample for sample in run.samples if sample["status"] == fate]
        if found:
            parts.append(_examples(fate, found, 20 if fate == "kept" else 10))
    return parts


def _examples(fate: str, found: Sequence[Sample], limit: int) -> Html:
    """Samples spread evenly over the run, without the columns that none of them fills."""
    size = min(limit, len(found))
    rows = [_sample(found[i * len(found) // size]) for i in range(size)]
    filled = [name for name in rows[0] if any(row[name] not in (None, "") for row in rows)]
    listed = table(filled, [[row[name] for name in filled] for row in rows])
    return tag("details", tag("summary", f"{fate}: {size} of {len(found):,}"), listed)


def _sample(s: Sample) -> dict[str, object]:
    given, confidence, near = s.get("label"), s.get("confidence"), s.get("neighbour")
    stated = None if confidence is None else f"{confidence:.2f} {s.get('confidence_source', '')}"
    return {
        ">Round": s["round"],
        "<Text": s["text"],
        "Requested": s["requested"],
        "Given": given if given in (None, s["requested"]) else tag("span", given, class_="mark warn"),
        "Confidence": stated,
        "Weakness": tag("a", s["weakness"], href=f"#{s['weakness']}") if s["weakness"] else "",
        "<Reason": s.get("reason"),
        "<Neighbour": f"sealed text {near}" if near and s["status"] == "leak" else near,
        ">Similarity": s.get("similarity"),
    }


def _leaks(about: dict[str, Any]) -> list[Html]:
    told = (
        "Kept samples that stand in an exam: up to case and punctuation, with a run of 8 words in common, or"
        f" near it (a cosine of at least {about['task']['duplicate_above']} between embeddings)."
    )
    rows = [
        (exam, found["texts"], found["exact"], found["ngram"], found["near"], found["nearest"])
        for exam, found in about.get("overlap", {}).items()
        if about["data"][exam]
    ]
    if not rows:
        why = "there is no gate or test set" if "overlap" in about else "this is checked when the run ends"
        return [tag("p", f"None: {why}.")]
    head = ["Exam", ">Samples checked", ">Exact", ">8-word run", ">Near", ">Highest cosine"]
    return [tag("p", told, class_="soft"), table(head, rows)]


def _configuration(about: dict[str, Any]) -> list[Html]:
    task = json.dumps(about["task"], indent=2, ensure_ascii=False)
    parts = {title: about[title] for title in ("data", "strategy", "prompts", "versions")}
    lists = [tag("div", tag("h3", title.capitalize()), pairs(facts)) for title, facts in parts.items()]
    return [*lists, tag("details", tag("summary", "The whole task, resolved"), tag("pre", task))]


def _total(rounds: Sequence[RoundLine]) -> Spent:
    costs = [line["cost"] for line in rounds]
    return Spent(
        calls=sum(line["teacher_calls"] for line in rounds),
        prompt_tokens=sum(line["prompt_tokens"] for line in rounds),
        completion_tokens=sum(line["completion_tokens"] for line in rounds),
        cost=None if None in costs else sum(cost for cost in costs if cost is not None),
    )


def _paid(spent: Spent) -> tuple[object, ...]:
    tokens = f"{spent['prompt_tokens']:,} + {spent['completion_tokens']:,}"
    return spent["calls"], tokens, _money(spent["cost"])


def _money(cost: float | None) -> str:
    # A round's cost is a difference of sums: 1e-17 where nothing was paid.
    return "unknown" if cost is None else f"{Decimal(f'{abs(round(cost, 9)):.4g}'):,f}"


def _metric(run: _Run) -> str:
    return str(run.about["task"]["metric"]).replace("macro_f1", "macro-F1")


def _accuracy(test: Report) -> str:
    low, high = wilson(round(test["accuracy"] * test["size"]), test["size"])
    return f"{test['accuracy']:.3f} ({low:.3f}–{high:.3f})"
