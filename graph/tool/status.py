"""What an agent learns about a run: its state, progress, score, spending and errors, in plain words."""

from typing import Any, NotRequired, TypedDict, cast

from tutelage.agents.teacher.journal import Spent
from tutelage.graph.report.comparison_section import comparison_sentence
from tutelage.graph.report.run_section import read_run
from tutelage.graph.review.decisions import waiting_sentence
from tutelage.graph.run_folder.folder import RunFolder, rounds_over
from tutelage.graph.run_folder.node_summaries import DOING
from tutelage.graph.run_folder.trace import Trace
from tutelage.graph.task.load import parse_task
from tutelage.graph.task.splits import load_splits
from tutelage.graph.tool.job import Job
from tutelage.student.errors import InputError
from tutelage.student.evaluation.gains import interval

KILLED = "its process was stopped or killed"
AGAIN = """call distill_start again with the same arguments (`arguments`): it continues, and pays nothing \
twice. If the same error comes again, tell the user."""
ASK = "only a person can approve it, outside of your tools: tell the user the plan, and wait"
REVIEW = "only a person can review labels, outside of your tools: tell the user, and wait"
OUT_OF_FOLD = "labelled rows, out of fold"
BY_TEACHER = "rows that the teacher labelled, out of fold: agreement with the teacher, not correctness"


class Score(TypedDict):
    """A score with its 95 % bootstrap interval, which is None while it is not known."""

    metric: str
    value: float
    interval: list[float] | None
    measured_on: str


class Status(TypedDict):
    """The status of a run. `next` says what to do. `student` and `report` are paths in the folder of runs.
    `arguments` are those of the call that began a run which has stopped.
    """

    run_id: str
    state: str
    next: str
    doing: NotRequired[str]
    rounds_done: NotRequired[str]
    score: NotRequired[Score]
    spent: NotRequired[Spent]
    limit: NotRequired[dict[str, float]]
    result: NotRequired[str]
    stopped_because: NotRequired[str]
    error: NotRequired[str]
    student: NotRequired[str]
    report: NotRequired[str]
    arguments: NotRequired[dict[str, Any]]


def status(job: Job, arguments: dict[str, Any]) -> Status:
    """Return the status of a run; `arguments` are those that it was asked for with."""
    at_work = job.at_work()  # first: a run that ends meanwhile is then seen as finished, not as stopped
    if job.finished:
        return _finished(job)
    if at_work:
        wait = "it runs by itself; ask distill_status with wait_seconds, or go on with other work"
        working = Status(run_id=job.id, state="at work", next=wait, doing=_doing(job))
        return cast(Status, {**working, **_progress(job)})
    if job.begun and (waiting := waiting_sentence(job.run)):
        reviewing = Status(run_id=job.id, state="waiting for review", next=f"{REVIEW}: {waiting}")
        return cast(Status, {**reviewing, **_progress(job)})
    if (error := job.error()) or job.begun:
        stopped = Status(run_id=job.id, state="stopped", next=AGAIN, error=error or KILLED)
        return cast(Status, {**stopped, **_progress(job), "arguments": arguments})
    return Status(run_id=job.id, state="waiting for approval", next=ASK)


def _finished(job: Job) -> Status:
    run = read_run(job.run)
    found = Status(
        run_id=job.id,
        state="finished",
        next="call distill_predict",
        stopped_because=run.about["stop"],
        student=str(job.run.student),
        report=str(job.run.report),
    )
    if comparison := run.about.get("comparison"):
        found["result"] = comparison_sentence(run, comparison)
    return cast(Status, {**found, **_progress(job)})


def _doing(job: Job) -> str:
    """Return what the process does, or which reply it waits for."""
    events = Trace(job.run.trace).events()
    if not events:
        return "starting: loading libraries"
    entered = next(event for event in reversed(events) if event["event"] == "enter")
    last = events[-1]
    batch = last["event"] == "batch"
    waiting = f" (waits for batch {last['batch']}: {last['status']})" if batch else ""
    return f"round {entered['round']}: {DOING[entered['node']]}{waiting}"


def _progress(job: Job) -> dict[str, Any]:
    """Return rounds, score, spending and limits of a run that has begun; {} before."""
    if not job.begun:
        return {}
    about, rounds = job.about, job.run.read_rounds()
    budget = about["task"]["budget"]
    progress = {
        "rounds_done": f"{rounds_over(rounds)} of at most {budget['rounds']}",
        "spent": read_run(job.run).spent,
        "limit": {name: value for name, value in budget.items() if value is not None and name != "rounds"},
    }
    score = _final_score(about) or (_last_score(job.run, about) if rounds else None)
    if score and job.run.first_labels.exists():
        score["measured_on"] = BY_TEACHER
    return {**progress, "score": score} if score else progress


def _final_score(about: dict[str, Any]) -> Score | None:
    """Return the score of the delivered student, or else of the best one that was compared."""
    comparison = about.get("comparison")
    if not comparison:
        return None
    arm = next((arm for arm in comparison["arms"] if arm["delivered"]), comparison["arms"][-1])
    ends = [round(arm["low"], 3), round(arm["high"], 3)]
    return Score(
        metric=comparison["metric"],
        value=round(arm["score"], 3),
        interval=ends,
        measured_on=comparison["measured_on"],
    )


def _last_score(folder: RunFolder, about: dict[str, Any]) -> Score | None:
    """Return the score of the best round so far on the user's rows, out of fold."""
    best = max((line for line in folder.read_rounds() if line["accepted"]), key=lambda line: line["round"])
    task = parse_task(about["task"], str(folder.run_json), folder.path)
    score = Score(metric=task.metric, value=round(best["metric"], 3), interval=None, measured_on=OUT_OF_FOLD)
    try:
        rows = load_splits(task).diagnose
        answers = folder.load_predictions(f"round-{best['round']:02d}", "diagnose")
    except (InputError, OSError):  # the data have changed since, or the run is writing
        return score
    if not rows or len(rows) != len(answers):  # the teacher labelled the first rows
        return score
    texts, gold = [row["text"] for row in rows], [row["label"] for row in rows]
    statistics = task.type.example_statistics(texts, gold, answers, list(task.labels), task.metric)
    low, high = interval(task.type, statistics, task.metric)
    return {**score, "interval": [round(low, 3), round(high, 3)]}
