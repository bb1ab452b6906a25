"""The report: a run folder as one HTML page for people, which needs no network and no script."""

import json
from collections.abc import Sequence
from html import escape
from typing import Any

from tutelage.graph.report.charts import learning_curve
from tutelage.graph.report.comparison_section import comparison_section, labels_section
from tutelage.graph.report.page import PAGE, STYLE, Html, pairs, table, tag
from tutelage.graph.report.run_section import Run, differences, figures, metric_name, paid, read_run, total
from tutelage.graph.report.samples_section import classes_section, samples_section, weaknesses_section
from tutelage.graph.report.teacher_section import teacher_section
from tutelage.graph.report.training_section import lessons_section
from tutelage.graph.run_folder.folder import RoundLine, RunFolder, rounds_over, student_name
from tutelage.prompts import ROLES

FIRST = "Round 0 is trained on the seeds alone."
FIRST_FOLDED = """Round 0 is trained on your labels alone. Every score is out of fold: a row is answered by a
student that has learnt neither it nor any text that was written with it in view."""
CHANCE = """Chance is the share of resampled sets in which the new student is at least as good as the best one
before it; where it is small, the loss is beyond noise and the round is rolled back. Tokens are prompt +
completion; refused samples are counted by fate. Calls made after the last round stand in the total only."""


def write_report(folder: RunFolder, control: RunFolder | None = None) -> None:
    """Write `report.html` of a run, finished or not, from its folder alone.

    Args:
        folder: the run; its report is replaced.
        control: a run of another strategy on the same task, shown beside it.

    Raises:
        InputError: one of them is not a run folder.
    """
    run, other = read_run(folder), read_run(control) if control else None
    sections = {
        "What the teacher was worth": comparison_section(run),
        "Learning curve": [learning_curve(run, other), *_against(run, other)],
        "Rounds and cost": _rounds(run, other),
        "Teacher": teacher_section(folder.read_calibration(), run.about.get("teacher", {})),
        "Classes": classes_section(run.about.get("test")),
        "Weaknesses": weaknesses_section(run.cards),
        "Samples": samples_section(run),
        "Labels to check": labels_section(run),
        "Lessons": lessons_section(run),
        "Leak check": _leaks(run.about),
        "Configuration": _configuration(run.about),
    }
    ids = {title: title.lower().replace(" ", "-") for title in sections}
    links = tag("nav", *(tag("a", title, href=f"#{name}") for title, name in ids.items()))
    parts = [tag("section", tag("h2", t), *inside, id=ids[t]) for t, inside in sections.items()]
    title = escape(f"{run.about['task']['name']} · tutelage")
    body = "\n".join([_headline(run), links, *parts])
    folder.write(folder.report, PAGE.format(title=title, style=STYLE, body=body))


def _headline(run: Run) -> Html:
    task, test = run.about["task"], run.about.get("test")
    calls, tokens, cost = paid(run.spent)
    facts: dict[str, object] = {
        "Stopped because": run.about.get("stop", "not stopped yet"),
        "Strategy": run.about["strategy"]["name"],
        "Teacher": ", ".join(sorted(set(_teachers(task).values()))),
        "Teacher calls": calls,
        "Tokens, prompt + completion": tokens,
        "Cost": cost,
        "Samples kept": f"{run.fates['kept']:,} of {run.fates.total():,} written",
        "Test": figures(test) if test else "not measured",
    }
    name = tag("h1", task["name"]), tag("p", task["instruction"], class_="soft")
    return tag("header", *name, *_warnings(run), *_tiles(run), pairs(facts))


def _warnings(run: Run) -> list[Html]:
    told = []
    if "stop" not in run.about:
        over = f"{rounds_over(run.rounds)} of {run.about['task']['budget']['rounds']} rounds are over"
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


def _tiles(run: Run) -> list[Html]:
    """From the untouched student to the one that is left: on test or, while that is closed, on other rows."""
    if test := run.about.get("test"):
        return _as_tiles(run, _on_test(run, test["metric"]), f"on test ({run.size('test'):,} texts)")
    exam = next((exam for exam in run.exams if run.scores(exam)), None)
    if exam is None:
        return [tag("p", "No round is over yet: there is no score.")]
    scores = run.scores(exam)
    steps = [(run.first, scores.get(0)), (f"best student, {_best(run)}", scores.get(run.best))]
    called = "your rows, out of fold" if run.folded else exam
    opened = "test is opened when the run ends" if run.size("test") else "there is no test set"
    return _as_tiles(run, steps, f"on {called} ({run.size(exam):,} texts); {opened}")


def _on_test(run: Run, left: float) -> list[tuple[str, float | None]]:
    """The students that were measured on test; `left` is the score of the one that the run leaves."""
    steps: list[tuple[str, float | None]] = [("untouched", run.about["test_untouched"])]
    if run.folded:
        arms = (run.about.get("comparison") or {"arms": []})["arms"]
        return steps + [
            (arm["title"], arm["score"]) for arm in arms if arm["name"] == "own" or arm["delivered"]
        ]
    scores = run.scores("test")
    steps += [(run.first, scores.get(0)), (f"best student, {_best(run)}", scores.get(run.best))]
    return [*steps, ("refitted on all rows", left)] if run.about["strategy"].get("refit") else steps


def _best(run: Run) -> str:
    line = next((line for line in run.rounds if line["round"] == run.best), None)
    return student_name(line) if line and line["round"] else run.first


def _as_tiles(run: Run, steps: Sequence[tuple[str, float | None]], where: str) -> list[Html]:
    tiles = [tag("div", tag("b", score), tag("span", name)) for name, score in steps]
    return [tag("div", *tiles, class_="tiles"), tag("p", f"{metric_name(run)} {where}", class_="soft")]


def _against(run: Run, control: Run | None) -> list[Html]:
    """How far the control may be compared with this run."""
    if control is None:
        return []
    one, two = run.about, control.about
    told = differences(one, two)
    if one.get("test") and two.get("test"):
        here, there = (figures(a["test"]) for a in (one, two))
        told.append(
            f"On test: {here}; control ({two['strategy']['name']}): {there}."
            " It is one run of each: a difference within the intervals may be chance."
        )
    return [tag("p", text) for text in told]


def _rounds(run: Run, control: Run | None) -> list[Html]:
    first = FIRST_FOLDED if run.folded else FIRST
    parts = [_round_table(run), tag("p", f"{first} {CHANCE}", class_="soft")]
    if control:
        name = f"Control: strategy {control.about['strategy']['name']}"
        parts += [tag("h3", name), _round_table(control)]
    return parts


def _round_table(run: Run) -> Html:
    scores = ">Out of fold|>Chance" if run.folded else ">Diagnose|>Gate|>Chance|>Test"
    head = f">Round|{scores}|Outcome|>Calls|>Tokens|>Cost|>Kept|Refused|>Trained on|>Seconds".split("|")
    rows = [_round_row(run, line) for line in run.rounds]
    spent = (*paid(run.spent), run.fates["kept"], *[""] * 3)
    return table(head, [*rows, ("total", *[""] * (len(head) - len(spent) - 1), *spent)])


def _round_row(run: Run, x: RoundLine) -> Sequence[object]:
    fate = "★ best" if x["round"] == run.best else "✓ accepted" if x["accepted"] else "✕ rolled back"
    test = run.scores("test").get(x["round"])
    scores = (x["metric"], x["chance"]) if run.folded else (x["metric"], x["gate"], x["chance"], test)
    return (
        "final" if x.get("final") else x["round"],
        *scores,
        tag("span", fate, class_="mark good" if x["accepted"] else "mark bad"),
        *paid(total([x])),
        x["samples_kept"],
        ", ".join(f"{count:,} {fate}" for fate, count in x["refused"].items()),
        x["trained_on"],
        f"{x['seconds']:,.1f}",
    )


def _leaks(about: dict[str, Any]) -> list[Html]:
    told = (
        "Kept samples that stand in an exam: up to case and punctuation, with a run of 8 words in common, or"
        f" near it (a cosine of at least {about['task']['duplicate_above']} between embeddings)."
    )
    rows = [
        (exam, found["texts"], found["exact"], found["ngram"], found["near"], found["nearest"])
        for exam, found in about.get("overlap", {}).items()
        if about["data"].get(exam)
    ]
    if not rows:
        sets = "no test set" if "labelled" in about["data"] else "no gate or test set"
        why = f"there is {sets}" if "overlap" in about else "this is checked when the run ends"
        return [tag("p", f"None: {why}.")]
    head = ["Exam", ">Samples checked", ">Exact", ">8-word run", ">Near", ">Highest cosine"]
    return [tag("p", told, class_="soft"), table(head, rows)]


def _configuration(about: dict[str, Any]) -> list[Html]:
    task = json.dumps(about["task"], indent=2, ensure_ascii=False)
    parts = {title: about[title] for title in ("data", "strategy", "prompts", "versions")}
    lists = [tag("div", tag("h3", title.capitalize()), pairs(facts)) for title, facts in parts.items()]
    return [*lists, tag("details", tag("summary", "The whole task, resolved"), tag("pre", task))]
