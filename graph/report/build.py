"""Build the report of a run folder: one HTML page without network. Its only script filters the samples."""

import json
from collections.abc import Sequence
from typing import Any

from tutelage.graph.history.records import read_records
from tutelage.graph.report.calls_section import calls_section, roles_table
from tutelage.graph.report.charts import learning_curve
from tutelage.graph.report.comparison_section import arm_title, comparison_section, labels_section
from tutelage.graph.report.embedding_map import read_map
from tutelage.graph.report.map_section import map_section
from tutelage.graph.report.page import SCRIPT, Html, html_page, pairs, table, tag
from tutelage.graph.report.run_section import Run, differences, figures, metric_name, paid, read_run, total
from tutelage.graph.report.sample_list import listed_samples
from tutelage.graph.report.samples_section import classes_section, samples_section, weaknesses_section
from tutelage.graph.report.teacher_section import teacher_section
from tutelage.graph.report.training_section import training_section
from tutelage.graph.review.decisions import waiting_sentence
from tutelage.graph.run_folder.folder import RoundLine, RunFolder, rounds_over
from tutelage.prompts import ROLES

LARGEST = 4_900_000  # bytes of a page with as many samples as are listed
ROUND_0 = "Round 0 is trained on the seeds only."
ROUND_0_FOLDED = """Round 0 is trained on your labels alone. Every score is out of fold: each row is predicted
by a student that was trained neither on this row nor on any text that was written with this row in view."""
COLUMNS = """The p-value is the share of bootstrap resamples in which the new student is at least as good as
the best one before it. If it is small, the new student is worse beyond noise, and the round is rolled back.
Tokens are prompt + completion tokens. Refused samples are counted by status. Calls after the last round are
counted in the total only."""


def write_report(folder: RunFolder, control: RunFolder | None = None) -> None:
    """Write the `report.html` of a run from the files in its folder. The run may be unfinished.

    Args:
        folder: the run folder. An existing report is replaced.
        control: the folder of a run on the same task with another strategy, to compare with.

    Raises:
        InputError: `folder` or `control` is not a run folder.
    """
    run, other = read_run(folder), read_run(control) if control else None
    records = read_records(folder)
    listed = listed_samples(records)
    sections = {
        "Value of the teacher labels": comparison_section(run),
        "Learning curve": [learning_curve(run, other), *_against(run, other)],
        "Rounds and cost": [*_rounds(run, other), *roles_table(records.calls)],
        "Teacher": teacher_section(
            folder.read_calibration(), run.about.get("teacher", {}), run.about.get("review")
        ),
        "Classes": classes_section(run.about.get("test")),
        "Weaknesses": weaknesses_section(records),
        "Map": map_section(read_map(folder), listed, folded=run.folded),
        "Samples": samples_section(run, records, listed),
        "Calls": [],  # below, since it gets the room that the others leave
        "Labels to check": labels_section(run),
        "Training": training_section(run),
        "Leakage check": _leakage(run.about),
        "Configuration": _configuration(run.about),
    }
    used = sum(len(part.encode()) for inside in sections.values() for part in inside)
    sections["Calls"] = calls_section(records, listed, LARGEST - used)
    ids = {title: title.lower().replace(" ", "-") for title in sections}
    links = tag("nav", *(tag("a", title, href=f"#{name}") for title, name in ids.items()))
    parts = [tag("section", tag("h2", t), *inside, id=ids[t]) for t, inside in sections.items()]
    body = "\n".join([_headline(run), links, *parts])
    folder.write(folder.report, html_page(run.about["task"]["name"], body, script=SCRIPT))


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
        "Samples kept": f"{run.status_counts['kept']:,} of {run.status_counts.total():,} texts",
        "Test": figures(test) if test else "not measured",
    }
    name = tag("h1", task["name"]), tag("p", task["instruction"], class_="soft")
    return tag("header", *name, *_warnings(run), *_tiles(run), pairs(facts))


def _warnings(run: Run) -> list[Html]:
    warnings = []
    if "stop" not in run.about:
        over = f"{rounds_over(run.rounds)} of {run.about['task']['budget']['rounds']} rounds are over"
        waits = waiting_sentence(run.folder)
        to_continue = f"{waits}." if waits else f"Continue with `tutelage resume {run.folder.path}`."
        warnings.append(f"Unfinished: {over}. {to_continue}")
    rehearsed = [role for role, model in _teachers(run.about["task"]).items() if model == "rehearsal"]
    if rehearsed:
        who = "The teacher" if len(rehearsed) == len(ROLES) else f"The teacher as {' and '.join(rehearsed)}"
        what = "was the rehearsal teacher: a look-up in labelled texts, not a language model"
        warnings.append(f"{who} {what}. The scores say nothing about a language model.")
    return [tag("p", text, class_="note") for text in [*warnings, *run.about["notes"]]]


def _teachers(task: dict[str, Any]) -> dict[str, str]:
    """Return the model of each role."""
    teacher = task["teacher"]
    settings = {role: teacher["roles"].get(role) or {} for role in ROLES}
    return {role: changes.get("model") or teacher["model"] for role, changes in settings.items()}


def _tiles(run: Run) -> list[Html]:
    """Show the scores from the untrained to the final student, on test or, before test is opened, on the
    first other set that has scores.
    """
    if test := run.about.get("test"):
        return _as_tiles(run, _on_test(run, test["metric"]), f"on test ({run.size('test'):,} texts)")
    set_name = next((set_name for set_name in run.set_names if run.scores(set_name)), None)
    if set_name is None:
        return [tag("p", "No round is over yet, so there is no score.")]
    scores = run.scores(set_name)
    steps = [
        (run.student(0), scores.get(0)),
        (f"best student, {run.student(run.best)}", scores.get(run.best)),
    ]
    set_title = "your rows, out of fold" if run.folded else set_name
    test_state = "the test set is opened when the run ends" if run.size("test") else "there is no test set"
    return _as_tiles(run, steps, f"on {set_title} ({run.size(set_name):,} texts); {test_state}")


def _on_test(run: Run, final_score: float) -> list[tuple[str, float | None]]:
    """Return (name, score) of the students that were evaluated on test, in order of training.

    `final_score` is the score of the final student.
    """
    steps: list[tuple[str, float | None]] = [("untrained", run.about["test_untrained"])]
    if run.folded:
        arms = (run.about.get("comparison") or {"arms": []})["arms"]
        return steps + [
            (arm_title(run, one), one["score"])
            for one in arms
            if one["name"] == "labels_alone" or one["delivered"]
        ]
    scores = run.scores("test")
    steps += [
        (run.student(0), scores.get(0)),
        (f"best student, {run.student(run.best)}", scores.get(run.best)),
    ]
    return [*steps, ("refitted on all rows", final_score)] if run.about["strategy"].get("refit") else steps


def _as_tiles(run: Run, steps: Sequence[tuple[str, float | None]], where: str) -> list[Html]:
    tiles = [tag("div", tag("b", score), tag("span", name)) for name, score in steps]
    return [tag("div", *tiles, class_="tiles"), tag("p", f"{metric_name(run)} {where}", class_="soft")]


def _against(run: Run, control: Run | None) -> list[Html]:
    """Say whether the control is comparable with this run, and give both test scores."""
    if control is None:
        return []
    one, two = run.about, control.about
    sentences = differences(one, two)
    if one.get("test") and two.get("test"):
        here, there = (figures(a["test"]) for a in (one, two))
        sentences.append(
            f"On test: {here}; control ({two['strategy']['name']}): {there}."
            " This compares one run of each: a difference within the intervals may be chance."
        )
    return [tag("p", sentence) for sentence in sentences]


def _rounds(run: Run, control: Run | None) -> list[Html]:
    round_0 = ROUND_0_FOLDED if run.folded else ROUND_0
    parts = [_round_table(run), tag("p", f"{round_0} {COLUMNS}", class_="soft")]
    if control:
        name = f"Control: strategy {control.about['strategy']['name']}"
        parts += [tag("h3", name), _round_table(control)]
    return parts


def _round_table(run: Run) -> Html:
    scores = ">Out of fold|>p-value" if run.folded else ">Diagnose|>Gate|>p-value|>Test"
    head = f">Round|{scores}|Outcome|>Calls|>Tokens|>Cost|>Kept|Refused|>Trained on|>Seconds".split("|")
    rows = [_round_row(run, line) for line in run.rounds]
    spent = (*paid(run.spent), run.status_counts["kept"], *[""] * 3)
    return table(head, [*rows, ("total", *[""] * (len(head) - len(spent) - 1), *spent)])


def _round_row(run: Run, x: RoundLine) -> Sequence[object]:
    outcome = "★ best" if x["round"] == run.best else "✓ accepted" if x["accepted"] else "✕ rolled back"
    test = run.scores("test").get(x["round"])
    scores = (x["metric"], x["p_value"]) if run.folded else (x["metric"], x["gate"], x["p_value"], test)
    return (
        "final" if x.get("final") else x["round"],
        *scores,
        tag("span", outcome, class_="mark good" if x["accepted"] else "mark bad"),
        *paid(total([x])),
        x["samples_kept"],
        ", ".join(f"{count:,} {status}" for status, count in x["refused"].items()),
        x["trained_on"],
        f"{x['seconds']:,.1f}",
    )


def _leakage(about: dict[str, Any]) -> list[Html]:
    explanation = (
        "Kept samples that also occur in a held-out set: the same text up to case and punctuation, a text"
        " with 8 consecutive words in common, or a near-duplicate (a cosine of at least"
        f" {about['task']['duplicate_above']} between embeddings)."
    )
    rows = [
        (set_name, *(counts[name] for name in ("texts", "exact", "ngram", "near", "nearest")))
        for set_name, counts in about.get("overlap", {}).items()
        if about["data"].get(set_name)
    ]
    if not rows:
        sets = "no test set" if "labelled" in about["data"] else "no gate or test set"
        why = f"there is {sets}" if "overlap" in about else "this is checked when the run ends"
        return [tag("p", f"None: {why}.")]
    head = ["Held-out set", ">Samples checked", ">Exact", ">8-gram", ">Near-duplicate", ">Highest cosine"]
    return [tag("p", explanation, class_="soft"), table(head, rows)]


def _configuration(about: dict[str, Any]) -> list[Html]:
    task = json.dumps(about["task"], indent=2, ensure_ascii=False)
    parts = {title: about[title] for title in ("data", "strategy", "prompts", "versions")}
    lists = [tag("div", tag("h3", title.capitalize()), pairs(facts)) for title, facts in parts.items()]
    return [*lists, tag("details", tag("summary", "The resolved task"), tag("pre", task))]
