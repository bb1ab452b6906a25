"""The nodes that train students: `train` those of a round, and `final` the last one of GOLD."""

from tutelage.graph.context import RunContext
from tutelage.graph.state import State
from tutelage.graph.students.training import choose_training, fresh_student, train_members
from tutelage.graph.students.training_rows import training_rows


def train(ctx: RunContext, state: State) -> State:
    """Train the round's students: from scratch on labelled rows and the samples of promoted rounds and this
    one, each without its own fold; or, with `continue_training`, go on with the student promoted last.
    """
    kept = [state["best"], *([0] if ctx.strategy.importance else [])]
    ctx.folder.drop_students(kept if state["round"] else [])
    if state["round"] == 0:
        choose_training(ctx)
    train_members(ctx, state["promoted"], state["round"])
    return {}


def final(ctx: RunContext, state: State) -> State:
    """Train a fresh student with the objective `Strategy.final` on the samples of all promoted rounds. This
    round has no samples of its own and is undone if the run is extended later.
    """
    assert ctx.strategy.final, "checked in routes.py"
    number = state["round"] + 1
    rows = training_rows(ctx.strategy, ctx.splits, ctx.corpus, state["promoted"])
    student = fresh_student(ctx, rows, ctx.strategy.final)
    ctx.folder.drop_students([state["best"]])
    student.save(ctx.folder.student_of(number))
    ctx.students.put(number, student)
    return {"round": number, "final": True}
