"""Train and score one student with the default configuration of its task type."""

from collections.abc import Sequence
from typing import Any

from common.cells import Cell
from common.regime import Data


def trained(rows: Sequence[Any], data: Data, cell: Cell, encoder: Any, base: str = "minilm") -> Any:
    """Return the cell's kind of student, trained on these rows with the cell's seed."""
    from tutelage.student.training.candidates import configuration
    from tutelage.student.training.configuration import TrainingConfig
    from tutelage.student.training.loop import train

    plain = TrainingConfig(mode=cell["student"], base=base, kind=data.kind, fields=data.fields)
    return train(rows, data.labels, configuration(plain, "auto"), seed=cell["seed"], encoder=encoder)


def score(student: Any, data: Data) -> float:
    """Return the macro-F1 on the test rows."""
    from tutelage.student.evaluation.evaluate import evaluate

    return round(evaluate(student, data.test, "macro_f1")["metric"], 4)
