"""The teacher of a distilled model: the labeler of its run, or a function of the user."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tutelage.agents import labeler
from tutelage.agents.providers.models import OBJECT, ModelSpec, make_model
from tutelage.agents.teacher.journal import Journal
from tutelage.agents.teacher.settings import TeacherSettings
from tutelage.agents.teacher.teacher import Teacher
from tutelage.graph.context import rehearsal_model
from tutelage.graph.runs.file_columns import task_fields
from tutelage.graph.task.schema import Task
from tutelage.student.corpus import drawn_sample
from tutelage.student.data.rows import Row, content_id
from tutelage.student.errors import InputError
from tutelage.student.models.base import Predictor
from tutelage.student.tasks.registry import TASK_TYPES

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

TeacherLabel = tuple[str | None, str]  # a label, or None and the reason why there is none
Labeler = Callable[[Sequence[str]], list[TeacherLabel]]
# Of the user: a label for each text, as data files have it, or None.
LabelFunction = Callable[[list[str]], Sequence[object]]


class LabelingModel:
    """A chat model that labels texts as the labeler of a run does: the same prompt, schema and repair, but
    without the labelled examples that a run shows for entities and target texts.

    Its replies are stored in a journal, so that the same request is paid for once.
    """

    def __init__(self, task: Task, model: "BaseChatModel | None", journal: Path):
        spec = task.model_specs()["labeler"]
        if model is not None:
            spec = replace(spec, model=f"{OBJECT}all:{type(model).__name__}")
        elif spec.model.startswith(OBJECT):
            raise InputError(f"the run was given the chat model object {spec.model!r}; give it as `teacher`")
        self._task = task

        def make(spec: ModelSpec) -> "BaseChatModel":
            if model is not None:
                return model
            return rehearsal_model(task) if spec.model == "rehearsal" else make_model(spec)

        settings = TeacherSettings(limits=task.limits(), overlay=task.prompts)
        self._teacher = Teacher({"labeler": spec}, make, Journal(journal), settings)
        self._teacher.prepare()

    def __call__(self, texts: Sequence[str]) -> list[TeacherLabel]:
        """Return the label of each text."""
        rows = [Row(id=content_id(text, self._task.type), text=text, label="") for text in texts]
        unique = {row["id"]: row for row in rows}
        asked = [drawn_sample(row, place=place) for place, row in enumerate(unique.values())]
        settings = labeler.LabelerSettings(votes=self._task.teacher.votes)
        found = labeler.label(self._teacher, self._task.brief(), asked, settings, seed=self._task.seed)
        answers = {sample["id"]: (sample.get("label"), sample.get("reason", "")) for sample in found}
        return [answers[row["id"]] for row in rows]

    def close(self) -> None:
        """Close the connections and the journal."""
        self._teacher.close()


class LabelingFunction:
    """A function of the user that labels texts."""

    def __init__(self, function: LabelFunction, student: Predictor):
        self._function, self._labels = function, student.labels
        self._task_type = TASK_TYPES[student.kind]

    def __call__(self, texts: Sequence[str]) -> list[TeacherLabel]:
        """Return the label of each text; none where the function returned None or no label of the task.

        Raises:
            InputError: the function did not return one value per text.
        """
        found: object = self._function(list(texts))
        if not isinstance(found, Sequence) or isinstance(found, str) or len(found) != len(texts):
            raise InputError(
                f"`teacher` returned {found!r:.60} for {len(texts)} texts; expected a list of as many labels"
            )
        return [self._parsed(label, text) for label, text in zip(found, texts, strict=True)]

    def _parsed(self, label: object, text: str) -> TeacherLabel:
        if label is None:
            return None, "the teacher gave no label"
        try:
            return self._task_type.parse_label(label, text, self._labels), ""
        except ValueError as error:
            return None, f"the teacher's label {error}"


def asked_teacher(
    path: Path, teacher: "BaseChatModel | LabelFunction | None", student: Predictor, journal: Path
) -> Labeler:
    """Return what labels the texts that a student leaves to the teacher.

    Raises:
        InputError: no task tells how to ask a chat model, or the model cannot be made.
    """
    if teacher is not None and not hasattr(teacher, "ainvoke"):
        if callable(teacher):
            return LabelingFunction(teacher, student)
        raise InputError(
            f"`teacher`: got {type(teacher).__name__}, expected a LangChain chat model or a function from a"
            " list of texts to a list of labels"
        )
    return LabelingModel(_task(path), teacher, journal)  # type: ignore[arg-type]


def _task(path: Path) -> Task:
    """Return the task of a run folder or an exported folder."""
    about = task_fields(path)
    if about is None:
        raise InputError(
            f"{path} has no task, which says how the teacher is asked; give a run folder, an exported folder,"
            " or a function as `teacher`"
        )
    return Task.model_validate(about)
