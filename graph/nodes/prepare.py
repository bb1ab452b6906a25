"""The node that begins a run: rows into the corpus, held-out ones sealed."""

from tutelage.graph.context import Workshop
from tutelage.graph.nodes.train import answer_untouched
from tutelage.graph.state import State
from tutelage.graph.weaknesses import write_cards


def prepare(shop: Workshop, state: State) -> State:
    """Add the user's rows to the corpus, seal held-out ones, and store the untouched student's answers."""
    shop.corpus.forget()
    write_cards(shop.folder, [])
    shop.folder.calibration.unlink(missing_ok=True)
    splits = shop.splits
    shop.corpus.plant(splits.seed + splits.diagnose)
    sealed = splits.test if splits.folded else splits.gate + splits.test
    shop.corpus.seal([row["text"] for row in sealed])
    if splits.labelled:
        answer_untouched(shop)
    shop.trace.tell(**splits.sizes())
    rounds = state.get("rounds", shop.task.budget.rounds)
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
