"""Test gradients of batches that the memory of a GPU does not hold at once."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from tutelage.student.data.rows import Row
from tutelage.student.errors import InputError
from tutelage.student.training.adapters import tagger
from tutelage.student.training.adapters.classifier import fresh, full_adapter
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.gradients import Gradients
from tutelage.student.training.losses import PLAIN
from tutelage.student.training.training_set import TrainingSet

LABELS = ["refund", "status"]


class SmallMemory:
    """An adapter on a device that holds only `most` texts. No GPU is at hand to fill."""

    def __init__(self, adapter: Any, most: int):
        self.adapter, self.most, self.asked = adapter, most, list[int]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.adapter, name)

    def logits(self, batch: Sequence[int]) -> Any:
        self.asked.append(len(batch))
        if len(batch) > self.most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return self.adapter.logits(batch)


@pytest.fixture
def adapter(quick: TrainingConfig, easy: list[Row]) -> Any:
    """Return an adapter without dropout, whose rows have different weights."""
    rows = [Row(**{**row, "weight": 1.0 + number % 3}) for number, row in enumerate(easy)]
    made = full_adapter(TrainingSet.of(rows), fresh(LABELS, quick, seed=0), quick)
    made.student.model.eval()
    return made


def gradients_of(adapter: Any) -> list[torch.Tensor]:
    found = [one.grad.clone() for one in adapter.parameters if one.grad is not None]
    for one in adapter.parameters:
        one.grad = None
    return found


def test_the_gradient_of_a_halved_batch_is_that_of_the_whole_batch(adapter: Any) -> None:
    batch = list(range(10))
    loss = Gradients(adapter, PLAIN, None)(batch)
    whole = gradients_of(adapter)
    small = SmallMemory(adapter, 3)
    halved = Gradients(small, PLAIN, None)  # type: ignore[arg-type]
    again = halved(batch)
    assert small.asked == [10, 5, 3, 3, 3, 1]
    assert halved.parts == 4
    torch.testing.assert_close(again, loss)
    for one, other in zip(gradients_of(adapter), whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    halved(batch)
    assert small.asked[6:] == [3, 3, 3, 1], "the next batch begins in parts"


def test_texts_with_more_words_weigh_more_in_parts_too(quick: TrainingConfig) -> None:
    """The loss of a tagger is the mean over the words of a batch, and its parts have different numbers."""
    texts = ["refund", "want", "i want my money back now please", "where is the late parcel of my order"]
    rows = [Row(id=text, text=text, label="[]", weight=1.0 + i) for i, text in enumerate(texts)]
    config = replace(quick, kind="ner")
    made = tagger.adapter(TrainingSet.of(rows), tagger.fresh(["thing"], config, seed=0), config)
    made.student.model.eval()
    loss = Gradients(made, PLAIN, None)([0, 1, 2, 3])
    whole = gradients_of(made)
    again = Gradients(SmallMemory(made, 2), PLAIN, None)([0, 1, 2, 3])  # type: ignore[arg-type]
    torch.testing.assert_close(again, loss)
    for one, other in zip(gradients_of(made), whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_too_little_memory_for_one_text_is_an_error_that_says_what_to_do(adapter: Any) -> None:
    with pytest.raises(InputError, match=r"train on 1 texts at once; lower `batch` or `max_tokens`"):
        Gradients(SmallMemory(adapter, 0), PLAIN, None)([0, 1, 2])  # type: ignore[arg-type]
    assert not gradients_of(adapter)


def test_a_batch_of_rows_without_weight_has_no_loss_and_no_gradient(adapter: Any) -> None:
    adapter.weights[:4] = 0
    assert Gradients(adapter, PLAIN, None)(range(4)) is None
    assert not gradients_of(adapter)
