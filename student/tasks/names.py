"""Names of labels: checks, and corrections of near misses."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

_AROUND = " \t\r\n\"'`“”„‘’«»"  # characters that models put around a name


def validate_label(value: object, labels: Sequence[str]) -> str:
    """Return the value if it is a label of the task.

    Raises:
        ValueError: it is not a label. The message names the most similar one.
    """
    if isinstance(value, int):
        if str(value) in labels and not isinstance(value, bool):
            return str(value)
        raise ValueError(
            f"is {value!r}, expected the name of a label; say what each value means with `label_names` of the"
            " source in task.yaml, e.g. `label_names: {0: negative, 1: positive}`"
        )
    if not isinstance(value, str):
        raise ValueError(f"is {type(value).__name__}, expected the name of a label")
    if value in labels:
        return value
    alike = closest(value, labels)
    near = [alike] if alike != value else get_close_matches(value, labels, 1)
    hint = f"did you mean {near[0]!r}?" if near else "add it to `labels` in task.yaml or correct the row"
    raise ValueError(f"{value!r} is not one of the task's {len(labels)} labels; {hint}")


def one_of(names: Sequence[str]) -> Any:
    """Return the pydantic type for one of these names; it also accepts near misses of a single name.

    Its JSON schema is that of the plain `Literal`, so requests with an enforced schema do not change.
    """
    return Annotated[Literal[tuple(names)], BeforeValidator(lambda value: closest(value, names))]


def closest(value: object, names: Sequence[str]) -> object:
    """Return the only name that equals the value except for case, outer blanks or quotes, and a final dot.

    Returns:
        The value itself if it is a name already, or if no name or several names match.
    """
    if not isinstance(value, str) or value in names:
        return value
    matches = [name for name in names if _plain(name) == _plain(value)]
    return matches[0] if len(matches) == 1 else value


def _plain(name: str) -> str:
    return name.strip(_AROUND).removesuffix(".").strip(_AROUND).casefold()
