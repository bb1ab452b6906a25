"""Long texts as overlapping windows, whose logits or embeddings are averaged (`student: {long: window}`).

A window has at most `max_tokens` tokens, special ones included, and repeats the last quarter of that number
from the window before it, so that words at a border are read in context too. Windows of a text weigh the
same. The overlap and the plain mean are ours.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from tutelage.student.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

Long = Literal["cut", "window"]

_AT_ONCE = 64  # windows of one forward pass; a single text may have thousands


def overlap(max_tokens: int) -> int:
    """Return how many tokens a window repeats."""
    return max_tokens // 4


def encode(student: Any, texts: Sequence[str], **options: Any) -> tuple[Any, list[int]]:
    """Return the tokenizer's encodings, and of each the index of its text, in the order of the texts. A
    student that cuts has one encoding for each text.
    """
    if student.long == "cut":
        return student.tokens(texts, **options), list(range(len(texts)))
    if not student.tokenizer.is_fast:
        raise InputError(
            f"{student.tokenizer.name_or_path} has no fast tokenizer, which `long: window` needs; use another"
            " base, or `long: cut`"
        )
    step = overlap(student.max_tokens)
    encoded = student.tokens(texts, stride=step, return_overflowing_tokens=True, **options)
    return encoded, [int(owner) for owner in encoded.pop("overflow_to_sample_mapping")]


def mean_by_text(values: "Tensor", owners: Sequence[int], count: int) -> "Tensor":
    """Return the mean over the windows of each text, shape (count, …), of values of shape (windows, …)."""
    import torch

    if len(owners) == count:
        return values
    index = torch.tensor(owners, device=values.device)
    sums = values.new_zeros(count, *values.shape[1:]).index_add(0, index, values)
    return sums / index.bincount(minlength=count)[:, None]


def mean_over_windows(
    student: Any, texts: Sequence[str], layers: Callable[..., "Tensor"], *, size: int
) -> "Tensor":
    """Return the output of `layers` for each text, averaged over its windows, on the CPU, without gradient.

    Args:
        student: a full student, in evaluation mode.
        texts: at least one text; texts of similar length should be neighbours.
        layers: called with the inputs of the model; returns shape (windows, width).
        size: texts that are tokenized and padded together.
    """
    import torch

    parts = []
    with torch.inference_mode():
        for start in range(0, len(texts), size):
            part = texts[start : start + size]
            encoded, owners = encode(student, part, padding=True, return_tensors="pt")
            values = [
                layers(
                    **{name: ids[i : i + _AT_ONCE].to(student.model.device) for name, ids in encoded.items()}
                )
                for i in range(0, len(owners), _AT_ONCE)
            ]
            parts.append(mean_by_text(torch.cat(values).float().cpu(), owners, len(part)))
    return torch.cat(parts)
