"""The settings of the teacher."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tutelage.agents.endpoints.limits import Limits
from tutelage.agents.endpoints.submitted import Submitted
from tutelage.agents.teacher.budget import Budget

Event = dict[str, object]


@dataclass(frozen=True)
class TeacherSettings:
    """How a teacher is asked.

    Attributes:
        budget: the limits of what the run may spend.
        limits: the limits of how fast an endpoint is asked.
        overlay: a folder whose prompts replace those of the package.
        batches: the submitted batches, if requests go through the provider's batch API.
        minutes_before: minutes that the run took before it was resumed.
        on_call: called with the trace event of every call.
    """

    budget: Budget = field(default_factory=Budget)
    limits: Limits = field(default_factory=Limits)
    overlay: Path | None = None
    batches: Submitted | None = None
    minutes_before: float = 0.0
    on_call: Callable[[Event], None] = lambda event: None
