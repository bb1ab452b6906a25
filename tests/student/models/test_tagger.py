"""Test how a tagger is trained, saved and loaded."""

from pathlib import Path

import numpy as np
import pytest
from tutelage.student.data.rows import Row, content_id
from tutelage.student.encoder import Encoder
from tutelage.student.evaluation.evaluate import evaluate
from tutelage.student.models.load import load_student
from tutelage.student.models.tagger import Tagger
from tutelage.student.tasks.spans import Span, spans, written
from tutelage.student.training.adapters.tagger import adapter
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train, untrained_student
from tutelage.student.training.losses import PLAIN
from tutelage.student.training.training_set import TrainingSet

TYPES = ["product", "order", "person", "city", "date"]
TAGS = ["O", *(f"{part}-{kind}" for kind in TYPES for part in "BI")]


@pytest.fixture(scope="module")
def student(ner_rows: dict[str, list[Row]], encoder: Encoder) -> Tagger:
    """Return MiniLM trained on sixty rows."""
    training_config = TrainingConfig(kind="ner", min_steps=30, batch=8, learning_rate=6e-4, device="cpu")
    made = train(ner_rows["teacher"][:60], TYPES, training_config, seed=0, encoder=encoder)
    assert isinstance(made, Tagger)
    return made


def test_a_tagger_learns_to_find_entities_in_new_texts(
    student: Tagger, ner_rows: dict[str, list[Row]], encoder: Encoder
) -> None:
    before = untrained_student(TYPES, TrainingConfig(kind="ner", device="cpu"), seed=0, encoder=encoder)
    assert evaluate(before, ner_rows["test"])["metric"] < 0.1
    assert evaluate(student, ner_rows["test"])["metric"] > 0.6


def test_predictions_are_in_the_order_of_the_texts(student: Tagger, ner_rows: dict[str, list[Row]]) -> None:
    texts = [row["text"] for row in ner_rows["test"][:12]]
    both = student.predict(texts)
    alone = [student.predict([text]) for text in texts]
    assert both.answers == [one.answers[0] for one in alone]
    assert both.confidence == pytest.approx([one.confidence[0] for one in alone], abs=1e-4)


def test_a_saved_student_predicts_the_same_after_loading(
    student: Tagger, ner_rows: dict[str, list[Row]], tmp_path: Path
) -> None:
    texts, gold = ([row[key] for row in ner_rows["test"]] for key in ("text", "label"))  # type: ignore[literal-required]
    student.save(tmp_path / "student")
    loaded = load_student(tmp_path / "student", device_name="cpu")
    assert isinstance(loaded, Tagger)
    assert (loaded.kind, loaded.labels, loaded.tags) == ("ner", TYPES, TAGS)
    assert loaded.max_tokens == student.max_tokens == 128
    before, after = student.predict(texts, gold), loaded.predict(texts, gold)
    assert after.answers == before.answers
    assert after.confidence == pytest.approx(before.confidence, abs=1e-5)
    assert after.nll == pytest.approx(before.nll, abs=1e-4)


def test_a_transformers_pipeline_finds_the_same_spans(
    student: Tagger, ner_rows: dict[str, list[Row]], tmp_path: Path
) -> None:
    from transformers import pipeline

    student.export(tmp_path / "student")
    pipe = pipeline(
        "token-classification", str(tmp_path / "student"), aggregation_strategy="first", device="cpu"
    )
    texts = ["Is the kettle in Cork?", "Tom Becker ordered a wool blanket", "Thank you."]
    texts += [row["text"] for row in ner_rows["test"][:17]]
    ours = [spans(answer) for answer in student.predict(texts).answers]
    theirs = [[Span(one["start"], one["end"], one["entity_group"]) for one in pipe(text)] for text in texts]
    assert theirs == ours
    lengths = {
        len(text[one.start : one.end].split())
        for text, found in zip(texts, ours, strict=True)
        for one in found
    }
    assert {1, 2} <= lengths


def test_the_loss_is_the_mean_over_the_words_of_all_texts_of_a_batch(untrained_tagger: Tagger) -> None:
    city = written([Span(0, 4, "city")])
    given = [("York", city), ("kettles and kettles", "[]"), ("York, York", city)]
    rows = [Row(id=content_id(text), text=text, label=label) for text, label in given]
    made = adapter(TrainingSet.of(rows), untrained_tagger, TrainingConfig(kind="ner"))
    logits = made.logits([0, 1, 2])
    losses = made.losses(logits, [0, 1, 2], PLAIN) * made.weights
    words = []
    for row, tags in enumerate((["B-city"], ["O"] * 3, ["B-city", "O", "O"])):
        heads = untrained_tagger.words([given[row][0]])[0].heads
        surprise = -logits[row].log_softmax(-1)
        words += [surprise[head, TAGS.index(tag)].item() for head, tag in zip(heads, tags, strict=True)]
    assert losses.mean().item() == pytest.approx(sum(words) / 7, rel=1e-5)


def easy_rows() -> list[Row]:
    """Return rows in which the word before `please` is a thing."""
    words = ["refund", "money", "back", "want", "order", "where", "late", "broken", "lost"]
    made = []
    for i, word in enumerate(words):
        text = f"{words[i - 1]} {word} please {words[i - 2]}"
        start = text.index(f"{word} please")
        entity = written([Span(start, start + len(word), "thing")])
        made.append(Row(id=content_id(text), text=text, label=entity))
    return made


@pytest.mark.parametrize("epochs", [0, 40], ids=["untrained", "trained"])
def test_the_same_seed_gives_the_same_student_and_another_seed_another(
    tiny_base: str, encoder: Encoder, epochs: int
) -> None:
    training_config = TrainingConfig(
        kind="ner", base=tiny_base, epochs=epochs, min_steps=0, learning_rate=3e-3, device="cpu"
    )
    texts = [row["text"] for row in easy_rows()]
    gold = [row["label"] for row in easy_rows()]
    one, again, other = (
        train(easy_rows(), ["thing"], training_config, seed=seed, encoder=encoder).predict(texts, gold)
        for seed in (1, 1, 2)
    )
    assert one.answers == again.answers
    assert one.nll == pytest.approx(again.nll, abs=1e-6)
    assert np.abs(np.array(one.nll) - np.array(other.nll)).max() > 1e-4
    assert (one.answers == gold) == (epochs > 0)
