"""Test distillation from white-box and black-box teachers, and which rows each stage trains on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tutelage.student.data.rows import Row
from tutelage.student.distillation.loop import distil
from tutelage.student.distillation.white_box_teacher import (
    Views,
    WhiteBoxTeacher,
    black_box,
    check_white_box_teacher,
    find_white_box_teacher,
    load_white_box_teacher,
)
from tutelage.student.errors import InputError, Interrupted
from tutelage.student.training.adapters.classifier import fresh
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.knowledge import Knowledge
from tutelage.student.training.loop import train
from tutelage.student.training.observer import Observer

LABELS = ["refund", "status"]
QUICK: dict[str, Any] = {"episodes": 2, "share": 0.5, "phase": 10, "reward_share": 0.25}


def score(logits: np.ndarray[Any, Any], rows: Sequence[Row], labels: Sequence[str] = LABELS) -> float:
    """Return the share of rows whose label is the most probable one."""
    return float(np.mean([labels[i] == row["label"] for i, row in zip(logits.argmax(1), rows, strict=True)]))


def texts_of(rows: Sequence[Row]) -> list[str]:
    return [row["text"] for row in rows]


@pytest.fixture(scope="module")
def tiny(tiny_bert, tmp_path_factory) -> TrainingConfig:
    """Return a configuration that trains a full student in a second."""
    base = tiny_bert(tmp_path_factory.mktemp("base") / "tiny")
    return TrainingConfig(base=base, epochs=1, min_steps=60, batch=8, learning_rate=2e-3, device="cpu")


@pytest.fixture(scope="module")
def white_box_teacher(tiny, easy) -> WhiteBoxTeacher:
    """Return a tiny BERT that was fine-tuned on the task."""
    return find_white_box_teacher(tiny, LABELS, easy, seed=0)


@pytest.fixture(scope="module")
def learn(tiny, easy, white_box_teacher):
    """Return a function that distils with settings and returns the student's logits and the report."""

    def learn(
        seed: int = 0, training_config: TrainingConfig = tiny, views: Views | None = None, **settings: Any
    ):
        knowledge = Knowledge(**{**QUICK, **settings})
        views = views or white_box_teacher.views(texts_of(easy), knowledge)
        student, report = distil(easy, LABELS, training_config, knowledge, seed=seed, views=views)
        return student.logits(texts_of(easy)), report

    return learn


def test_a_white_box_teacher_with_other_labels_is_first_trained_on_the_rows(white_box_teacher, easy) -> None:
    views = white_box_teacher.views(texts_of(easy), Knowledge())
    assert score(views.logits.numpy(), easy) > 0.9
    assert views.features.shape == (24, 1, 32)
    assert views.relations([3, 5]).shape == (2, 32, 32)


def test_the_training_of_a_white_box_teacher_is_observed_and_can_be_interrupted(tiny, easy) -> None:
    steps: list[int] = []

    def step(number: int, of: int) -> None:
        steps.append(number)
        if number == 3:
            raise Interrupted("stopped on request")

    with pytest.raises(Interrupted):
        find_white_box_teacher(tiny, LABELS, easy, seed=0, observer=Observer(step=step))
    assert steps == [1, 2, 3]


def test_a_white_box_teacher_with_labels_in_another_order_and_case_is_matched(
    white_box_teacher, easy, tmp_path: Path
) -> None:
    white_box_teacher.student.save(tmp_path)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace("refund", "REFUND"))
    turned = find_white_box_teacher(
        TrainingConfig(base=str(tmp_path), device="cpu"), LABELS[::-1], [], seed=0
    )
    found = turned.views(texts_of(easy), Knowledge()).logits
    wanted = white_box_teacher.views(texts_of(easy), Knowledge()).logits
    assert torch.allclose(found, wanted.flip(1), atol=1e-5)
    assert score(found.numpy(), easy, LABELS[::-1]) > 0.9


def test_a_white_box_teacher_with_other_labels_and_no_rows_is_refused(
    white_box_teacher, tmp_path: Path
) -> None:
    white_box_teacher.student.save(tmp_path)
    with pytest.raises(InputError, match="has the labels refund, status, and the task has good, bad; rename"):
        find_white_box_teacher(TrainingConfig(base=str(tmp_path), device="cpu"), ["good", "bad"], [], seed=0)


def test_a_white_box_teacher_without_a_trained_classifier_is_refused(tiny) -> None:
    with pytest.raises(InputError, match=r"no trained classifier \(classifier.bias is missing\)"):
        load_white_box_teacher(tiny.base, ["LABEL_0", "LABEL_1"], device_name="cpu")


def test_the_white_box_teacher_reads_every_text_once(white_box_teacher, easy) -> None:
    texts, made = texts_of(easy), WhiteBoxTeacher(white_box_teacher.student)
    for _ in range(2):
        made.views(texts, Knowledge()).relations([0, 1, 2])
    assert made.read == 24
    made.views([*texts, "a new text"], Knowledge())
    assert made.read == 25


def test_states_beyond_the_memory_limit_are_recomputed_with_the_same_result(white_box_teacher, easy) -> None:
    kept, small = (
        WhiteBoxTeacher(white_box_teacher.student),
        WhiteBoxTeacher(white_box_teacher.student, room=2000),
    )
    one, other = (made.views(texts_of(easy), Knowledge()) for made in (kept, small))
    assert torch.allclose(one.relations([0, 9, 20]), other.relations([0, 9, 20]), atol=1e-5)
    assert small.used <= 2000
    assert (kept.read, small.read > 24) == (24, True)


def test_relations_of_a_batch_do_not_depend_on_its_padding(white_box_teacher, easy) -> None:
    short, long = "refund", "where is the late parcel please it now"
    views = white_box_teacher.views([short, long], Knowledge())
    both = views.relations([0, 1])
    # [CLS] refund [SEP], straight from the model
    inputs = white_box_teacher.student.tokenizer([short], return_tensors="pt")
    with torch.no_grad():
        states = white_box_teacher.student.model.eval()(**inputs, output_hidden_states=True).hidden_states
    assert torch.allclose(both[0], states[0][0].T @ states[-1][0] / 3, atol=5e-3)


def test_a_black_box_teacher_gives_label_confidence_vector_and_similarities(encoder, easy) -> None:
    sure = Row(**{**easy[0], "confidence": 0.8})
    views = black_box([sure, easy[-1]], LABELS, encoder)
    assert views.logits.softmax(1).flatten().tolist() == pytest.approx([0.8, 0.2, 0, 1])
    vectors = encoder.encode(texts_of([sure, easy[-1]]))
    assert views.features[:, 0].numpy() == pytest.approx(vectors * np.sqrt(384))
    assert views.relations([1, 0]).numpy() == pytest.approx(vectors[::-1] @ vectors[::-1].T, abs=1e-5)


@pytest.mark.parametrize("weights", ["learnt", "equal", "constant", "random", "dynamic"])
def test_a_student_learns_with_every_way_of_weighting(learn, easy, weights: str) -> None:
    logits, report = learn(weights=weights)
    assert score(logits, easy) > 0.9
    practised = weights in ("learnt", "constant")
    assert report["steps"] == (120 if practised else 0, 60)
    # 60 steps are 6 phases of 10, in each of 2 episodes
    assert (len(report["practice"]), len(report["trace"])) == (12 if practised else 0, 6)
    assert list(report["mean_action"]) == ["fin", "res", "fea", "rel"][: 3 if weights == "dynamic" else 4]


def test_a_student_learns_from_a_black_box_teacher(learn, easy, encoder) -> None:
    assert score(learn(views=black_box(easy, LABELS, encoder), weights="equal")[0], easy) > 0.9


@pytest.mark.parametrize("action", ["soft", "hard"])
def test_hard_actions_are_zero_or_one_in_both_stages(learn, action: str) -> None:
    _, report = learn(action=action)
    weighed = [*(one["action"] for one in report["practice"]), *report["trace"]]
    assert ({part for one in weighed for part in one} <= {0, 1}) == (action == "hard")


def test_student_and_teacher_may_differ_in_width_and_depth(learn, easy) -> None:
    wide = WhiteBoxTeacher(fresh(LABELS, TrainingConfig(device="cpu"), 0))
    settings: dict[str, Any] = {"matched": 2, "layers": 2, "weights": "equal", "normalise": False}
    views = wide.views(texts_of(easy), Knowledge(**settings))
    assert views.features.shape == (24, 2, 384)
    assert score(learn(views=views, **settings)[0], easy) > 0.9


def test_the_same_seed_gives_the_same_student_and_another_seed_another(learn) -> None:
    (one, about), (again, about_again), (other, _) = (learn(seed) for seed in (1, 1, 2))
    assert np.abs(one - again).max() < 1e-5
    assert [about[part] for part in ("trace", "practice")] == [
        about_again[part] for part in ("trace", "practice")
    ]
    assert np.abs(one - other).max() > 1e-2


def test_distilling_labels_alone_equals_training(learn, easy, tiny, encoder) -> None:
    found, _ = learn(weights="equal", kinds=("fin",), normalise=False)
    wanted = train(easy, LABELS, tiny, seed=0, encoder=encoder).logits(texts_of(easy))
    assert np.abs(found - wanted).max() < 1e-4


def test_stage_two_starts_from_a_new_student(learn) -> None:
    # With `hard_above=0` every action is 1, so only the student could carry anything over from stage one.
    after, report = learn(kinds=("fin", "res"), action="hard", hard_above=0.0, reuse=True)
    alone, _ = learn(kinds=("fin", "res"), weights="equal")
    assert report["steps"] == (120, 60)
    assert np.abs(after - alone).max() < 1e-5


@pytest.mark.parametrize("reuse", [False, True])
def test_rows_on_which_rewards_are_measured_are_not_trained_on(
    learn, easy, white_box_teacher, reuse: bool
) -> None:
    views, trained = white_box_teacher.views(texts_of(easy), Knowledge()), []

    def relations(indices: Sequence[int]) -> torch.Tensor:
        trained.append(set(indices))
        return views.relations(indices)

    watched = Views(views.logits, views.features, relations, views.relation_type)
    _, report = learn(views=watched, reuse=reuse)
    held = {i for i, row in enumerate(easy) if row["id"] in report["held_out"]}
    first = report["steps"][0]
    assert len(held) == 6
    assert not held & set().union(*trained[:first])
    assert set().union(*trained[first:]) == set(range(24)) - (set() if reuse else held)


def test_rewards_are_the_decreases_of_the_cross_entropy(learn) -> None:
    # With `hard_above=0` and labels alone both episodes are plain training, from ln 2 to nearly 0.
    _, report = learn(bonus=0.0, kinds=("fin",), action="hard", hard_above=0.0, share=1.0)
    for episode in (report["practice"][:6], report["practice"][6:]):
        assert sum(one["reward"] for one in episode) == pytest.approx(0.65, abs=0.1)


def test_a_constant_policy_repeats_one_action_and_a_random_one_none(learn) -> None:
    _, constant = learn(weights="constant")
    _, drawn = learn(weights="random")
    assert len({tuple(action) for action in constant["trace"]}) == 1
    assert len({tuple(action) for action in drawn["trace"]}) == 6


def test_a_head_and_too_few_rows_are_refused(learn, easy, tiny, white_box_teacher) -> None:
    with pytest.raises(InputError, match="a head has no layers to distil into; set the student's mode"):
        learn(training_config=TrainingConfig(mode="head"))
    views = white_box_teacher.views(texts_of(easy[:4]), Knowledge())
    with pytest.raises(InputError, match="4 rows are too few to learn a policy on: 0 of them"):
        distil(easy[:4], LABELS, tiny, Knowledge(), seed=0, views=views)


def test_a_head_is_refused_as_a_white_box_teacher_before_its_code_would_run(
    easy, encoder, tmp_path: Path
) -> None:
    train(easy, LABELS, TrainingConfig(mode="head"), seed=0, encoder=encoder).export(tmp_path / "head")
    with pytest.raises(InputError, match="is a linear layer on mean-pooled embeddings"):
        check_white_box_teacher(TrainingConfig(base=str(tmp_path / "head")), LABELS, easy)
    with pytest.raises(InputError, match="cannot be loaded"):
        check_white_box_teacher(TrainingConfig(base="nobody/nothing"), LABELS, easy)
