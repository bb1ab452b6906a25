"""Names of labels and metrics: whether one is known, and what was meant."""

from collections.abc import Sequence
from difflib import get_close_matches


def unknown(metric: str, metrics: Sequence[str]) -> str:
    """That a metric is none of these, in words; "" if it is one."""
    own = "; functions of your own are for `kind: seq2seq`" if ":" in metric else ""
    return "" if metric in metrics else f"expected one of {', '.join(metrics)}, got {metric!r}{own}"


def known(value: object, labels: Sequence[str]) -> str:
    """A label of the task.

    Raises:
        ValueError: it is none, with the nearest one.
    """
    if not isinstance(value, str):
        raise ValueError(f"is {type(value).__name__}, expected the name of a label")
    if value in labels:
        return value
    near = get_close_matches(value, labels, 1)
    hint = f"did you mean {near[0]!r}?" if near else "add it to `labels` in task.yaml or mend the row"
    raise ValueError(f"{value!r} is not one of the task's {len(labels)} labels; {hint}")
