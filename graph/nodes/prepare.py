"""The node that begins a run: it loads the user's rows into the corpus."""

from tutelage.graph.context import RunContext
from tutelage.graph.state import State
from tutelage.graph.students.predictions import predict_untrained
from tutelage.graph.weaknesses import write_cards


def prepare(ctx: RunContext, state: State) -> State:
    """Add the user's rows to the corpus, the held-out ones apart; store the untrained student's answers."""
    ctx.corpus.forget()
    write_cards(ctx.folder, [])
    ctx.folder.calibration.unlink(missing_ok=True)
    splits = ctx.splits
    ctx.corpus.add_rows(splits.seed + splits.diagnose)
    held_out = splits.test if splits.folded else splits.gate + splits.test
    ctx.corpus.hold_out([row["text"] for row in held_out])
    if splits.labelled:
        predict_untrained(ctx)
    ctx.trace.log(**splits.sizes(), notes=splits.notes)
    rounds = state.get("rounds", ctx.task.budget.rounds)
    return {
        "rounds": rounds,
        "round": 0,
        "attempt": 0,
        "best": 0,
        "promoted": [],
        "weaknesses": [],
        "note": "",
        "final": False,
        "stop": "",
    }
