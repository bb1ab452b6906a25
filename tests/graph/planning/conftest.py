"""A fixture that makes small tasks to plan."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tutelage.graph.task.load import Task, parse_task
from tutelage.graph.task.samples import sample_task


@pytest.fixture(scope="session")
def make_task() -> Callable[..., Task]:
    """Return a function that makes the bundled task with a head student and one small round.

    Keyword arguments replace fields.
    """

    def make(**parts: Any) -> Task:
        raw = sample_task().model_dump(exclude_none=True)
        strategy = {"base": "auto", "samples": 12}
        raw |= {"student": {"mode": "head"}, "budget": {"rounds": 1}, "strategy": strategy}
        return parse_task({**raw, **parts}, "test", Path())

    return make
