"""Fixtures shared by the tests of models."""

import pytest
from tutelage.student.models.tagger import Tagger
from tutelage.student.training.adapters.tagger import fresh
from tutelage.student.training.configuration import TrainingConfig


@pytest.fixture(scope="session")
def untrained_tagger() -> Tagger:
    """Return an untrained tagger on MiniLM that reads at most eight tokens."""
    types = ["product", "order", "person", "city", "date"]
    return fresh(types, TrainingConfig(kind="ner", max_tokens=8, device="cpu"), seed=0)
