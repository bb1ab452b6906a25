"""Named entities in the student and the loop: words, tokens and tags, and what is learnt of them."""

import json
import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from html import escape
from math import log
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tutelage.agents.labeler import label
from tutelage.graph.planning.plan import plan
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.graph.runs.run import run
from tutelage.graph.task.load import Task, load_task, parse_task
from tutelage.graph.task.samples import sample_task
from tutelage.graph.task.templates import scaffold
from tutelage.prompts import read_payload
from tutelage.student.data.rows import Row, content_id, read_rows
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.evaluation.evaluate import evaluate
from tutelage.student.models.load import load_student
from tutelage.student.models.tagger import Tagger
from tutelage.student.tasks.spans import Span, spans, written
from tutelage.student.tasks.task_type import TASK_TYPES
from tutelage.student.training.adapters.tagger import adapter, check, fresh
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train, untrained_student
from tutelage.student.training.losses import PLAIN
from tutelage.student.training.training_set import TrainingSet

NER = TASK_TYPES["ner"]
TYPES = ["product", "order", "person", "city", "date"]
TAGS = ["O", *(f"{part}-{kind}" for kind in TYPES for part in "BI")]
SETS = ("seed", "diagnose", "gate", "test", "teacher")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return sample_task("ner", tmp_path_factory.mktemp("ner") / "task")


@pytest.fixture(scope="module")
def rows(task: Task) -> dict[str, list[Row]]:
    """The sample task's rows by the name of their file."""
    folder = (task.data.seed.path or Path()).parent
    return {name: read_rows(folder / f"{name}.jsonl", list(task.labels), task_type=NER) for name in SETS}


@pytest.fixture(scope="module")
def minilm() -> Tagger:
    """Before any training, of eight tokens at most."""
    return fresh(TYPES, TrainingConfig(kind="ner", max_tokens=8, device="cpu"), seed=0)


class Given(torch.nn.Module):
    """A token classifier of one text, whose logits are given, shape (tokens, tags)."""

    device = torch.device("cpu")

    def __init__(self, logits: Any):
        super().__init__()
        self.table = torch.as_tensor(np.asarray(logits), dtype=torch.float32)

    def forward(self, input_ids: torch.Tensor, **more: torch.Tensor) -> SimpleNamespace:
        assert input_ids.shape == (1, len(self.table))
        return SimpleNamespace(logits=self.table[None])


def with_tags(tokenizer: Any, text: str, numbers: dict[int, int], *, max_tokens: int = 128) -> Tagger:
    """A tagger that is sure of a tag number for some of the tokens of a text, and of O for the others."""
    size = min(len(tokenizer(text)["input_ids"]), max_tokens)
    table = np.full((size, len(TAGS)), -9.0)
    table[np.arange(size), [numbers.get(i, 0) for i in range(size)]] = 9
    return Tagger(Given(table), tokenizer, TAGS, max_tokens)


# Words and tokens


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Sinéad's kettles!", ["sin", "'", "s", "kettle", "!"]),
        ("a 😀世界", ["a", "[UNK]", "世", "[UNK]"]),
    ],
)
def test_a_word_is_read_by_its_first_wordpiece(minilm: Tagger, text: str, wanted: list[str]) -> None:
    [words] = Tagger(None, minilm.tokenizer, TAGS, 128).words([text])
    tokens = minilm.tokenizer.convert_ids_to_tokens(words.inputs["input_ids"])
    assert [tokens[head or 0] for head in words.heads] == wanted


def test_words_beyond_the_last_token_have_none(minilm: Tagger) -> None:
    text = "one two three four five six Maria Novak"
    [words] = minilm.words([text])
    assert words.heads == [1, 2, 3, 4, 5, 6, None, None]
    assert len(words.inputs["input_ids"]) == 8


def test_entities_beyond_the_last_token_are_told_before_a_run() -> None:
    long, short = "one two three four five six Maria Novak", "Maria"
    rows = [
        Row(id="1", text=long, label=written([Span(28, 39, "person")])),
        Row(id="2", text=long, label=written([Span(0, 3, "person")])),
        Row(id="3", text=short, label=written([Span(0, 5, "person")])),
    ]
    [note] = check(rows, TrainingConfig(kind="ner", max_tokens=8))
    assert note.startswith("1 of your 3 texts have entities beyond the 8 tokens that the student reads")
    assert check(rows, TrainingConfig(kind="ner", max_tokens=10)) == []


def test_no_entity_is_answered_beyond_the_last_token(minilm: Tagger) -> None:
    text = "Maria two three four five six Maria Novak"
    tagger = with_tags(minilm.tokenizer, text, {1: TAGS.index("B-person")}, max_tokens=8)
    assert tagger.predict([text]).answers == [written([Span(0, 5, "person")])]


def metaspace(texts: list[str]) -> Any:
    """As of T5 and XLM-R: `▁` stands for the space before a word."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<pad>", "<unk>"], show_progress=False)
    made.train_from_iterator(texts, trainer)
    return made


def byte_level(texts: list[str]) -> Any:
    """As of GPT-2 and RoBERTa: bytes, the space before a word among them."""
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
def tokenizer(request: Any, minilm: Tagger, rows: dict[str, list[Row]]) -> Any:
    from transformers import PreTrainedTokenizerFast

    if request.param == "wordpiece":
        return minilm.tokenizer
    made = {"metaspace": metaspace, "byte level": byte_level}[request.param]
    texts = [row["text"] for row in rows["teacher"]]
    return PreTrainedTokenizerFast(tokenizer_object=made(texts), pad_token="<pad>", unk_token="<unk>")


def test_a_word_s_token_begins_where_the_word_does_whatever_space_it_brings(
    tokenizer: Any, rows: dict[str, list[Row]]
) -> None:
    texts = [" Zoë  Novak\tin Łódź, 東京!", *(row["text"] for row in rows["test"])]
    for text, words in zip(texts, Tagger(None, tokenizer, TAGS, 128).words(texts), strict=True):
        offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
        for (start, end), head in zip(words.units, words.heads, strict=True):
            assert head is not None
            assert text[slice(*offsets[head])].lstrip()[0] == text[start], (text, text[start:end])
            assert offsets[head][0] <= start < offsets[head][1]


def test_a_token_stands_for_one_word_and_the_next_word_it_covers_has_none() -> None:
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
def test_an_entity_of_joined_words_comes_back_whole(text: str, entity: str, vocabulary: str) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = byte_level([text] * 20)
    if vocabulary == "spaces":  # as XLM-R's, which parts no signs from words
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


def test_entities_become_tags_and_come_back_the_same(tokenizer: Any, rows: dict[str, list[Row]]) -> None:
    tagger = Tagger(None, tokenizer, TAGS, 128)
    for row in (row for name in SETS for row in rows[name]):
        [words] = tagger.words([row["text"]])
        goals = tagger.goals(words, spans(row["label"]))
        numbers = {head: goal for head, goal in zip(words.heads, goals, strict=True) if head is not None}
        told = with_tags(tokenizer, row["text"], numbers).predict([row["text"]], [row["label"]])
        assert told.answers == [row["label"]]
        assert told.nll is not None
        assert told.nll[0] < 1e-6 < 1 - 1e-6 < told.confidence[0]


def test_the_first_word_of_an_entity_is_tagged_b_and_the_others_i(minilm: Tagger) -> None:
    text = "Tom Becker, Milton Keynes York"
    [words] = minilm.words([text])
    entities = [Span(0, 10, "person"), Span(12, 25, "city"), Span(26, 30, "city")]
    tags = [TAGS[goal] for goal in minilm.goals(words, entities)]
    assert tags == ["B-person", "I-person", "O", "B-city", "I-city", "B-city"]


def test_an_i_that_continues_nothing_begins_an_entity(minilm: Tagger) -> None:
    tags = ["I-city", "O", "I-person", "I-city", "I-city", "B-city"]
    numbers = {i: TAGS.index(tag) for i, tag in enumerate(tags, 1)}
    text = "a b c d e f"
    found = spans(with_tags(minilm.tokenizer, text, numbers).predict([text]).answers[0])
    assert found == [Span(0, 1, "city"), Span(4, 5, "person"), Span(6, 9, "city"), Span(10, 11, "city")]


def test_any_tags_are_read_as_seqeval_reads_them(minilm: Tagger) -> None:
    labeling = pytest.importorskip("seqeval.metrics.sequence_labeling")
    chance = random.Random(0)
    for _ in range(100):
        tags = [chance.choice(TAGS[:5]) for _ in range(chance.randrange(1, 10))]
        text = " ".join("a" * len(tags))
        numbers = {i: TAGS.index(tag) for i, tag in enumerate(tags, 1)}
        found = spans(with_tags(minilm.tokenizer, text, numbers).predict([text]).answers[0])
        wanted = [Span(2 * start, 2 * end + 1, kind) for kind, start, end in labeling.get_entities(tags)]
        assert found == wanted, tags


# Doubt


def reading_of(minilm: Tagger, probabilities: list[list[float]], shift: list[float], gold: str) -> Any:
    """What is read of `Kettles, please` by probabilities of O, B-a, I-a of its tokens."""
    text = "kettles please"  # [CLS] kettle ##s please [SEP]
    logits = np.log(probabilities) + np.array(shift)[:, None]
    tagger = Tagger(Given(logits), minilm.tokenizer, ["O", "B-a", "I-a"], 128)
    return tagger.predict([text], [gold])


def test_figures_of_a_reading_are_means_over_words_by_hand(minilm: Tagger) -> None:
    first, second, other = [0.7, 0.2, 0.1], [0.3, 0.5, 0.2], [0.01, 0.01, 0.98]
    table, shift = [other, first, other, second, other], [7.0, 1.0, 7.0, 3.0, 7.0]
    told = reading_of(minilm, table, shift, written([Span(0, 7, "a")]))
    assert told.answers == [written([Span(8, 14, "a")])]
    assert told.confidence == pytest.approx([(0.7 * 0.5) ** 0.5])
    entropies = [-sum(p * log(p) for p in word) / log(3) for word in (first, second)]
    assert told.entropy == pytest.approx([sum(entropies) / 2])
    assert told.margin == pytest.approx([min(0.7 - 0.2, 0.5 - 0.3)])
    assert told.energy == pytest.approx([-(1 + 3) / 2], abs=1e-6)
    assert told.nll == pytest.approx([-(log(0.2) + log(0.3)) / 2])
    assert reading_of(minilm, table, shift, "[]").nll == pytest.approx([-(log(0.7) + log(0.3)) / 2])


def test_a_text_s_doubt_is_that_of_its_words_whatever_its_length(minilm: Tagger) -> None:
    sure = minilm.predict(["kettle"]).confidence[0]
    assert minilm.predict(["kettle", "kettle kettle kettle"]).confidence[0] == pytest.approx(sure, abs=1e-6)
    assert 1 / len(TAGS) < sure < 1
    assert minilm.predict(["kettle"]).nll is None


def test_a_text_without_a_word_is_in_no_doubt(minilm: Tagger) -> None:
    told = minilm.predict([" \t "], ["[]"])
    assert told.answers == ["[]"]
    assert [told.confidence[0], told.entropy[0], told.margin[0], told.nll[0]] == [1, 0, 1, 0]  # type: ignore[index]


# Learning


@pytest.fixture(scope="module")
def student(rows: dict[str, list[Row]], encoder: Encoder) -> Tagger:
    """MiniLM on sixty rows."""
    training_config = TrainingConfig(kind="ner", min_steps=30, batch=8, learning_rate=6e-4, device="cpu")
    made = train(rows["teacher"][:60], TYPES, training_config, seed=0, encoder=encoder)
    assert isinstance(made, Tagger)
    return made


def test_a_student_learns_entities_it_has_not_seen(
    student: Tagger, rows: dict[str, list[Row]], encoder: Encoder
) -> None:
    before = untrained_student(TYPES, TrainingConfig(kind="ner", device="cpu"), seed=0, encoder=encoder)
    assert evaluate(before, rows["test"])["metric"] < 0.1
    assert evaluate(student, rows["test"])["metric"] > 0.6


def test_answers_come_in_the_order_of_the_texts(student: Tagger, rows: dict[str, list[Row]]) -> None:
    texts = [row["text"] for row in rows["test"][:12]]
    both = student.predict(texts)
    alone = [student.predict([text]) for text in texts]
    assert both.answers == [one.answers[0] for one in alone]
    assert both.confidence == pytest.approx([one.confidence[0] for one in alone], abs=1e-4)


def test_a_saved_student_answers_as_before(
    student: Tagger, rows: dict[str, list[Row]], tmp_path: Path
) -> None:
    texts, gold = ([row[key] for row in rows["test"]] for key in ("text", "label"))  # type: ignore[literal-required]
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
    student: Tagger, rows: dict[str, list[Row]], tmp_path: Path
) -> None:
    from transformers import pipeline

    student.export(tmp_path / "student")
    pipe = pipeline(
        "token-classification", str(tmp_path / "student"), aggregation_strategy="first", device="cpu"
    )
    texts = ["Is the kettle in Cork?", "Tom Becker ordered a wool blanket", "Thank you."]
    texts += [row["text"] for row in rows["test"][:17]]
    ours = [spans(answer) for answer in student.predict(texts).answers]
    theirs = [[Span(one["start"], one["end"], one["entity_group"]) for one in pipe(text)] for text in texts]
    assert theirs == ours
    lengths = {
        len(text[one.start : one.end].split())
        for text, found in zip(texts, ours, strict=True)
        for one in found
    }
    assert {1, 2} <= lengths


def test_the_loss_is_the_mean_over_the_words_of_all_texts_of_a_batch(minilm: Tagger) -> None:
    city = written([Span(0, 4, "city")])
    given = [("York", city), ("kettles and kettles", "[]"), ("York, York", city)]
    rows = [Row(id=content_id(text), text=text, label=label) for text, label in given]
    made = adapter(TrainingSet.of(rows), minilm, TrainingConfig(kind="ner"), PLAIN)
    logits = made.logits([0, 1, 2])
    losses = made.losses(logits, [0, 1, 2], PLAIN) * made.weights
    words = []
    for row, tags in enumerate((["B-city"], ["O"] * 3, ["B-city", "O", "O"])):
        heads = minilm.words([given[row][0]])[0].heads
        surprise = -logits[row].log_softmax(-1)
        words += [surprise[head, TAGS.index(tag)].item() for head, tag in zip(heads, tags, strict=True)]
    assert losses.mean().item() == pytest.approx(sum(words) / 7, rel=1e-5)


@pytest.fixture(scope="module")
def tiny(tiny_bert: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_bert(tmp_path_factory.mktemp("base") / "tiny")


def easy_rows() -> list[Row]:
    """What stands before `please` is a thing, wherever that is."""
    words = ["refund", "money", "back", "want", "order", "where", "late", "broken", "lost"]
    made = []
    for i, word in enumerate(words):
        text = f"{words[i - 1]} {word} please {words[i - 2]}"
        start = text.index(f"{word} please")
        entity = written([Span(start, start + len(word), "thing")])
        made.append(Row(id=content_id(text), text=text, label=entity))
    return made


@pytest.mark.parametrize("epochs", [0, 40], ids=["untouched", "trained"])
def test_the_same_seed_gives_the_same_student_and_another_another(
    tiny: str, encoder: Encoder, epochs: int
) -> None:
    training_config = TrainingConfig(
        kind="ner", base=tiny, epochs=epochs, min_steps=0, learning_rate=3e-3, device="cpu"
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


# The loop


@pytest.fixture(scope="module")
def short(task: Task, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The sample task with shorter exams, as it stands in a file; one round."""
    raw, folder = task.model_dump(exclude_none=True), tmp_path_factory.mktemp("short")
    for name, size in {"diagnose": 40, "gate": 20, "test": 40}.items():
        lines = raw["data"][name]["path"].read_text(encoding="utf-8").splitlines(keepends=True)
        (folder / f"{name}.jsonl").write_text("".join(lines[:size]), encoding="utf-8")
        raw["data"][name] = {"path": folder / f"{name}.jsonl"}
    raw["teacher"]["calibrate"] = 12
    return {**raw, "budget": {"rounds": 1}, "student": {"batch": 8, "min_steps": 30, "device": "cpu"}}


@pytest.fixture(scope="module")
def done(short: dict[str, Any], encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    few = parse_task(
        {**short, "strategy": {"base": "auto", "samples": 16, "critic": "all"}}, "task.yaml", Path()
    )
    return run(few, tmp_path_factory.mktemp("run") / "run", encoder=encoder)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def payloads(folder: RunFolder, role: str) -> list[dict[str, Any]]:
    with sqlite3.connect(folder.journal) as journal:
        rows = journal.execute("SELECT request FROM replies WHERE role = ? ORDER BY at", (role,)).fetchall()
    return [read_payload(dict(json.loads(request)["messages"])["human"]) for (request,) in rows]


def stand_there(sample: dict[str, Any], key: str = "entities") -> bool:
    """Whether each entity's text is what stands in its place."""
    return all(
        set(one) == {"start", "end", "type", "text"}
        and one["type"] in TYPES
        and sample["text"][one["start"] : one["end"]] == one["text"]
        for one in sample[key]
    )


def test_a_tagger_is_trained_for_as_long_as_its_task_says(short: dict[str, Any]) -> None:
    with_default = {**short, "student": {}}
    steps = [parse_task(raw, "task.yaml", Path()).training_config().steps for raw in (short, with_default)]
    assert steps == [30, 200]
    assert (
        parse_task({**short, "student": {"min_steps": 0}}, "task.yaml", Path()).training_config().steps == 0
    )


def test_the_loop_runs_on_entities_and_the_student_learns(done: RunFolder) -> None:
    about = done.about()
    assert about["stop"] == "1 round is done"
    assert about["test"]["metric"] == about["test"]["figures"]["micro_f1"]
    assert about["test"]["metric"] > about["test_untouched"] + 0.3
    assert about["overlap"]["test"]["exact"] == about["overlap"]["gate"]["exact"] == 0
    assert about["samples"]["kept"] >= 12


def test_samples_are_exported_with_their_entities_in_place(done: RunFolder) -> None:
    kept = [sample for sample in lines(done.samples) if sample["status"] == "kept"]
    assert kept
    for sample in kept:
        assert stand_there(sample)
        assert stand_there(sample, "answered")
        assert "label" not in sample
        types = {one["type"] for one in sample["entities"]} or {""}
        assert sample["requested"] in types, "who wrote it and who labelled it agree"
    assert any(sample["entities"] for sample in kept)


def test_samples_are_rows_for_another_run(done: RunFolder, tmp_path: Path) -> None:
    kept = [sample for sample in lines(done.samples) if sample["status"] == "kept"]
    path = tmp_path / "kept.jsonl"
    path.write_text("".join(json.dumps(sample) + "\n" for sample in kept))
    read = read_rows(path, TYPES, task_type=NER)
    assert [NER.to_file(row["label"], row["text"]) for row in read] == [s["entities"] for s in kept]


def test_weaknesses_are_of_a_type_and_of_what_it_is_taken_for(done: RunFolder) -> None:
    cards = json.loads(done.weaknesses.read_text())
    assert cards
    assert {card["label"] for card in cards} <= {*TYPES}
    assert {card["confused_with"] for card in cards} <= {*TYPES, "missed", "boundary", "invented"}
    assert {card["confused_with"] for card in cards} & {"missed", "boundary", "invented"}
    assert all(0 < card["errors"] <= card["support"] for card in cards)


def test_every_role_sees_entities_by_their_texts_and_no_places(done: RunFolder) -> None:
    for role in ("analyst", "generator", "labeler", "critic"):
        sent = payloads(done, role)
        assert sent, role
        for payload in sent:
            assert payload["kind"] == "ner"
            shown = [x for name in ("right", "wrong", "shots", "samples") for x in payload.get(name, [])]
            assert shown, "also the labeler is shown what counts as an entity"
            for entry in shown:
                for one in [*entry["entities"], *entry.get("predicted", [])]:
                    assert set(one) == {"text", "type"}
                    assert one["text"] in entry["text"]
    assert all(
        set(text) == {"id", "text"} for payload in payloads(done, "labeler") for text in payload["texts"]
    )


def test_the_report_tells_of_entities(done: RunFolder) -> None:
    page = done.report.read_text(encoding="utf-8")
    assert "micro-F1" in page
    kept = [sample for sample in lines(done.samples) if sample["status"] == "kept"]
    for entity in (entity for sample in kept for entity in sample["entities"]):
        assert f"{entity['type']}: {escape(entity['text'])}" in page


def test_predict_answers_with_places_and_in_words(command: Callable[..., Any], done: RunFolder) -> None:
    text = "Maria ordered a kettle, and Tom Becker a wall clock, for Leeds."
    answer = json.loads(command("predict", done.path, "--json", text).stdout)
    told = load_student(done.student, device_name="cpu").predict([text])
    assert list(answer) == ["text", "entities", "confidence"]
    assert answer["entities"]
    assert answer["entities"] == NER.to_file(told.answers[0], text)
    assert stand_there(answer)
    assert answer["confidence"] == pytest.approx(told.confidence[0], abs=1e-3)
    [plain] = command("predict", done.path, text, "no").stdout.splitlines()[:1]
    words = "; ".join(f"{one['type']}: {one['text']}" for one in answer["entities"])
    assert plain.split("\t")[::2] == [words, text]


def test_evaluate_grades_a_student_as_the_run_did(
    command: Callable[..., Any], done: RunFolder, short: dict[str, Any]
) -> None:
    told = json.loads(command("evaluate", done.path, short["data"]["test"]["path"], "--json").stdout)
    assert told["metric"] == pytest.approx(done.about()["test"]["metric"], abs=1e-6)
    assert told["figures"] == pytest.approx(done.about()["test"]["figures"], abs=1e-6)


def quick(short: dict[str, Any], tiny: str, strategy: str, **data: Any) -> Task:
    """A task whose student is trained in a second, and learns little."""
    student = {"base": tiny, "epochs": 1, "min_steps": 5, "device": "cpu"}
    raw = {**short, "student": student, "strategy": {"base": strategy, "samples": 12}}
    return parse_task({**raw, "data": {**short["data"], **data}}, "task.yaml", Path())


def test_gold_has_texts_written_with_their_entities(
    short: dict[str, Any], tiny: str, encoder: Encoder, tmp_path: Path
) -> None:
    folder = run(quick(short, tiny, "gold"), tmp_path / "run", encoder=encoder)
    asked = payloads(folder, "generator")
    assert asked
    assert all(payload["answers"] is True for payload in asked)
    assert payloads(folder, "critic") == []
    assert sum(len(payload["texts"]) for payload in payloads(folder, "labeler")) == 12, "to calibrate by"
    kept = [sample for sample in lines(folder.samples) if sample["status"] == "kept"]
    assert len(kept) >= 8
    assert all(stand_there(sample) and "confidence" not in sample for sample in kept)


def test_entities_of_a_pool_are_labelled_where_the_student_doubts(
    short: dict[str, Any], tiny: str, encoder: Encoder, tmp_path: Path
) -> None:
    pooled = quick(short, tiny, "entropy", unlabelled={"path": short["teacher"]["corpus"]})
    folder = run(pooled, tmp_path / "run", encoder=encoder)
    samples = lines(folder.samples)
    status_counts = Counter(sample["status"] for sample in samples)
    assert status_counts["kept"] == 12 < status_counts["surplus"]
    assert payloads(folder, "generator") == payloads(folder, "analyst") == []
    assert all(stand_there(sample) for sample in samples if sample["status"] == "kept")
    reasons = [sample["reason"] for sample in samples if sample["status"] == "surplus"]
    assert all(reason.startswith("other texts were chosen for labelling (entropy") for reason in reasons)


# A teacher's spans


def reply(*entities: tuple[str, str], number: str = "1") -> dict[str, Any]:
    said = [{"text": text, "type": kind} for text, kind in entities]
    return {"id": number, "reason": "r", "entities": said, "confidence": 0.8}


def labels(*replies: dict[str, Any]) -> str:
    return json.dumps({"labels": replies})


BRIEF: Any = {"task": "Mark names.", "labels": {"person": "a name", "city": "a town"}, "kind": "ner"}


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (("Yorkk", "city"), "no label: the entity 'Yorkk' is not in the text; entities are copied from"),
        (("Mar", "person"), "no label: the entity 'Mar' stands there only as a part of a word"),
    ],
)
def test_a_text_whose_entities_do_not_stand_in_it_is_unlabelled_after_being_asked_again(
    scripted: Any, teacher_at: Any, draft: Any, wrong: tuple[str, str], reason: str
) -> None:
    url, log = scripted(
        labels(reply(wrong), reply(("Leeds", "city"), number="2")), labels(reply(wrong, ("Maria", "person")))
    )
    texts = [draft("Maria went to York"), draft("Nobody went to Leeds")]
    first, second = label(teacher_at(url), BRIEF, texts, seed=0)
    assert first["status"] == "unlabelled"
    assert "label" not in first
    assert first["reason"].startswith(reason)
    assert spans(second["label"]) == [Span(15, 20, "city")]
    asked = [read_payload(body["messages"][1]["content"])["texts"] for body in log]
    assert [[text["text"] for text in texts] for texts in asked] == [
        ["Maria went to York", "Nobody went to Leeds"],
        ["Maria went to York"],
    ]


def test_asked_again_a_teacher_may_put_its_spans_right(scripted: Any, teacher_at: Any, draft: Any) -> None:
    right = labels(reply(("York", "city"), ("Maria", "person")))
    url, log = scripted(labels(reply(("york", "city"))), right)
    [given] = label(teacher_at(url), BRIEF, [draft("Maria went to York")], seed=0)
    assert given["status"] == "draft"
    assert spans(given["label"]) == [Span(0, 5, "person"), Span(14, 18, "city")]
    assert given["confidence"] == 0.8
    assert len(log) == 2


def test_a_labeler_is_shown_labelled_texts(scripted: Any, teacher_at: Any, draft: Any) -> None:
    url, log = scripted(labels(reply()))
    shot = Row(id="1", text="Ewa left Brno", label=written([Span(0, 3, "person"), Span(9, 13, "city")]))
    [given] = label(teacher_at(url), BRIEF, [draft("Nobody left")], seed=0, shots=[shot])
    assert given["label"] == "[]"
    entities = [{"text": "Ewa", "type": "person"}, {"text": "Brno", "type": "city"}]
    assert read_payload(log[0]["messages"][1]["content"])["shots"] == [
        {"text": "Ewa left Brno", "entities": entities}
    ]


# Tasks


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"student": {"mode": "head"}}, "`student.mode` head is not for `kind: ner`; set it to full"),
        ({"strategy": "llkd"}, "strategy 'llkd' needs the probability of one label for each text: it is not"),
        ({"strategy": "ksm"}, "strategy 'ksm' needs the probability of one label for each text: it is not"),
        ({"labels": {"missed": "", "city": ""}}, "'missed' cannot name a label of `kind: ner`"),
        ({"labels": {"boundary": ""}}, "'boundary' cannot name a label of `kind: ner`"),
        ({"labels": {}}, "0 labels given, `kind: ner` needs at least 1"),
        ({"metric": "f1"}, "expected one of micro_f1, macro_f1, accuracy, got 'f1'"),
        ({"fields": ["one", "two"]}, "`fields` names the two texts of a pair"),
    ],
)
def test_what_is_not_for_entities_is_told_in_one_line(task: Task, parts: dict[str, Any], told: str) -> None:
    raw = task.model_dump(exclude_none=True)
    raw["data"]["unlabelled"] = {"path": task.teacher.corpus}
    with pytest.raises(InputError) as raised:
        parse_task({**raw, **parts}, "task.yaml", Path())
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_one_type_is_enough(task: Task) -> None:
    raw = {**task.model_dump(exclude_none=True), "labels": {"city": "a town"}}
    assert list(parse_task(raw, "task.yaml", Path()).labels) == ["city"]


def test_init_writes_an_entity_task_that_can_be_planned(tmp_path: Path) -> None:
    scaffold(tmp_path, "ner")
    made = load_task(tmp_path / "task.yaml")
    assert (made.kind, made.metric) == ("ner", "micro_f1")
    assert plan(made)["roles"]["labeler"]["calls"][0] > 0
