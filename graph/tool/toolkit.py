"""`tutelage.distill_tool`: three tools with which an agent has a small classifier trained, and uses it."""

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from langchain_core.tools.base import BaseToolkit
from pydantic import BaseModel, PrivateAttr
from tutelage.agents.providers.redact import redact
from tutelage.graph.run_folder.folder import student_in
from tutelage.graph.task.schema import Task
from tutelage.graph.tool.arguments import (
    PredictArguments,
    StartArguments,
    StatusArguments,
    invalid,
)
from tutelage.graph.tool.job import Job
from tutelage.graph.tool.proposal import Proposal, is_free, propose
from tutelage.graph.tool.settings import Confirm, Settings, run_id
from tutelage.graph.tool.status import Status, status
from tutelage.student.data.rows import check_text
from tutelage.student.errors import InputError
from tutelage.student.models.base import Predictor, forget_texts
from tutelage.student.models.onnx_student import load_predictor

START = """Train a small, fast text classifier from the user's files, with labels by a large language \
model. It costs money, so a person must approve its plan, and you cannot. It then runs in the background for \
minutes to hours, and you get its run_id at once. A call with the same arguments continues a run that was \
stopped."""
STATUS = """Tell how the training of a classifier is getting on: its state, round, score with a 95 % \
interval, what it has spent, errors, and what to do next."""
PREDICT = """Classify texts with a classifier whose training has finished. It costs nothing."""
QUESTION = "Start this run? Its `run_id` approves it; any other answer is the reason for a refusal."
REFUSED = "a person refused the plan: {}; do not ask for the same run again"
CHANGED = "the files have changed since the plan was made; ask again: call distill_start for a new plan"
POLL = 0.5  # seconds between two looks at a run that is waited for
_RUN_ID = re.compile(r"[a-z0-9-]+-[0-9a-f]{8}")
_starting = threading.Lock()  # parallel calls of one message ask one after the other, without a race
_predicting = threading.Lock()  # a tokenizer is not safe between threads


class DistillToolkit(BaseToolkit):
    """Three tools for an agent (`get_tools`), and what only the developer's own code can do: `waiting`,
    `approve`, `refuse` and `stop`. A LangChain toolkit; `distill_tool` makes it.
    """

    _settings: Settings = PrivateAttr()

    def __init__(self, settings: Settings):
        super().__init__()
        self._settings = settings

    def get_tools(self) -> list[BaseTool]:
        """Return the tools `distill_start`, `distill_status` and `distill_predict`."""
        return [
            self._tool("distill_start", START, StartArguments, self._start),
            self._tool("distill_status", STATUS, StatusArguments, self._status),
            self._tool("distill_predict", PREDICT, PredictArguments, self._predict),
        ]

    def waiting(self) -> list[Proposal]:
        """Return the plans that wait for a person's approval."""
        runs = self._settings.runs
        jobs = [Job(runs, path.parent.name) for path in sorted(runs.glob("*/plan.json"))]
        waiting = [job for job in jobs if not (job.begun or job.at_work())]
        return [json.loads(job.plan.read_text(encoding="utf-8")) for job in waiting]

    def approve(self, run_id: str) -> Status:
        """Start a run that waits for approval. Call this only for a person who has seen its plan.

        Raises:
            InputError: there is no such run, or its files or the settings have changed since it was planned.
        """
        job = self._job(run_id)
        self._begin(job, self._requested_task(job))
        return self._state(job)

    def stop(self, run_id: str) -> None:
        """Stop a run that is at work after its current step. The agent's next call may continue it.

        Raises:
            InputError: there is no such run.
        """
        self._job(run_id).stop()

    def refuse(self, run_id: str) -> None:
        """Drop the plan of a run that waits for approval.

        Raises:
            InputError: there is no such run, or it has begun.
        """
        job = self._job(run_id)
        if job.begun or job.at_work():
            raise InputError(f"{run_id} has begun; `stop` stops it")
        job.drop()

    def _tool(
        self, name: str, description: str, schema: type[BaseModel], act: Callable[..., Any]
    ) -> StructuredTool:
        def answer(**arguments: Any) -> Any:
            try:
                return act(schema.model_validate(arguments))
            except (InputError, OSError) as error:
                raise ToolException(self._settings.plain(redact(" ".join(str(error).split())))) from None

        return StructuredTool.from_function(
            answer,
            name=name,
            description=description,
            args_schema=schema,
            infer_schema=False,
            handle_tool_error=True,
            handle_validation_error=invalid,
        )

    def _start(self, arguments: StartArguments) -> Any:
        with _starting:
            task = self._settings.task(arguments)
            job = Job(self._settings.runs, run_id(task))
            if job.finished or job.at_work():
                return self._state(job)
            if not job.begun:
                proposal = self._proposal(job, task, arguments)
                if self._settings.confirm == "always" or not is_free(proposal):
                    job.log.unlink(missing_ok=True)  # of a process that failed before the run began
                    if unapproved := self._unapproved(job, proposal):
                        return unapproved
            self._begin(job, task)
            return self._state(job)

    def _unapproved(self, job: Job, proposal: Proposal) -> dict[str, Any] | None:
        """Ask a person; return what the agent is told if the run may not start, and None if it may.

        LangGraph calls all tools of a message again for each answer, and gives the answers to the interrupts
        by their order. A call whose run has started does not interrupt again, so that its answer comes to the
        next one. Hence an answer that names another run is skipped: it approves nothing here, and refuses
        nothing.
        """
        while (answer := _ask(proposal)) != job.id:
            if answer is None:
                return {**self._state(job), "plan": proposal}
            if not (isinstance(answer, str) and _RUN_ID.fullmatch(answer)):
                job.drop()
                return {"run_id": job.id, "state": "refused", "next": REFUSED.format(answer)}
            other = Job(self._settings.runs, answer)
            if other.request.exists() and other.request.read_bytes() == job.request.read_bytes():
                if other.begun or other.at_work():
                    return dict(self._state(other))
                job.drop()  # the same call was approved, but for other content of the files
                return {"run_id": job.id, "state": "not started", "next": CHANGED}
        return None

    def _proposal(self, job: Job, task: Task, arguments: StartArguments) -> Proposal:
        """Return the plan of a run; it is made once, since an interrupted tool is called again."""
        if not job.plan.exists():
            proposal = propose(task, job.id)
            proposal["files"] = {set: self._settings.plain(path) for set, path in proposal["files"].items()}
            job.folder.mkdir(parents=True, exist_ok=True)
            job.run.write_json(job.request, arguments.model_dump(exclude_none=True))
            job.run.write_json(job.plan, proposal)
        found: Proposal = json.loads(job.plan.read_text(encoding="utf-8"))
        return found

    def _begin(self, job: Job, task: Task) -> None:
        if run_id(task) != job.id:
            raise InputError(f"the files or the settings of {job.id} have changed; ask for a new plan")
        job.start(task)

    def _status(self, arguments: StatusArguments) -> Status:
        job = self._job(arguments.run_id)
        end = time.monotonic() + arguments.wait_seconds
        while job.at_work() and time.monotonic() < end:
            time.sleep(POLL)
        return self._state(job)

    def _predict(self, arguments: PredictArguments) -> list[dict[str, Any]]:
        job = self._job(arguments.run_id)
        if not job.finished:
            raise InputError(f"{job.id} has no student yet; ask distill_status when it has finished")
        for number, text in enumerate(arguments.texts, 1):
            check_text(text, f"text {number}")
        with _predicting:
            folder = student_in(job.run.path)
            student = _student(folder, _modified(folder))
            found = student.predict(arguments.texts, best=True)
            forget_texts(student)
        answers = zip(arguments.texts, found.answers, found.confidence, strict=True)
        return [
            {"text": text[:80], "label": label, "confidence": round(float(confidence), 3)}
            for text, label, confidence in answers
        ]

    def _job(self, id: str) -> Job:
        job = Job(self._settings.runs, id)
        if not re.fullmatch(r"[a-z0-9-]+", id) or not job.request.exists():
            known = sorted(path.parent.name for path in self._settings.runs.glob("*/request.json"))
            raise InputError(f"there is no run {id!r}; the runs are {', '.join(known) or 'none yet'}")
        return job

    def _requested_task(self, job: Job) -> Task:
        arguments = job.request.read_text(encoding="utf-8")
        return self._settings.task(StartArguments.model_validate_json(arguments))

    def _state(self, job: Job) -> Status:
        found = status(job, json.loads(job.request.read_text(encoding="utf-8")))
        for name in ("error", "student", "report"):
            if name in found:
                found[name] = self._settings.plain(found[name])
        return found


def distill_tool(
    runs: Path | str,
    data: Path | str | Sequence[Path | str],
    *,
    teacher: str | Mapping[str, Any],
    budget: Mapping[str, float],
    settings: Mapping[str, Any] | None = None,
    confirm: Confirm = "always",
) -> DistillToolkit:
    """Return LangChain tools with which an agent has a classifier trained: "make me a classifier for these
    tickets". Give `distill_tool(…).get_tools()` to the agent.

    The model decides what is learnt, within what is given here. It cannot approve a run: inside a LangGraph
    agent, `distill_start` interrupts with the plan, and starts the run if it is resumed with the plan's
    `run_id`; elsewhere, the run waits until your code calls `approve`. A run works in a process of its own,
    which survives yours.

    Args:
        runs: the folder for the runs; each gets a folder `<run_id>/` in it.
        data: files that the agent may name, or folders of them. It can read no others.
        teacher: the teacher's model, such as `openai:gpt-5-mini`, or the fields of `teacher` in task.yaml.
        budget: the fields of `budget` in task.yaml: the limits of each run, at least one of calls, tokens
            and money. The agent can only lower the number of calls.
        settings: other fields of task.yaml, such as `student` and `strategy`.
        confirm: whether a person approves every run ("always"), or only those that may cost money ("paid"):
            a run is free if the prices of its models are known to be zero.

    Raises:
        InputError: a setting cannot be used.
    """
    if sys.platform == "win32":
        raise InputError("distill_tool needs a POSIX system (Linux or macOS): it locks processes by flock")
    allowed = [data] if isinstance(data, str | Path) else data
    fields = {
        **(settings or {}),
        "teacher": {"model": teacher} if isinstance(teacher, str) else dict(teacher),
        "budget": dict(budget),
    }
    places = tuple(Path(path).absolute() for path in allowed)
    made = Settings(Path(runs).absolute(), places, fields, confirm)
    made.check()
    return DistillToolkit(made)


@lru_cache(maxsize=1)
def _student(folder: Path, modified: int) -> Predictor:
    """Return the student in a folder; it is loaded again when a resumed run has written a new one."""
    return load_predictor(folder)


def _modified(folder: Path) -> int:
    """Return when the newest file of a folder was written, in nanoseconds."""
    return max(path.stat().st_mtime_ns for path in folder.iterdir())


def _ask(proposal: Proposal) -> Any:
    """Interrupt the LangGraph agent that calls, and return a person's answer; None outside of LangGraph."""
    from langgraph.types import interrupt

    # `interrupt` finds no graph to stop: there is no context, or one of a chain, without LangGraph's keys.
    with suppress(RuntimeError, KeyError):
        return interrupt({"question": QUESTION, "plan": proposal})
    return None
