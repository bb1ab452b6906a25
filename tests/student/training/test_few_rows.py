"""Training on few rows: weights and soft targets, class weights, probes, averaging, restarts."""

import random
from collections import Counter
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
from tutelage.student.errors import InputError
from tutelage.student.models.base import FullStudent, HeadStudent
from tutelage.student.models.load import load_student
from tutelage.student.tasks.fields import join
from tutelage.student.training.adapters.contrastive import balanced, supcon
from tutelage.student.training.adapters.tagger import adapter as tagging_learner
from tutelage.student.training.averaging import WeightAverage
from tutelage.student.training.class_weights import class_weights, positive_weights, type_weights
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.knowledge import Knowledge
from tutelage.student.training.loop import train, untrained_student
from tutelage.student.training.losses import Objective
from tutelage.student.training.training_set import TrainingSet

LABELS = ["refund", "status"]
HEAD = TrainingConfig(mode="head", class_weights="none", head_decay=1e-3)


@pytest.fixture(scope="module")
def base(tiny_bert, tmp_path_factory) -> str:
    """A random BERT of 2 layers, mean-pooled as a sentence encoder."""
    return tiny_bert(tmp_path_factory.mktemp("base") / "tiny", pooling="mean_tokens")


@pytest.fixture(scope="module")
def quick(base: str) -> TrainingConfig:
    return TrainingConfig(base=base, epochs=0, min_steps=60, batch=8, learning_rate=2e-3, device="cpu")


def changed(training_config: TrainingConfig, **fields: Any) -> TrainingConfig:
    return TrainingConfig(**{**vars(training_config), **fields})


def with_fields(rows: list[Row], **fields: Any) -> list[Row]:
    return [Row(**{**row, **fields}) for row in rows]


def texts_of(rows: list[Row]) -> list[str]:
    return [row["text"] for row in rows]


# Row weights and soft targets


def test_a_row_of_weight_two_counts_as_two_rows_in_a_head(encoder, easy) -> None:
    heavy = [*with_fields(easy[:4], weight=2.0), *easy[12:]]
    twice = [*easy[:4], *easy[:4], *easy[12:]]
    one, other = (
        train(rows, LABELS, TrainingConfig(mode="head"), seed=0, encoder=encoder) for rows in (heavy, twice)
    )
    assert one.weight == pytest.approx(other.weight, abs=1e-3)


def test_a_row_of_weight_nought_teaches_a_head_nothing(encoder, easy) -> None:
    wrong = with_fields(easy[:6], label="status", weight=0.0)
    one, other = (
        train(rows, LABELS, TrainingConfig(mode="head"), seed=0, encoder=encoder)
        for rows in (easy[6:], easy[6:] + wrong)
    )
    assert one.weight == pytest.approx(other.weight, abs=1e-3)


def contested(row: Row) -> list[Row]:
    """The same text under both labels, three times as heavy under the first."""
    return [
        Row(**{**row, "label": "refund", "weight": 1.5}),
        Row(**{**row, "label": "status", "weight": 0.5}),
    ]


def test_a_student_s_probability_follows_the_weights_of_contradicting_rows(quick, encoder, easy) -> None:
    for training_config in (HEAD, changed(quick, class_weights="none", min_steps=120)):
        student = train(contested(easy[0]), LABELS, training_config, seed=0, encoder=encoder)
        assert student.probabilities([easy[0]["text"]])[0, 0] == pytest.approx(0.75, abs=0.06)


def test_a_student_learns_the_distribution_of_a_soft_target(quick, encoder, easy) -> None:
    rows = with_fields(easy[:4], target=[0.7, 0.3])
    for training_config in (HEAD, changed(quick, class_weights="none", min_steps=120)):
        student = train(rows, LABELS, training_config, seed=0, encoder=encoder)
        assert student.probabilities(texts_of(rows))[:, 0] == pytest.approx(0.7, abs=0.06)


@pytest.mark.parametrize("mode", ["full", "head"])
def test_a_multilabel_student_learns_a_probability_for_each_label(quick, encoder, easy, mode: str) -> None:
    rows = with_fields(easy[:4], label='["refund"]', target=[0.9, 0.6])
    made = HEAD if mode == "head" else changed(quick, min_steps=150)
    training_config = changed(made, kind="multilabel", class_weights="none")
    student = train(rows, LABELS, training_config, seed=0, encoder=encoder)
    found = student.probabilities(texts_of(rows))
    assert found.mean(0) == pytest.approx([0.9, 0.6], abs=0.07)


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        (
            {"target": [1.0]},
            "classification",
            r"a row's `target` is \[1.0\]; it must hold a probability for each",
        ),
        ({"target": [0.7, 0.7]}, "classification", "of the 2 labels, with a sum of 1"),
        ({"target": [1.5, -0.5]}, "classification", "it must hold a probability for each of the 2 labels"),
        ({"target": [0.5, 0.5]}, "ner", "rows of ner tasks cannot have a `target`"),
        ({"weight": -1.0}, "classification", "weights of rows must be finite and at least 0"),
        ({"weight": float("nan")}, "classification", "weights of rows must be finite and at least 0"),
        ({"weight": 0.0}, "classification", "at least one above 0"),
    ],
)
def test_weights_and_targets_that_do_not_fit_are_refused(encoder, easy, fields, kind, message) -> None:
    with pytest.raises(InputError, match=message):
        train(with_fields(easy[:2], **fields), LABELS, TrainingConfig(kind=kind), seed=0, encoder=encoder)


def test_smoothing_spreads_hard_labels_and_leaves_soft_targets(easy) -> None:
    rows = [easy[0], *with_fields(easy[1:2], target=[0.6, 0.4])]
    found = TrainingSet.of(rows).distributions(LABELS, smoothing=0.2)
    assert found == pytest.approx(np.array([[0.9, 0.1], [0.6, 0.4]]))
    several = [Row(**{**row, "label": '["status"]'}) for row in rows]
    found = TrainingSet.of(several).probabilities(LABELS, smoothing=0.2)
    assert found == pytest.approx(np.array([[0.1, 0.9], [0.6, 0.4]]))


def test_a_smoothed_student_is_less_sure(quick, encoder, easy) -> None:
    texts = texts_of(easy)
    plain, smooth = (
        train(easy, LABELS, changed(quick, smoothing=share), seed=0, encoder=encoder) for share in (0.0, 0.3)
    )
    assert plain.probabilities(texts).max(1).mean() > 0.92
    assert smooth.probabilities(texts).max(1).mean() == pytest.approx(0.85, abs=0.05)


# Class weights


def test_root_weights_are_the_root_of_inverse_ones_but_for_their_mean() -> None:
    targets, ones = np.eye(2)[[0, 0, 0, 0, 1]], np.ones(5)
    found = class_weights(targets, ones, "root")
    assert found[1] / found[0] == pytest.approx(2)
    assert (targets @ found).mean() == pytest.approx(1)
    assert class_weights(targets, ones, "none") == pytest.approx([1, 1])


def test_frequencies_are_counted_in_the_weights_of_rows_and_in_soft_targets() -> None:
    targets, weights = np.array([[1, 0], [0.5, 0.5], [0, 1]]), np.array([2.0, 4.0, 0.0])
    found = class_weights(targets, weights, "inverse")
    assert found[1] / found[0] == pytest.approx(4 / 2)


def test_a_label_of_many_texts_counts_where_it_is_by_the_odds_against_it() -> None:
    targets = np.array([[1, 1, 0]] + [[0, 1, 0]] * 3)
    assert positive_weights(targets, np.ones(4), "inverse") == pytest.approx([3, 1, 3])
    assert positive_weights(targets, np.ones(4), "root") == pytest.approx([3**0.5, 1, 3**0.5])
    assert positive_weights(targets, np.ones(4), "none") == pytest.approx([1, 1, 1])


def test_entity_types_weigh_one_on_average_over_their_words() -> None:
    found = type_weights(np.array([8.0, 2.0, 0.0]), "root")
    assert found[1] / found[0] == pytest.approx(2)
    assert (8 * found[0] + 2 * found[1]) / 10 == pytest.approx(1)
    assert type_weights(np.zeros(2), "root").tolist() == [1, 1]


def test_a_word_of_a_rare_entity_type_counts_more_in_a_tagger_s_loss(base: str) -> None:
    rows = [
        Row(id="1", text="my parcel", label='[[3, 9, "thing"]]'),
        Row(id="2", text="want parcel", label='[[5, 11, "thing"]]'),
        Row(id="3", text="my money", label='[[3, 8, "sum"]]'),
    ]
    plain, weighted = (
        TrainingConfig(kind="ner", base=base, device="cpu", class_weights=how) for how in ("none", "inverse")
    )
    student = untrained_student(["thing", "sum"], plain, seed=0, encoder=Encoder(base))
    one, other = (
        tagging_learner(TrainingSet.of(rows), student, training_config, Objective())
        for training_config in (plain, weighted)
    )
    student.model.eval()
    with torch.no_grad():
        logits = one.logits([0, 1, 2])
        known, found = (made.losses(logits, [0, 1, 2], Objective()) for made in (one, other))
        surprise = -logits.log_softmax(-1)
    entity = torch.tensor(
        [surprise[0, 2, 1], surprise[1, 2, 1], surprise[2, 2, 3]]
    )  # B-thing, B-thing, B-sum
    weights = torch.tensor([3 / 4, 3 / 4, 3 / 2])
    assert found - known == pytest.approx((entity * (weights - 1) * 3 / 6).numpy(), abs=1e-5)


def test_class_weights_find_a_rare_label_that_an_unweighted_head_gives_up(encoder, easy) -> None:
    rows, rare = easy[:12] + easy[12:13], [easy[13]["text"]]
    chances = [
        train(
            rows, LABELS, TrainingConfig(mode="head", class_weights=how), seed=0, encoder=encoder
        ).probabilities(rare)
        for how in ("none", "root", "inverse")
    ]
    none, root, inverse = (float(chance[0, 1]) for chance in chances)
    assert none + 0.05 < root < inverse - 0.05


# Mean pooling and probes


def through_pipeline(folder: Path, texts: list[str], **options: Any) -> np.ndarray:
    from transformers import pipeline

    pipe = pipeline("text-classification", str(folder), top_k=None, device="cpu", **options)
    given = [{entry["label"]: entry["score"] for entry in answer} for answer in pipe(texts, truncation=True)]
    return np.array([[answer[label] for label in LABELS] for answer in given])


@pytest.fixture(scope="module")
def pooled(quick, encoder, easy) -> FullStudent:
    """A mean-pooled student with all weights trained."""
    return train(easy, LABELS, changed(quick, pooling="mean"), seed=0, encoder=encoder)


def test_a_mean_pooled_student_trains_its_encoder(pooled, quick, easy) -> None:
    before = untrained_student(LABELS, changed(quick, pooling="mean"), seed=0, encoder=Encoder(quick.base))
    name = "encoder.encoder.layer.0.output.dense.weight"
    moved = pooled.model.state_dict()[name] - before.model.state_dict()[name]
    assert moved.abs().max() > 1e-3
    assert (pooled.probabilities(texts_of(easy)).argmax(1) == np.repeat([0, 1], 12)).mean() > 0.9


@pytest.mark.parametrize("write", ["save", "export"])
def test_a_mean_pooled_student_is_the_same_after_saving_and_loading(pooled, easy, tmp_path, write) -> None:
    getattr(pooled, write)(tmp_path / "student")
    loaded = load_student(tmp_path / "student", device_name="cpu")
    assert isinstance(loaded, FullStudent)
    assert loaded.probabilities(texts_of(easy)) == pytest.approx(
        pooled.probabilities(texts_of(easy)), abs=1e-6
    )


def test_a_mean_pooled_student_opens_as_a_transformers_pipeline(pooled, easy, tmp_path: Path) -> None:
    pooled.save(tmp_path / "student")
    found = through_pipeline(tmp_path / "student", texts_of(easy), trust_remote_code=True)
    assert found == pytest.approx(pooled.probabilities(texts_of(easy)), abs=1e-4)


def test_loading_a_mean_pooled_student_runs_no_code_of_its_folder(pooled, easy, tmp_path: Path) -> None:
    pooled.save(tmp_path / "student")
    (tmp_path / "student" / "modeling_head.py").write_text("raise RuntimeError('this code was run')")
    loaded = load_student(tmp_path / "student", device_name="cpu")
    assert loaded.predict(texts_of(easy)).answers == pooled.predict(texts_of(easy)).answers


def test_an_architecture_with_mean_pooling_of_its_own_needs_no_code(base, encoder, easy, tmp_path) -> None:
    from transformers import AutoTokenizer, ModernBertConfig, ModernBertModel

    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    tokens = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id"), 0)
    ModernBertModel(ModernBertConfig(vocab_size=40, sep_token_id=3, **tokens, **sizes)).save_pretrained(
        tmp_path / "modern"
    )
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "modern")
    training_config = TrainingConfig(
        base=str(tmp_path / "modern"), epochs=1, min_steps=0, pooling="mean", device="cpu"
    )
    student = train(easy, LABELS, training_config, seed=0, encoder=encoder)
    student.save(tmp_path / "student")
    assert student.model.config.classifier_pooling == "mean"
    assert not list((tmp_path / "student").glob("*.py"))
    assert through_pipeline(tmp_path / "student", texts_of(easy[:3])).shape == (3, 2)


def test_a_pair_is_mean_pooled_as_one_text(base, encoder, tmp_path: Path) -> None:
    names = ("first", "second")
    training_config = TrainingConfig(
        kind="pairs", base=base, fields=names, pooling="mean", epochs=1, min_steps=0, device="cpu"
    )
    pairs = [("where is", "my parcel"), ("my", "money back please")]
    rows = [
        Row(id=str(i), text=join(dict(zip(names, pair, strict=True)), names), label=LABELS[i])
        for i, pair in enumerate(pairs)
    ]
    student = train(rows, LABELS, training_config, seed=0, encoder=encoder)
    logits = student.logits(texts_of(rows))
    inputs = student.tokenizer(*pairs[0], return_tensors="pt")
    assert inputs["token_type_ids"].sum() > 0
    with torch.no_grad():
        hidden = student.model.encoder(**inputs).last_hidden_state[0]
        mean = torch.nn.functional.normalize(hidden.mean(0), dim=-1)
        assert logits[0] == pytest.approx(student.model.classifier(mean).numpy(), abs=1e-5)
    student.save(tmp_path / "student")
    assert load_student(tmp_path / "student", device_name="cpu").logits(texts_of(rows)) == pytest.approx(
        logits, abs=1e-5
    )


def probed(quick: TrainingConfig, **fields: Any) -> TrainingConfig:
    return changed(quick, **{"probe_first": True, "min_steps": None, **fields})


@pytest.mark.parametrize("kind", ["classification", "multilabel"])
def test_a_probe_alone_is_a_head_on_the_same_encoder(quick, easy, kind: str) -> None:
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
    assert alone.probabilities(texts_of(easy)) == pytest.approx(head.probabilities(texts_of(easy)), abs=2e-3)


def test_a_probe_leaves_the_encoder_as_it_is_on_any_base(tiny_bert, encoder, easy, tmp_path: Path) -> None:
    base = tiny_bert(tmp_path / "plain")  # no sentence-transformers model
    training_config = TrainingConfig(base=base, epochs=0, probe_first=True, device="cpu")
    before = untrained_student(LABELS, training_config, seed=0, encoder=encoder).model.encoder.state_dict()
    student = train(easy, LABELS, training_config, seed=0, encoder=encoder)
    assert all(torch.equal(before[name], part) for name, part in student.model.encoder.state_dict().items())
    assert (student.probabilities(texts_of(easy)).argmax(1) == np.repeat([0, 1], 12)).mean() > 0.9


def test_all_weights_are_trained_from_the_probe(quick, encoder, easy) -> None:
    texts = texts_of(easy)
    alone = train(easy, LABELS, probed(quick), seed=0, encoder=encoder)
    slow = train(
        easy, LABELS, probed(quick, epochs=1, min_steps=0, learning_rate=1e-6), seed=0, encoder=encoder
    )
    far = train(easy, LABELS, probed(quick, epochs=1, min_steps=60), seed=0, encoder=encoder)
    assert slow.probabilities(texts) == pytest.approx(alone.probabilities(texts), abs=1e-3)
    assert far.predict(texts, [row["label"] for row in easy]).nll.mean() < 0.2  # type: ignore[union-attr]


def test_a_student_that_goes_on_is_not_probed_again(quick, encoder, easy) -> None:
    first = train(easy, LABELS, probed(quick), seed=0, encoder=encoder)
    turned = [Row(**{**row, "label": LABELS[row["label"] == "refund"]}) for row in easy]
    again = train(turned, LABELS, probed(quick), seed=0, encoder=encoder, start=first)
    assert again.probabilities(texts_of(easy)) == pytest.approx(first.probabilities(texts_of(easy)))


# Contrastive steps


def test_the_contrastive_loss_is_that_of_its_paper() -> None:
    vectors = torch.nn.functional.normalize(torch.tensor([[1.0, 0.2], [0.9, 0.5], [0.1, 1.0]]), dim=-1)
    similar = (vectors @ vectors.T / 0.1).exp()
    first = -(similar[0, 1] / (similar[0, 1] + similar[0, 2])).log()
    second = -(similar[1, 0] / (similar[1, 0] + similar[1, 2])).log()
    numbers = torch.tensor([0, 0, 1])  # the third has no partner, and is no anchor
    found = supcon(vectors, numbers, torch.tensor([1.0, 3.0, 1.0]))
    assert found.item() == pytest.approx(((first + 3 * second) / 4).item(), rel=1e-5)


def test_contrastive_batches_hold_two_texts_of_a_label_and_rare_labels_as_often() -> None:
    labels = ["common"] * 30 + ["rare"] * 2 + ["single"]
    batches = list(islice(balanced(labels, 6, random.Random(0)), 40))
    counts = Counter(labels[i] for batch in batches for i in batch)
    assert counts == {"common": 80, "rare": 80, "single": 80}
    assert all(n % 2 == 0 for batch in batches for n in Counter(labels[i] for i in batch).values())
    assert len({i for batch in batches for i in batch}) == 33


def test_contrastive_steps_draw_texts_of_a_label_together(quick, encoder, easy) -> None:
    def gap(steps: int) -> float:
        """Mean cosine within labels less that between them."""
        training_config = probed(quick, contrastive_steps=steps)
        student = train(easy, LABELS, training_config, seed=0, encoder=encoder)
        student.model.eval()
        with torch.no_grad():
            inputs = student.tokens(texts_of(easy), padding=True, return_tensors="pt")
            vectors = student.model.embed(**inputs).numpy()
        cosines = vectors @ vectors.T
        return float(cosines[:12, :12].mean() + cosines[12:, 12:].mean() - 2 * cosines[:12, 12:].mean())

    assert gap(30) > gap(0) + 0.5


# Averaging


def test_weights_are_averaged_over_the_last_steps() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    average = WeightAverage([parameter], 0.5, 4)
    for step in range(4):
        with torch.no_grad():
            parameter.copy_(torch.tensor([step, 10.0 * step]))
        average.update(step)
    average.apply()
    assert parameter.tolist() == pytest.approx([2.5, 25.0])


def test_averaging_changes_a_student_and_none_leaves_its_last_weights(quick, encoder, easy) -> None:
    last, also, mean = (
        train(easy, LABELS, changed(quick, average=share), seed=0, encoder=encoder).logits(texts_of(easy))
        for share in (0.0, 0.0, 0.9)
    )
    assert last == pytest.approx(also)
    assert np.abs(last - mean).max() > 0.05


# Restarts


def test_a_training_whose_loss_does_not_fall_is_restarted_twice(quick, encoder, easy) -> None:
    told: dict[str, Any] = {}
    absurd = changed(quick, min_steps=100, learning_rate=50.0)
    student = train(easy, LABELS, absurd, seed=0, encoder=encoder, log=told.update)
    assert told == {"restarted": 2}
    assert student.probabilities(texts_of(easy)).shape == (24, 2)


@pytest.mark.parametrize("kind", ["classification", "multilabel", "ner"])
def test_a_training_that_learns_is_not_restarted(quick, encoder, easy, kind: str) -> None:
    told: dict[str, Any] = {}
    label = {"multilabel": '["{}"]', "ner": '[[0, 5, "{}"]]'}.get(kind, "{}")
    rows = [Row(**{**row, "label": label.format(row["label"])}) for row in easy]
    train(rows, LABELS, changed(quick, kind=kind, min_steps=100), seed=0, encoder=encoder, log=told.update)
    assert told == {}


def test_one_label_alone_leaves_nothing_to_learn_and_is_no_collapse(quick, encoder, easy) -> None:
    told: dict[str, Any] = {}
    train(easy[:12], LABELS, changed(quick, min_steps=100), seed=0, encoder=encoder, log=told.update)
    assert told == {}


# Settings


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"smoothing": 1.0}, "`smoothing` is 1.0; it must be a number, at least 0, below 1"),
        ({"average": -0.1}, "`average` is -0.1"),
        ({"contrastive_steps": 5}, "set `probe_first: true` too"),
        ({"mode": "head", "pooling": "mean"}, "`pooling` is not for a student of mode `head`"),
        (
            {"kind": "pairs", "fields": ("a", "b"), "probe_first": True},
            "`probe_first` is not for tasks of type pairs",
        ),
        ({"kind": "ner", "pooling": "mean"}, "`pooling` is not for tasks of type ner"),
        ({"kind": "seq2seq", "smoothing": 0.1}, "`smoothing` is not for tasks of type seq2seq"),
    ],
)
def test_settings_that_do_not_fit_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainingConfig(**fields)


def test_a_probe_alone_takes_no_steps_whatever_the_least_number() -> None:
    assert TrainingConfig(probe_first=True, epochs=0, min_steps=200).steps == 0
    assert TrainingConfig(probe_first=True, epochs=0).pooling == "mean"
    assert TrainingConfig(probe_first=True, epochs=1, min_steps=200).steps == 200


def test_a_distilled_student_has_its_classification_head_whatever_the_configuration(quick, easy) -> None:
    views = black_box(easy, LABELS, Encoder(quick.base, device="cpu"))
    knowledge = Knowledge(weights="equal", kinds=("fin", "res"))
    for training_config in (probed(quick, batch=24), changed(quick, pooling="mean", min_steps=2)):
        student = distil(easy, LABELS, training_config, knowledge, seed=0, views=views)
        assert type(student.model).__name__ == "BertForSequenceClassification"
