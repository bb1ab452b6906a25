"""The node that trains the final student of a strategy that has one (GOLD)."""

from tutelage.graph.context import Workshop
from tutelage.graph.state import State
from tutelage.graph.students.training import fresh_student
from tutelage.graph.students.training_rows import training_rows


def final(shop: Workshop, state: State) -> State:
    """Train the final student: a fresh one, on all that promoted rounds brought, as `Strategy.final` says.
    Its round brings no samples, and is taken back should the run go on with more than it had.
    """
    assert shop.strategy.final, "routes.py saw to it"
    number = state["round"] + 1
    student = fresh_student(shop, training_rows(shop, state["promoted"]), shop.strategy.final)
    shop.folder.drop_students([state["best"]])
    student.save(shop.folder.student_of(number))
    shop.remember(number, student)
    return {"round": number, "final": True}
