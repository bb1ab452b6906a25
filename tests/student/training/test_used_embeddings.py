"""Test training of only those rows of the word embedding that the training set uses."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from tutelage.student.data.rows import Row
from tutelage.student.models.base import FullStudent
from tutelage.student.training.adapters.classifier import fresh, full_adapter
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train
from tutelage.student.training.training_set import TrainingSet
from tutelage.student.training.used_embeddings import _word_embedding, used_embeddings

LABELS = ["refund", "status"]


def steps(adapter: Any, number: int) -> None:
    """Train for some steps with a constant learning rate."""
    optimizer = torch.optim.AdamW(adapter.parameters, lr=1e-3, weight_decay=0.1)
    for _ in range(number):
        loss = adapter.logits(range(8)).logsumexp(1).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.fixture(params=["cls", "mean"])
def config(request: pytest.FixtureRequest, minilm_config: TrainingConfig) -> TrainingConfig:
    return replace(minilm_config, pooling=request.param)


@pytest.fixture(scope="module")
def minilm_config() -> TrainingConfig:
    return TrainingConfig(device="cpu", epochs=1, min_steps=1)


def test_used_and_unused_rows_end_with_the_weights_of_a_training_of_all_rows(config, easy) -> None:
    students = [fresh(LABELS, config, seed=0) for _ in range(2)]
    adapters = [full_adapter(TrainingSet.of(easy), student, config) for student in students]
    for student in students:
        student.model.eval()  # dropout would draw other numbers
    before = _word_embedding(students[0].model).weight.detach().clone()
    steps(adapters[0], 3)
    with used_embeddings(adapters[1]):
        assert sum(one.numel() for one in adapters[1].parameters) < 12_000_000 < before.numel() + 1_000_000
        steps(adapters[1], 3)
    found = [student.model.state_dict() for student in students]
    assert list(found[0]) == list(found[1])
    for name, weight in found[0].items():
        torch.testing.assert_close(found[1][name], weight, rtol=1e-4, atol=1e-5)
    unused = sorted(set(range(len(before))) - set(adapters[1].token_ids))
    decayed = _word_embedding(students[1].model).weight.detach()[unused]
    torch.testing.assert_close(decayed, before[unused] * (1 - 1e-4) ** 3)


def test_a_student_keeps_its_embedding_module_and_its_parameters(config, easy) -> None:
    student = fresh(LABELS, config, seed=0)
    embedding, adapter = _word_embedding(student.model), full_adapter(TrainingSet.of(easy), student, config)
    parameters = adapter.parameters
    with used_embeddings(adapter):
        assert _word_embedding(student.model) is not embedding
    assert _word_embedding(student.model) is embedding
    assert adapter.parameters is parameters


def test_an_embedding_that_another_layer_shares_is_trained_as_it_is(minilm_config, easy) -> None:
    student = fresh(LABELS, minilm_config, seed=0)
    student.model.tied = torch.nn.Linear(384, 30522, bias=False)
    student.model.tied.weight = _word_embedding(student.model).weight
    adapter = full_adapter(TrainingSet.of(easy), student, minilm_config)
    embedding = _word_embedding(student.model)
    with used_embeddings(adapter):
        assert _word_embedding(student.model) is embedding


@pytest.mark.parametrize("kind", ["classification", "ner"])
def test_a_trained_student_reads_words_that_training_did_not_use(easy, encoder, kind: str) -> None:
    rows = (
        easy
        if kind == "classification"
        else [Row(**{**row, "label": '[[0, 5, "{}"]]'.format(row["label"])}) for row in easy]
    )
    config = TrainingConfig(device="cpu", epochs=1, min_steps=2, kind=kind)
    student = train(rows, LABELS, config, seed=0, encoder=encoder)
    texts = ["Zebras eat purple bananas", "Quantum chromodynamics"]
    assert isinstance(student, FullStudent) == (kind == "classification")
    assert len(student.predict(texts).answers) == 2
