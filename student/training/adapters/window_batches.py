"""Mini-batches of texts in training, as windows: one for each text that is short or cut."""

from collections.abc import Sequence
from typing import Any

from tutelage.student.models.base import FullStudent
from tutelage.student.models.windows import encode

_MOST = 8  # windows of a text in one step; more would need more memory than training has (ours)


class WindowBatches:
    """The windows of all texts, from which mini-batches are made. `lengths` has the tokens of a text that a
    step reads.

    A text with more than eight windows is represented by eight of them, drawn anew for every step.
    """

    def __init__(self, texts: Sequence[str], student: FullStudent):
        encoded, owners = encode(student, texts, return_attention_mask=False)
        self.student, self.windows = student, [list[dict[str, list[int]]]() for _ in texts]
        for i, owner in enumerate(owners):
            self.windows[owner].append({name: ids[i] for name, ids in encoded.items()})
        self.lengths = [sum(len(one["input_ids"]) for one in windows[:_MOST]) for windows in self.windows]

    @property
    def token_ids(self) -> set[int]:
        """All token ids of the texts, and that of padding."""
        windows = (one for windows in self.windows for one in windows)
        return {self.student.tokenizer.pad_token_id}.union(*(one["input_ids"] for one in windows))

    def inputs(self, batch: Sequence[int]) -> tuple[Any, list[int]]:
        """Return the padded token ids and their attention mask, on the model's device, and for each window
        the place of its text in the batch.
        """
        chosen = [self._drawn(self.windows[i]) for i in batch]
        owners = [place for place, windows in enumerate(chosen) for _ in windows]
        flat = [one for windows in chosen for one in windows]
        padded = self.student.tokenizer.pad(flat, return_tensors="pt")
        return padded.to(self.student.model.device), owners

    def _drawn(self, windows: list[dict[str, list[int]]]) -> list[dict[str, list[int]]]:
        if len(windows) <= _MOST:
            return windows
        import torch

        # By torch's generator, whose seed is that of the training.
        return [windows[int(i)] for i in torch.randperm(len(windows))[:_MOST]]
