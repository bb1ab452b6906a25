"""The brief: the description of the task in the payload of every role, and what is read from it."""

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from tutelage.student.tasks.fields import ONE, Fields, split
from tutelage.student.tasks.registry import TASK_TYPES
from tutelage.student.tasks.task_type import TaskType


class Brief(TypedDict):
    """The description of the task that every agent receives: the instruction, label -> description, the names
    of the two texts of a pair, and the task type unless it is classification. Each type has its own prompts.
    """

    task: str
    labels: NotRequired[dict[str, str]]
    fields: NotRequired[list[str]]
    kind: NotRequired[str]


def fields_of(brief: Mapping[str, Any]) -> Fields:
    """Return the names of the fields of a text, from a brief or any payload: one field, or two for pairs."""
    return tuple(brief.get("fields", ONE))


def task_type_of(brief: Mapping[str, Any]) -> TaskType:
    """Return the task type that a brief or any payload names; classification is the default."""
    return TASK_TYPES[brief.get("kind", "classification")]


def labels_of(brief: Mapping[str, Any]) -> list[str]:
    """Return the names of the task's labels."""
    return list(brief.get("labels", ()))


def labelled_entry(row: Mapping[str, Any], brief: Mapping[str, Any]) -> dict[str, Any]:
    """Return the payload entry of a labelled text: the fields of the text, and the label under its key."""
    task_type, text = task_type_of(brief), row["text"]
    return {**split(text, fields_of(brief)), task_type.label_field: task_type.to_payload(row["label"], text)}
