"""Fixtures shared by the tests of training."""

from collections.abc import Callable

import pytest
from tutelage.student.training.configuration import TrainingConfig


@pytest.fixture(scope="session")
def pooled_base(tiny_bert: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the folder of a random 2-layer BERT, mean-pooled as a sentence encoder."""
    return tiny_bert(tmp_path_factory.mktemp("base") / "tiny", pooling="mean_tokens")


@pytest.fixture(scope="session")
def quick(pooled_base: str) -> TrainingConfig:
    """Return a configuration that trains the mean-pooled BERT for sixty steps."""
    return TrainingConfig(base=pooled_base, epochs=0, min_steps=60, batch=8, learning_rate=2e-3, device="cpu")
