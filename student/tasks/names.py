"""Names of labels and metrics: whether one is known, and what was meant."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

_AROUND = " \t\r\n\"'`“”„‘’«»"  # what models put around a name


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


def one_of(names: Sequence[str]) -> Any:
    """Return the pydantic type of one of these names, which also takes a spelling that can only mean one.

    Its JSON schema is that of the plain `Literal`: an endpoint that enforces schemas is asked as before.
    """
    return Annotated[Literal[tuple(names)], BeforeValidator(lambda value: closest(value, names))]


def closest(value: object, names: Sequence[str]) -> object:
    """Return the one name that a value equals but for case, surrounding blanks or quotes, and a final dot.

    Returns:
        The value itself where it is a name, where no name fits, or where several do.
    """
    if not isinstance(value, str) or value in names:
        return value
    fitting = [name for name in names if _plain(name) == _plain(value)]
    return fitting[0] if len(fitting) == 1 else value


def _plain(name: str) -> str:
    """A name without what a careless writer changes."""
    return name.strip(_AROUND).removesuffix(".").strip(_AROUND).casefold()
