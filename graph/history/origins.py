"""Where the user's texts are: the place of a row in the file of a data set."""

from collections.abc import Collection, Mapping
from typing import Any

from tutelage.graph.task.data_parts import Source
from tutelage.student.data.annotation_tools import plain_record
from tutelage.student.data.files import read_records
from tutelage.student.data.readers import text_of
from tutelage.student.data.rows import content_id
from tutelage.student.errors import InputError
from tutelage.student.tasks.fields import Fields
from tutelage.student.tasks.task_type import TaskType


def source_name(data: Mapping[str, Any], set_name: str) -> str:
    """Return the file or hub name of a data set in the `data` of run.json's task; "" if there is none."""
    found = data.get(set_name)
    return str(Source.model_validate(found)) if found else ""


def places(
    data: Mapping[str, Any], set_name: str, wanted: Collection[str], *, fields: Fields, task_type: TaskType
) -> dict[str, str]:
    """Return for each wanted row id its place in the set's file, such as `texts.jsonl line 12`.

    The file is read until all are found. Rows are left out if the file has moved or changed since the run, or
    if the data set is one of the hub.
    """
    found: dict[str, str] = {}
    left = set(wanted)
    if not (data.get(set_name) and left):
        return found
    source = Source.model_validate(data[set_name])
    if not source.path:
        return found
    label = source.label or task_type.label_field
    try:
        for where, raw in read_records(source.path, label, encoding=source.encoding, split=source.split):
            row = content_id(text_of(plain_record(raw), where, source.text or fields, task_type), task_type)
            if row in left:
                found[row] = where
                left.remove(row)
                if not left:
                    break
    except InputError:
        return found
    return found
