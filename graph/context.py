"""The run context: task, files and collaborators of a run, passed to every node."""

import json
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tutelage.agents.endpoints.submitted import Submitted
from tutelage.agents.providers.models import ModelSpec, make_model
from tutelage.agents.teacher.journal import Journal
from tutelage.agents.teacher.settings import TeacherSettings
from tutelage.agents.teacher.teacher import Teacher
from tutelage.graph.review.apply import own_labels
from tutelage.graph.review.decisions import Review
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.run_folder.trace import Listener, Trace
from tutelage.graph.state import State
from tutelage.graph.strategies import Strategy
from tutelage.graph.student_cache import StudentCache
from tutelage.graph.task.schema import Task
from tutelage.graph.task.splits import Splits, fold_rows, load_corpus, load_splits
from tutelage.graph.tracing.listeners import asked_listeners
from tutelage.student.corpus import Corpus, Sample
from tutelage.student.data.rows import Row
from tutelage.student.encoder import Encoder, GivenEncoder, PairEncoder, Vectors
from tutelage.student.errors import InputError, Interrupted
from tutelage.student.models.predictions import Predictions
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.observer import Observer
from tutelage.student.training.processes.workers import Launcher

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from tutelage.student.distillation.white_box_teacher import WhiteBoxTeacher

    Maker = Callable[[ModelSpec], BaseChatModel]


@dataclass(frozen=True)
class RunContext:
    """The collaborators of a run. Models and stores are opened on first use; drawing a graph opens none."""

    task: Task
    strategy: Strategy
    splits: Splits
    folder: RunFolder
    encoder: Vectors
    student_encoder: Encoder
    corpus: Corpus
    teacher: Teacher
    trace: Trace
    servers: ExitStack
    students: StudentCache
    stopping: threading.Event = field(default_factory=threading.Event)
    pool_predictions: dict[tuple[int, int], list[Predictions]] = field(default_factory=dict)  # a cache

    @property
    def labels(self) -> list[str]:
        """The task's labels, in the order of every array."""
        return list(self.task.labels)

    @property
    def folds(self) -> list[int | None]:
        """The folds of the labelled rows; [None] if they are not folded, so that a round has one student."""
        return [*range(self.task.fold_count)] if self.splits.folded else [None]

    @cached_property
    def white_box_teacher(self) -> "WhiteBoxTeacher | None":
        """The task's white-box teacher, if it has one. It is not stored on disk: after a crash the same seeds
        produce the same one. If it is trained first, its steps are shown and can be interrupted like those of
        a student; its figures are not logged, because those of a node are its student's.
        """
        from tutelage.student.distillation.white_box_teacher import find_white_box_teacher

        if not (config := self.task.white_box_config()):
            return None
        observer = Observer(step=self.observer().step)
        return find_white_box_teacher(
            config, self.labels, self.splits.seed, seed=self.task.seed, observer=observer
        )

    def call_seed(self, state: State, step: int, fold: int | None = None) -> int:
        """Return the seed for one step's calls: different for every run, round, attempt, step and fold."""
        seed_text = f"{self.task.seed} {state['round']} {state['attempt']} {step}"
        of_fold = f" {fold}" if fold is not None else ""
        return random.Random(seed_text + of_fold).randrange(2**30)  # agents count up from it

    def unfinished(self, state: State) -> list[Sample]:
        """Return the samples of this attempt that are neither kept nor refused yet."""
        drafts = self.corpus.drafts(round=state["round"], status="draft")
        return [sample for sample in drafts if sample["attempt"] == state["attempt"]]

    def settle(self, samples: Sequence[Sample]) -> None:
        """Store samples with their new status, and log their ids by status."""
        by_status: dict[str, list[str]] = {}
        for sample in samples:
            by_status.setdefault(sample["status"], []).append(sample["id"])
        self.corpus.update(samples)
        self.trace.log(samples=by_status)

    def observer(self, fold: int | None = None) -> Observer:
        """Return what follows the training of a student: figures and steps go to the trace, and the training
        stops between two steps if the user asked to stop.
        """

        def step(number: int, of: int) -> None:
            self.stop_if_asked()
            self.trace.step(number, of, fold=fold, folds=len(self.folds))

        return Observer(self.trace.log, step)

    def ask_to_stop(self) -> None:
        """Let the node at work stop soon. It can be called from a signal handler and from any thread."""
        self.stopping.set()
        self.teacher.stop()

    def stop_if_asked(self) -> None:
        """Raise Interrupted if the user asked to stop. A node is left where a killed process could be, too:
        `resume` runs it again from its beginning.
        """
        if self.stopping.is_set():
            raise Interrupted("stopped on request")

    @property
    def launcher(self) -> Launcher | None:
        """The command that starts the processes of a training, if the task has one."""
        command = self.task.student.launcher
        return Launcher(command, self.folder.launcher_log) if command else None

    def training_config(self) -> TrainingConfig:
        """Return the training configuration of the task, or the one that round 0 found to be best."""
        if not self.folder.training.exists():
            return self.task.training_config()
        return self.task.training_config(
            json.loads(self.folder.training.read_text(encoding="utf-8"))["chosen"]
        )

    def check(self) -> None:
        """Set up every model, before anything is written and any request is sent.

        Raises:
            InputError: a key, a package, a program, a model or the rehearsal teacher's texts are missing, the
                Chroma server does not answer, or the settings of the student exclude each other.
        """
        training_config = self.task.training_config()
        if self.launcher:
            self.launcher.check()
        self.teacher.prepare()
        self.corpus.store.check()
        self.encoder.fingerprint  # noqa: B018
        if config := self.task.white_box_config():
            from tutelage.student.distillation.white_box_teacher import check_white_box_teacher

            check_white_box_teacher(config, self.labels, self.splits.seed)
        if self.task.student.mode == "head":
            self.student_encoder.fingerprint  # noqa: B018
            self.student_encoder.require_mean_pooling()
        else:
            from tutelage.student.training.loop import check

            rows = [*self.splits.labelled, *self.splits.test]
            self.splits.notes.extend(check(rows, training_config))

    def close(self) -> None:
        """Release files and ports."""
        self.teacher.close()
        self.corpus.store.close()
        self.servers.close()


def open_context(
    task: Task,
    folder: RunFolder,
    *,
    splits: Splits | None = None,
    encoder: Encoder | GivenEncoder | None = None,
    models: "Mapping[str, BaseChatModel] | None" = None,
    reuse: Sequence[RunFolder] = (),
    listener: Listener | None = None,
) -> RunContext:
    """Return the context of a run, with all its collaborators.

    Args:
        task: a checked task.
        folder: its run folder.
        splits: the task's splits, if they are already loaded.
        encoder: the task's encoder, to share its cache between runs, or one that the user gives.
        models: chat model objects by the names that stand for them in the task.
        reuse: other runs, whose replies to the same requests and whose embeddings are used.
        listener: called with every event (docs/running.md).

    Raises:
        InputError: the data do not match the task.
    """
    splits = splits or load_splits(task)
    names = {spec.model for spec in task.model_specs().values()}
    if unknown := [name for name in models or {} if name not in names]:
        raise InputError(
            f"`teacher`: got {unknown[0]!r}, and the models of this run are {', '.join(sorted(names))};"
            " give the object that it was started with"
        )
    # The user's labels only: a rehearsal teacher must answer the same before and after a resume.
    users = replace(splits, seed=[*splits.seed], diagnose=[*splits.diagnose], gate=[*splits.gate])
    adopt_first_labels(task, splits, folder)
    splits.relabel(own_labels(Review(folder).decisions()))
    servers = ExitStack()
    try:
        asked = asked_listeners(folder.path, describe_run(task, folder), servers)
        plain, student_encoder = _encoders(task, folder, encoder, reuse, servers)
    except BaseException:
        servers.close()
        raise
    trace = Trace(folder.trace, *([listener] if listener else []), *asked)
    vectors = _vectors(task, plain)
    maker = _maker(task, users, vectors, servers, models)
    journal = Journal(folder.journal, [other.journal for other in reuse])
    teacher = _teacher(task, folder, maker, journal, trace)
    corpus = Corpus(
        folder.corpus,
        vectors,
        threshold=task.duplicate_above,
        task_type=task.type,
        server=task.chroma,
    )
    strategy, students = task.resolved_strategy(), StudentCache(folder, student_encoder, task.student.device)
    return RunContext(
        task, strategy, splits, folder, vectors, student_encoder, corpus, teacher, trace, servers, students
    )


def describe_run(task: Task, folder: RunFolder) -> dict[str, str]:
    """Return what exported traces say of the run; without any text of the task."""
    return {
        "tutelage.run": folder.path.name,
        "tutelage.task": task.name,
        "tutelage.task_type": task.kind,
        "tutelage.strategy": task.resolved_strategy().name,
    }


def _encoders(
    task: Task,
    folder: RunFolder,
    shared: Encoder | GivenEncoder | None,
    reuse: Sequence[RunFolder],
    opened: ExitStack,
) -> tuple[Encoder | GivenEncoder, Encoder]:
    """Return the encoder that compares texts, and the one that a head student is trained on."""
    device, tokens = task.student.device, task.student.max_tokens

    def make(name: str, cache: Path) -> Encoder:
        earlier = [other.path / cache.name for other in reuse]
        made = Encoder(name, device=device, max_tokens=tokens, cache=cache, earlier=earlier)
        opened.callback(made.close)
        return made

    plain = shared or make(task.encoder, folder.embeddings)
    if isinstance(plain, GivenEncoder):
        return plain, make(task.student.base, folder.student_embeddings)
    same = task.student.base == plain.name or task.student.mode != "head"  # only heads use an encoder
    return plain, plain if same else make(task.student.base, folder.student_embeddings)


def adopt_first_labels(task: Task, splits: Splits, folder: RunFolder) -> None:
    """Add the rows that the teacher labelled earlier in the run, if the user has labelled none."""
    if splits.folded and not splits.seed and folder.first_labels.exists():
        rows: list[Row] = folder.read_lines(folder.first_labels)
        splits.adopt(rows, fold_rows(task, rows, []))


def _teacher(task: Task, folder: RunFolder, maker: "Maker", journal: Journal, trace: Trace) -> Teacher:
    return Teacher(
        task.model_specs(),
        maker,
        journal,
        TeacherSettings(
            budget=task.spending(),
            limits=task.limits(),
            overlay=task.prompts,
            batches=Submitted(folder.batches) if task.teacher.batch else None,
            minutes_before=trace.minutes(),
            on_call=trace.call,
        ),
    )


def _vectors(task: Task, encoder: Encoder | GivenEncoder) -> Vectors:
    return encoder if len(task.fields) == 1 else PairEncoder(encoder, task.fields)


def _maker(
    task: Task,
    splits: Splits,
    encoder: Vectors,
    servers: ExitStack,
    models: "Mapping[str, BaseChatModel] | None" = None,
) -> "Maker":
    def make(spec: ModelSpec) -> "BaseChatModel":
        if models and spec.model in models:
            return models[spec.model]
        if spec.model != "rehearsal":
            return make_model(spec)
        from tutelage.agents.rehearsal.rehearsal import Behaviour, Rehearsal
        from tutelage.agents.rehearsal.rehearsal_model import RehearsalModel

        assert spec.corpus, "checked when the task is loaded"
        rows = load_corpus(task, splits, spec.corpus)
        behaviour = Behaviour(label_noise=spec.label_noise, typicality=spec.typicality)
        rehearsal = Rehearsal(
            rows, encoder.encode, task_type=task.type, known=splits.diagnose, behaviour=behaviour
        )
        model = RehearsalModel(rehearsal=rehearsal)
        return _behind_faults(model, spec, task.seed, servers) if spec.faults else model

    return make


def _behind_faults(model: "BaseChatModel", spec: ModelSpec, seed: int, servers: ExitStack) -> "BaseChatModel":
    """Return a client of the rehearsal teacher behind a local server with injected faults."""
    from tutelage.agents.rehearsal.faults import Faults
    from tutelage.agents.rehearsal.server import serve

    faults = Faults(share=spec.faults, seed=seed, hang=1.0, drip=1.0)
    url = servers.enter_context(serve(model, faults=faults))
    return make_model(ModelSpec(model="openai:rehearsal", base_url=url, timeout=spec.timeout))


def rehearsal_model(task: Task, *, encoder: Encoder | None = None) -> "BaseChatModel":
    """Return the rehearsal teacher of a task as a chat model, e.g. for agents/rehearsal/server.py.

    Raises:
        InputError: the task sets no `teacher.corpus`, or no text of the corpus is left to answer from.
    """
    spec = next((spec for spec in task.model_specs().values() if spec.corpus), None)
    if spec is None:
        raise InputError(f"task {task.name!r} has no `teacher.corpus` for the rehearsal teacher")
    made = _maker(task, load_splits(task), _vectors(task, encoder or Encoder(task.encoder)), ExitStack())
    return made(replace(spec, model="rehearsal", faults=0.0))
