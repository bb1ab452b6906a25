"""Test linear probes, and contrastive steps before them."""

import random
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tutelage.student.data.rows import Row
from tutelage.student.distillation.loop import distil
from tutelage.student.distillation.white_box_teacher import black_box
from tutelage.student.encoder import Encoder
from tutelage.student.models.base import FullStudent, HeadStudent
from tutelage.student.training.adapters.contrastive import balanced, supcon
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.knowledge import Knowledge
from tutelage.student.training.loop import continue_training, train, untrained_student

LABELS = ["refund", "status"]


def texts_of(rows: list[Row]) -> list[str]:
    return [row["text"] for row in rows]


def probed(quick: TrainingConfig, **fields: Any) -> TrainingConfig:
    return replace(quick, **{"probe_first": True, "min_steps": None, **fields})


@pytest.mark.parametrize("kind", ["classification", "multilabel"])
def test_a_probe_alone_equals_a_head_on_the_same_encoder(quick, easy, kind: str) -> None:
    rows = easy
    if kind == "multilabel":
        rows = [Row(**{**row, "label": f'["{row["label"]}"]'}) for row in easy]
    encoder = Encoder(quick.base, device="cpu")
    head = train(
        rows, LABELS, TrainingConfig(mode="head", base=quick.base, kind=kind), seed=0, encoder=encoder
    )
    alone = train(rows, LABELS, probed(quick, kind=kind), seed=0, encoder=encoder)
    assert isinstance(head, HeadStudent)
    assert isinstance(alone, FullStudent)
    assert alone.predict_proba(texts_of(easy)) == pytest.approx(head.predict_proba(texts_of(easy)), abs=2e-3)


def test_a_probe_leaves_the_encoder_unchanged_on_any_base(tiny_bert, encoder, easy, tmp_path: Path) -> None:
    base = tiny_bert(tmp_path / "plain")  # no sentence-transformers model
    training_config = TrainingConfig(base=base, epochs=0, probe_first=True, device="cpu")
    before = untrained_student(LABELS, training_config, seed=0, encoder=encoder).model.encoder.state_dict()
    student = train(easy, LABELS, training_config, seed=0, encoder=encoder)
    assert all(torch.equal(before[name], part) for name, part in student.model.encoder.state_dict().items())
    assert (student.predict_proba(texts_of(easy)).argmax(1) == np.repeat([0, 1], 12)).mean() > 0.9


def test_training_of_all_weights_starts_from_the_probe(quick, encoder, easy) -> None:
    texts = texts_of(easy)
    alone = train(easy, LABELS, probed(quick), seed=0, encoder=encoder)
    slow = train(
        easy, LABELS, probed(quick, epochs=1, min_steps=0, learning_rate=1e-6), seed=0, encoder=encoder
    )
    far = train(easy, LABELS, probed(quick, epochs=1, min_steps=60), seed=0, encoder=encoder)
    assert slow.predict_proba(texts) == pytest.approx(alone.predict_proba(texts), abs=1e-3)
    assert far.predict(texts, [row["label"] for row in easy]).nll.mean() < 0.2  # type: ignore[union-attr]


def test_continued_training_fits_no_new_probe(quick, encoder, easy) -> None:
    first = train(easy, LABELS, probed(quick), seed=0, encoder=encoder)
    turned = [Row(**{**row, "label": LABELS[row["label"] == "refund"]}) for row in easy]
    again = continue_training(first, turned, probed(quick), seed=0, encoder=encoder)
    assert again.predict_proba(texts_of(easy)) == pytest.approx(first.predict_proba(texts_of(easy)))


def test_the_contrastive_loss_is_that_of_the_paper() -> None:
    vectors = torch.nn.functional.normalize(torch.tensor([[1.0, 0.2], [0.9, 0.5], [0.1, 1.0]]), dim=-1)
    similar = (vectors @ vectors.T / 0.1).exp()
    first = -(similar[0, 1] / (similar[0, 1] + similar[0, 2])).log()
    second = -(similar[1, 0] / (similar[1, 0] + similar[1, 2])).log()
    numbers = torch.tensor([0, 0, 1])  # the third has no partner, and is no anchor
    found = supcon(vectors, numbers, torch.tensor([1.0, 3.0, 1.0]))
    assert found.item() == pytest.approx(((first + 3 * second) / 4).item(), rel=1e-5)


def test_contrastive_batches_hold_pairs_of_a_label_and_each_label_equally_often() -> None:
    labels = ["common"] * 30 + ["rare"] * 2 + ["single"]
    batches = list(islice(balanced(labels, 6, random.Random(0)), 40))
    counts = Counter(labels[i] for batch in batches for i in batch)
    assert counts == {"common": 80, "rare": 80, "single": 80}
    assert all(n % 2 == 0 for batch in batches for n in Counter(labels[i] for i in batch).values())
    assert len({i for batch in batches for i in batch}) == 33


def test_contrastive_steps_bring_texts_of_a_label_closer_together(quick, encoder, easy) -> None:
    def gap(steps: int) -> float:
        """Return the mean cosine within labels minus that between them."""
        training_config = probed(quick, contrastive_steps=steps)
        student = train(easy, LABELS, training_config, seed=0, encoder=encoder)
        student.model.eval()
        with torch.no_grad():
            inputs = student.tokens(texts_of(easy), padding=True, return_tensors="pt")
            vectors = student.model.embed(**inputs).numpy()
        cosines = vectors @ vectors.T
        return float(cosines[:12, :12].mean() + cosines[12:, 12:].mean() - 2 * cosines[:12, 12:].mean())

    assert gap(30) > gap(0) + 0.5


def test_a_distilled_student_has_the_classification_head_of_its_base(quick, easy) -> None:
    views = black_box(easy, LABELS, Encoder(quick.base, device="cpu"))
    knowledge = Knowledge(weights="equal", kinds=("fin", "res"))
    for training_config in (probed(quick, batch=24), replace(quick, pooling="mean", min_steps=2)):
        student = distil(easy, LABELS, training_config, knowledge, seed=0, views=views).student
        assert type(student.model).__name__ == "BertForSequenceClassification"
