"""The node that trains the final student of a strategy that has one (GOLD)."""

from tutelage.graph.context import RunContext
from tutelage.graph.state import State
from tutelage.graph.students.training import fresh_student
from tutelage.graph.students.training_rows import training_rows


def final(ctx: RunContext, state: State) -> State:
    """Train a fresh student with the objective `Strategy.final` on the samples of all promoted rounds. This
    round has no samples of its own and is undone if the run is extended later.
    """
    assert ctx.strategy.final, "checked in routes.py"
    number = state["round"] + 1
    student = fresh_student(ctx, training_rows(ctx, state["promoted"]), ctx.strategy.final)
    ctx.folder.drop_students([state["best"]])
    student.save(ctx.folder.student_of(number))
    ctx.remember(number, student)
    return {"round": number, "final": True}
