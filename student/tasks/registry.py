"""The list of all task types."""

from collections.abc import Mapping

from tutelage.student.tasks.classification import CLASSIFICATION, PAIRS
from tutelage.student.tasks.multilabel import MULTILABEL
from tutelage.student.tasks.ner import NER
from tutelage.student.tasks.seq2seq import SEQ2SEQ
from tutelage.student.tasks.task_type import TaskType

TASK_TYPES: Mapping[str, TaskType] = {
    "classification": CLASSIFICATION,
    "pairs": PAIRS,
    "multilabel": MULTILABEL,
    "ner": NER,
    "seq2seq": SEQ2SEQ,
}
