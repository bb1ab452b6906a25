"""Test how a tagger maps words to tokens and tags, and its predictions for given logits."""

import random
from math import log
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tutelage.student.data.rows import Row
from tutelage.student.models.tagger import Tagger
from tutelage.student.tasks.spans import Span, spans, written
from tutelage.student.training.adapters.tagger import check
from tutelage.student.training.configuration import TrainingConfig

TYPES = ["product", "order", "person", "city", "date"]
TAGS = ["O", *(f"{part}-{kind}" for kind in TYPES for part in "BI")]
SETS = ("seed", "diagnose", "gate", "test", "teacher")


class FixedLogits(torch.nn.Module):
    """A token classifier of one text with given logits, shape (tokens, tags)."""

    device = torch.device("cpu")

    def __init__(self, logits: Any):
        super().__init__()
        self.table = torch.as_tensor(np.asarray(logits), dtype=torch.float32)

    def forward(self, input_ids: torch.Tensor, **more: torch.Tensor) -> SimpleNamespace:
        assert input_ids.shape == (1, len(self.table))
        return SimpleNamespace(logits=self.table[None])


def with_tags(tokenizer: Any, text: str, numbers: dict[int, int], *, max_tokens: int = 128) -> Tagger:
    """Return a tagger that is sure of these tag numbers for some tokens of a text, and of O for others."""
    size = min(len(tokenizer(text)["input_ids"]), max_tokens)
    table = np.full((size, len(TAGS)), -9.0)
    table[np.arange(size), [numbers.get(i, 0) for i in range(size)]] = 9
    return Tagger(FixedLogits(table), tokenizer, TAGS, max_tokens)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Sinéad's kettles!", ["sin", "'", "s", "kettle", "!"]),
        ("a 😀世界", ["a", "[UNK]", "世", "[UNK]"]),
    ],
)
def test_a_word_is_represented_by_its_first_wordpiece(
    untrained_tagger: Tagger, text: str, wanted: list[str]
) -> None:
    [words] = Tagger(None, untrained_tagger.tokenizer, TAGS, 128).words([text])
    tokens = untrained_tagger.tokenizer.convert_ids_to_tokens(words.inputs["input_ids"])
    assert [tokens[head or 0] for head in words.heads] == wanted


def test_words_beyond_the_token_limit_have_no_token(untrained_tagger: Tagger) -> None:
    text = "one two three four five six Maria Novak"
    [words] = untrained_tagger.words([text])
    assert words.heads == [1, 2, 3, 4, 5, 6, None, None]
    assert len(words.inputs["input_ids"]) == 8


def test_entities_beyond_the_token_limit_are_reported_before_a_run() -> None:
    long, short = "one two three four five six Maria Novak", "Maria"
    rows = [
        Row(id="1", text=long, label=written([Span(28, 39, "person")])),
        Row(id="2", text=long, label=written([Span(0, 3, "person")])),
        Row(id="3", text=short, label=written([Span(0, 5, "person")])),
    ]
    [note] = check(rows, TrainingConfig(kind="ner", max_tokens=8))
    assert note.startswith("1 of your 3 texts have entities beyond the 8 tokens that the student reads")
    assert check(rows, TrainingConfig(kind="ner", max_tokens=10)) == []


def test_no_entity_is_predicted_beyond_the_token_limit(untrained_tagger: Tagger) -> None:
    text = "Maria two three four five six Maria Novak"
    tagger = with_tags(untrained_tagger.tokenizer, text, {1: TAGS.index("B-person")}, max_tokens=8)
    assert tagger.predict([text]).answers == [written([Span(0, 5, "person")])]


def metaspace(texts: list[str]) -> Any:
    """Return a tokenizer like those of T5 and XLM-R: `▁` stands for the space before a word."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<pad>", "<unk>"], show_progress=False)
    made.train_from_iterator(texts, trainer)
    return made


def byte_level(texts: list[str]) -> Any:
    """Return a tokenizer like those of GPT-2 and RoBERTa: bytes, including the space before a word."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    return made


@pytest.fixture(scope="module", params=["wordpiece", "metaspace", "byte level"])
def tokenizer(request: Any, untrained_tagger: Tagger, ner_rows: dict[str, list[Row]]) -> Any:
    from transformers import PreTrainedTokenizerFast

    if request.param == "wordpiece":
        return untrained_tagger.tokenizer
    made = {"metaspace": metaspace, "byte level": byte_level}[request.param]
    texts = [row["text"] for row in ner_rows["teacher"]]
    return PreTrainedTokenizerFast(tokenizer_object=made(texts), pad_token="<pad>", unk_token="<unk>")


def test_the_token_of_a_word_begins_at_the_word_with_or_without_leading_space(
    tokenizer: Any, ner_rows: dict[str, list[Row]]
) -> None:
    texts = [" Zoë  Novak\tin Łódź, 東京!", *(row["text"] for row in ner_rows["test"])]
    for text, words in zip(texts, Tagger(None, tokenizer, TAGS, 128).words(texts), strict=True):
        offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
        for (start, end), head in zip(words.units, words.heads, strict=True):
            assert head is not None
            assert text[slice(*offsets[head])].lstrip()[0] == text[start], (text, text[start:end])
            assert offsets[head][0] <= start < offsets[head][1]


def test_a_token_that_covers_two_words_belongs_to_the_first() -> None:
    from transformers import PreTrainedTokenizerFast

    made = byte_level(["so it goes ..."] * 20)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>")
    [words] = Tagger(None, tokenizer, TAGS, 128).words(["so ... goes"])
    assert tokenizer.convert_ids_to_tokens(words.inputs["input_ids"]) == ["so", "Ġ...", "Ġgoes"]
    assert words.heads == [0, 1, None, None, 2]
    assert words.joined == [False, False, True, True, False]


@pytest.mark.parametrize(
    ("text", "entity"),
    [
        ("we write C++ code", "C++"),
        ("hallo Yahoo!! hallo", "Yahoo!!"),
        ("我 在 北京 住", "北京"),
        ("so ... goes", "so"),
    ],
)
@pytest.mark.parametrize("vocabulary", ["byte level", "spaces"])
def test_an_entity_of_joined_words_is_predicted_whole(text: str, entity: str, vocabulary: str) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = byte_level([text] * 20)
    if vocabulary == "spaces":  # like XLM-R's, which does not split punctuation from words
        made = Tokenizer(models.BPE(unk_token="<unk>"))
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<pad>", "<unk>"], show_progress=False)
        made.train_from_iterator([text, text.replace(entity, ""), entity, *text.split()] * 20, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", unk_token="<unk>")
    tagger = Tagger(None, tokenizer, TAGS, 128)
    [words] = tagger.words([text])
    start = text.index(entity)
    gold = written([Span(start, start + len(entity), "city")])
    goals = tagger.goals(words, spans(gold))
    numbers = {head: goal for head, goal in zip(words.heads, goals, strict=True) if head is not None}
    assert with_tags(tokenizer, text, numbers).predict_best([text]) == [gold], words


def test_entities_survive_the_conversion_to_tags_and_back(
    tokenizer: Any, ner_rows: dict[str, list[Row]]
) -> None:
    tagger = Tagger(None, tokenizer, TAGS, 128)
    for row in (row for name in SETS for row in ner_rows[name]):
        [words] = tagger.words([row["text"]])
        goals = tagger.goals(words, spans(row["label"]))
        numbers = {head: goal for head, goal in zip(words.heads, goals, strict=True) if head is not None}
        predictions = with_tags(tokenizer, row["text"], numbers).predict([row["text"]], [row["label"]])
        assert predictions.answers == [row["label"]]
        assert predictions.nll is not None
        assert predictions.nll[0] < 1e-6 < 1 - 1e-6 < predictions.confidence[0]


def test_the_first_word_of_an_entity_is_tagged_b_and_the_others_i(untrained_tagger: Tagger) -> None:
    text = "Tom Becker, Milton Keynes York"
    [words] = untrained_tagger.words([text])
    entities = [Span(0, 10, "person"), Span(12, 25, "city"), Span(26, 30, "city")]
    tags = [TAGS[goal] for goal in untrained_tagger.goals(words, entities)]
    assert tags == ["B-person", "I-person", "O", "B-city", "I-city", "B-city"]


def test_an_i_tag_that_continues_nothing_begins_an_entity(untrained_tagger: Tagger) -> None:
    tags = ["I-city", "O", "I-person", "I-city", "I-city", "B-city"]
    numbers = {i: TAGS.index(tag) for i, tag in enumerate(tags, 1)}
    text = "a b c d e f"
    found = spans(with_tags(untrained_tagger.tokenizer, text, numbers).predict([text]).answers[0])
    assert found == [Span(0, 1, "city"), Span(4, 5, "person"), Span(6, 9, "city"), Span(10, 11, "city")]


def test_any_tags_are_decoded_as_by_seqeval(untrained_tagger: Tagger) -> None:
    labeling = pytest.importorskip("seqeval.metrics.sequence_labeling")
    rng = random.Random(0)
    for _ in range(100):
        tags = [rng.choice(TAGS[:5]) for _ in range(rng.randrange(1, 10))]
        text = " ".join("a" * len(tags))
        numbers = {i: TAGS.index(tag) for i, tag in enumerate(tags, 1)}
        found = spans(with_tags(untrained_tagger.tokenizer, text, numbers).predict([text]).answers[0])
        wanted = [Span(2 * start, 2 * end + 1, kind) for kind, start, end in labeling.get_entities(tags)]
        assert found == wanted, tags


def predictions_of(
    untrained_tagger: Tagger, probabilities: list[list[float]], shift: list[float], gold: str
) -> Any:
    """Return the predictions for a text whose tokens have these probabilities of O, B-a and I-a."""
    text = "kettles please"  # [CLS] kettle ##s please [SEP]
    logits = np.log(probabilities) + np.array(shift)[:, None]
    tagger = Tagger(FixedLogits(logits), untrained_tagger.tokenizer, ["O", "B-a", "I-a"], 128)
    return tagger.predict([text], [gold])


def test_prediction_scores_are_means_over_words(untrained_tagger: Tagger) -> None:
    first, second, other = [0.7, 0.2, 0.1], [0.3, 0.5, 0.2], [0.01, 0.01, 0.98]
    table, shift = [other, first, other, second, other], [7.0, 1.0, 7.0, 3.0, 7.0]
    predictions = predictions_of(untrained_tagger, table, shift, written([Span(0, 7, "a")]))
    assert predictions.answers == [written([Span(8, 14, "a")])]
    assert predictions.confidence == pytest.approx([(0.7 * 0.5) ** 0.5])
    entropies = [-sum(p * log(p) for p in word) / log(3) for word in (first, second)]
    assert predictions.entropy == pytest.approx([sum(entropies) / 2])
    assert predictions.margin == pytest.approx([min(0.7 - 0.2, 0.5 - 0.3)])
    assert predictions.energy == pytest.approx([-(1 + 3) / 2], abs=1e-6)
    assert predictions.nll == pytest.approx([-(log(0.2) + log(0.3)) / 2])
    assert predictions_of(untrained_tagger, table, shift, "[]").nll == pytest.approx(
        [-(log(0.7) + log(0.3)) / 2]
    )


def test_the_confidence_of_a_text_does_not_depend_on_its_length(untrained_tagger: Tagger) -> None:
    sure = untrained_tagger.predict(["kettle"]).confidence[0]
    assert untrained_tagger.predict(["kettle", "kettle kettle kettle"]).confidence[0] == pytest.approx(
        sure, abs=1e-6
    )
    assert 1 / len(TAGS) < sure < 1
    assert untrained_tagger.predict(["kettle"]).nll is None


def test_a_text_without_words_has_confidence_one(untrained_tagger: Tagger) -> None:
    predictions = untrained_tagger.predict([" \t "], ["[]"])
    assert predictions.answers == ["[]"]
    assert [predictions.confidence[0], predictions.entropy[0], predictions.margin[0], predictions.nll[0]] == [
        1,
        0,
        1,
        0,
    ]  # type: ignore[index]
