"""Named entities: what files and teachers say of them, told apart, garbled and graded."""

import csv
import json
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tutelage.agents.schemas import drafts_schema, labels_schema
from tutelage.student.data.rows import read_hub, read_rows
from tutelage.student.errors import InputError
from tutelage.student.evaluation.evaluate import grade
from tutelage.student.tasks.spans import Mention, Span, aligned, spans, units, written
from tutelage.student.tasks.task_type import TASK_TYPES

NER = TASK_TYPES["ner"]
LABELS = ["person", "city"]
TEXT = "Maria Novak moved from New York to York"
TAGS = ["B-person", "I-person", "O", "O", "B-city", "I-city", "O", "B-city"]
PLACES = [
    {"start": 0, "end": 11, "type": "person"},
    {"start": 23, "end": 31, "type": "city"},
    {"start": 35, "end": 39, "type": "city"},
]
MENTIONS = [
    {"text": "Maria Novak", "type": "person"},
    {"text": "New York", "type": "city"},
    {"text": "York", "type": "city"},
]
WANTED = [Span(0, 11, "person"), Span(23, 31, "city"), Span(35, 39, "city")]
TYPES = ["a", "b", "c"]


def read(value: object, text: str = TEXT) -> list[Span]:
    return spans(NER.parse_label(value, text, LABELS))


def label(*found: tuple[int, int, str]) -> str:
    return written(Span(*one) for one in found)


def record(folder: Path, value: object, text: object = TEXT) -> Path:
    """A file of one row."""
    path = folder / "rows.jsonl"
    path.write_text(json.dumps({"text": text, "entities": value}) + "\n")
    return path


def random_tags(chance: random.Random, size: int, types: list[str], empty: float = 0.4) -> list[str]:
    """BIO tags in which every entity begins with B-."""
    tags, kind = [], ""
    for _ in range(size):
        if kind and chance.random() < 0.5:
            tags.append(f"I-{kind}")
            continue
        kind = "" if chance.random() < empty else chance.choice(types)
        tags.append(f"B-{kind}" if kind else "O")
    return tags


def random_label(chance: random.Random, text: str = "one two three four five six seven") -> str:
    return NER.parse_label(random_tags(chance, len(text.split()), TYPES), text, TYPES)


# What files hold


@pytest.mark.parametrize(
    "value",
    [TAGS, PLACES, [{**place, **said} for place, said in zip(PLACES, MENTIONS, strict=True)], MENTIONS],
    ids=["BIO tags", "places", "places with texts", "texts"],
)
def test_every_form_of_a_file_gives_the_same_entities(value: list[Any]) -> None:
    assert read(value) == read(json.dumps(value)) == WANTED


@pytest.mark.parametrize("value", [PLACES, MENTIONS], ids=["places", "texts"])
def test_entities_may_come_in_any_order(value: list[Any]) -> None:
    assert read(value[::-1]) == WANTED


def test_a_type_may_be_called_label() -> None:
    assert read([{"text": "Maria Novak", "label": "person"}]) == WANTED[:1]


@pytest.mark.parametrize("value", [[], "[]", ["O"] * 8], ids=["a list", "JSON", "tags"])
def test_a_text_may_have_no_entity(value: object) -> None:
    assert NER.parse_label(value, TEXT, LABELS) == "[]"
    assert NER.to_text("[]", TEXT) == "none"
    assert NER.to_payload("[]", TEXT) == NER.to_file("[]", TEXT) == []


def test_two_entities_side_by_side_are_two() -> None:
    assert read(["B-city", "B-city", "I-city"], "York New York") == [Span(0, 4, "city"), Span(5, 13, "city")]


def test_what_was_read_is_shown_by_its_texts_filed_with_its_places_and_put_in_words() -> None:
    given = written(WANTED)
    assert NER.to_payload(given, TEXT) == MENTIONS
    assert NER.to_file(given, TEXT) == [
        {**place, **said} for place, said in zip(PLACES, MENTIONS, strict=True)
    ]
    assert NER.to_text(given, TEXT) == "person: Maria Novak; city: New York; city: York"
    assert NER.labels_in(given) == ["person", "city"]
    assert NER.labels_in("[]") == [""]


def test_tokens_and_tags_are_columns_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"tokens": TEXT.split(), "tags": TAGS}) + "\n")
    [row] = read_rows(path, LABELS, task_type=NER, fields=("tokens",), label_field="tags")
    assert (row["text"], spans(row["label"])) == (TEXT, WANTED)


@pytest.mark.parametrize("value", [TAGS, PLACES, MENTIONS], ids=["tags", "places", "texts"])
def test_a_csv_holds_entities_as_json(tmp_path: Path, value: object) -> None:
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["text", "entities"], [TEXT, json.dumps(value)]])
    [row] = read_rows(path, LABELS, task_type=NER)
    assert spans(row["label"]) == WANTED


def test_numbered_tags_of_a_data_set_become_their_names(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    names = ["O", "B-person", "I-person", "B-city", "I-city"]
    tags = datasets.List(datasets.ClassLabel(names=names))
    features = datasets.Features({"tokens": datasets.List(datasets.Value("string")), "ner_tags": tags})
    made = {"tokens": [TEXT.split()], "ner_tags": [[names.index(tag) for tag in TAGS]]}
    (tmp_path / "set").mkdir()
    datasets.Dataset.from_dict(made, features=features).to_parquet(tmp_path / "set" / "train.parquet")
    where = str(tmp_path / "set"), "train"
    [row] = read_hub(*where, LABELS, task_type=NER, fields=("tokens",), label_field="ner_tags")
    assert (row["text"], spans(row["label"])) == (TEXT, WANTED)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (["O"], "has 1 tags for 8 tokens; give each token one tag, O outside"),
        (["O"] * 9, "has 9 tags for 8 tokens"),
        (["I-city", *["O"] * 7], "'I-city' (token 1) follows nothing: an entity begins with B-city"),
        (["O", "O", "O", "I-city", *["O"] * 4], "'I-city' (token 4) follows O"),
        (["B-person", "I-city", *["O"] * 6], "'I-city' (token 2) follows an entity of person"),
        (["B-city", "E-city", *["O"] * 6], "'E-city' (token 2) is not a BIO tag; expected O, B-TYPE"),
        (["city", *["O"] * 7], "'city' (token 1) is not a BIO tag"),
        (["B-", *["O"] * 7], "'B-' (token 1) is not a BIO tag"),
        (["B-ctiy", *["O"] * 7], "'ctiy' is not one of the task's 2 labels; did you mean 'city'?"),
        ([{**PLACES[0], "type": "persn"}], "did you mean 'person'?"),
        ([{"text": "York", "type": "river"}], "add it to `labels` in task.yaml or correct the row"),
        ([{**PLACES[0], "end": 99}], "0 to 99 is not a valid range in a text of 39 characters"),
        ([{**PLACES[0], "start": -4}], "-4 to 11 is not a valid range"),
        ([{**PLACES[0], "start": 11}], "11 to 11 is not a valid range"),
        ([{**PLACES[0], "text": "Mario Novak"}], "'Mario Novak' is not the text from 0 to 11, which is 'Mar"),
        ([{**PLACES[0], "end": 3}], "'Mar' (0 to 3) cuts a word, or begins or ends with a space"),
        ([{**PLACES[0], "end": 12}], "'Maria Novak ' (0 to 12) cuts a word, or begins or ends with a space"),
        ([PLACES[0], {**PLACES[0], "start": 6}], "'Maria Novak' and 'Novak' overlap; keep one"),
        ([PLACES[0], PLACES[0]], "'Maria Novak' and 'Maria Novak' overlap; keep one"),
        ([PLACES[0], MENTIONS[1]], "gives positions for some entities and not for others; give them for all"),
        ([*TAGS[:7], PLACES[0]], "holds 'B-person'; give a BIO tag for each token, or entities, each with"),
        ([["Maria", "person"]], "holds ['Maria', 'person']; give"),
        ([{"start": 0, "end": 5}], "has no `type`"),
        ([{"type": "city"}], "has neither `start` and `end` nor `text`"),
        ([{"text": "Paris", "type": "city"}], "the entity 'Paris' is not in the text"),
        ([{"text": "New", "type": "city"}, {"text": "w York", "type": "city"}], "only as a part of a word"),
        (3, "is int, expected a list of entities, or of BIO tags"),
        ({"text": "York", "type": "city"}, "is dict, expected a list of entities, or of BIO tags"),
        (None, "is NoneType, expected a list of entities"),
        (" ".join(TAGS), "is not a JSON list"),
    ],
)
def test_bad_entities_are_told_in_one_line(tmp_path: Path, value: object, told: str) -> None:
    path = record(tmp_path, value)
    with pytest.raises(InputError) as raised:
        read_rows(path, LABELS, task_type=NER)
    assert str(raised.value).startswith(f"{path} line 1: entities ")
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_token_with_a_space_in_it_matches_no_tag(tmp_path: Path) -> None:
    path = record(tmp_path, ["B-city"], ["New York"])
    with pytest.raises(InputError, match="has 1 tags for 2 tokens"):
        read_rows(path, LABELS, task_type=NER)


# Where a teacher's spans stand


def named(*given: str) -> list[Mention]:
    """Mentions, written as `words=type`."""
    return [Mention(text=one.split("=")[0], type=one.split("=")[1]) for one in given]


def found(text: str, *given: str) -> list[str]:
    """Where the mentions stand, written as `start words=type`."""
    return [f"{one.start} {text[one.start : one.end]}={one.type}" for one in aligned(text, named(*given))]


@pytest.mark.parametrize("times", [1, 3])
def test_what_is_named_once_or_each_time_is_meant_wherever_it_stands(times: int) -> None:
    assert found("York, York or York", *["York=city"] * times) == [
        "0 York=city",
        "6 York=city",
        "14 York=city",
    ]


def test_korean_names_stand_before_their_particles() -> None:
    assert found("김민수는 서울에서 산다", "서울=city", "김민수=person") == ["0 김민수=person", "5 서울=city"]


@pytest.mark.parametrize("times", [2, 4])
def test_what_is_named_several_times_but_not_each_time_is_refused(times: int) -> None:
    with pytest.raises(ValueError, match=rf"'York' is named {times} times and stands there 3 times; it is"):
        found("York, York or York", *["York=city"] * times)


def test_one_name_of_two_types_is_told_apart_by_the_order_of_its_namings() -> None:
    text = "Paris saw Paris in Paris"
    assert found(text, "Paris=person", "Paris=person", "Paris=city") == [
        "0 Paris=person",
        "10 Paris=person",
        "19 Paris=city",
    ]


@pytest.mark.parametrize("given", [["person", "city"], ["person", "city", "city", "city"]])
def test_one_name_of_two_types_named_another_number_of_times_is_refused(given: list[str]) -> None:
    with pytest.raises(ValueError, match="'Paris' is named as person and city and stands there 3 times"):
        found("Paris saw Paris in Paris", *(f"Paris={one}" for one in given))


@pytest.mark.parametrize(
    "given", [["York=city", "New York Times=person"], ["New York Times=person", "York=city"]]
)
def test_of_nested_mentions_the_longest_stays(given: list[str]) -> None:
    assert found("the New York Times", *given) == ["4 New York Times=person"]


def test_a_nested_mention_stays_where_it_stands_alone() -> None:
    text = "York read the New York Times in York"
    wanted = ["0 York=city", "14 New York Times=person", "32 York=city"]
    assert found(text, "York=city", "New York Times=person") == wanted
    assert found(text, *["York=city"] * 3, "New York Times=person") == wanted, (
        "the nested one may be named too"
    )


def test_mentions_that_overlap_in_part_are_refused() -> None:
    with pytest.raises(ValueError, match="'New York' overlaps another one in part; one of the two must go"):
        found("the New York Times", "New York=city", "York Times=person")


@pytest.mark.parametrize(
    ("text", "words", "told"),
    [
        ("We went to York", "Paris", "is not in the text"),
        ("We went to York", "york", "is not in the text"),
        ("We went to York", "to  York", "is not in the text"),
        ("Yorkshire", "York", "stands there only as a part of a word"),
        ("Unabridged", "bridge", "stands there only as a part of a word"),
        ("We went to Zürich", "Zurich", "is not in the text"),
        ("We went to York", "", "an entity is empty"),
        ("We went to York", " \n", "an entity is empty"),
    ],
)
def test_a_mention_that_does_not_stand_there_is_refused(text: str, words: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        found(text, f"{words}=city")


@pytest.mark.parametrize(
    ("text", "words", "start"),
    [
        ("Yorkshire is not York.", "York", 17),
        ("😀😀 Maria 😀", "Maria", 3),
        ("I❤Zürich", "Zürich", 2),
        ("Sinéad, née Łukasz", "Łukasz", 12),
        ("That is Maria's bike", "Maria", 8),
        ("Ask O'Neil or d’Artagnan", "O'Neil", 4),
        ("Ask O'Neil or d’Artagnan", "d’Artagnan", 14),
        ("Jean-Luc (of Brno), order #5093!", "Jean-Luc", 0),
        ("Jean-Luc (of Brno), order #5093!", "Brno", 13),
        ("Jean-Luc (of Brno), order #5093!", "#5093", 26),
        ("私は東京タワーに行く", "東京タワー", 2),
        ("我在北京工作", "北京", 2),
        ("ผมอยู่กรุงเทพ", "กรุงเทพ", 6),
        ("New\tYork or New  York", "New  York", 12),
        ("in New\nYork", "New\nYork", 3),
        ("in York", " York ", 3),
    ],
)
def test_a_mention_is_found_as_it_stands(text: str, words: str, start: int) -> None:
    assert found(text, f"{words}=city") == [f"{start} {words.strip()}=city"]


def test_a_teacher_s_reply_is_read_and_put_in_its_place() -> None:
    form = labels_schema(tuple(LABELS), NER)
    one = {"id": "1", "reason": "r", "entities": MENTIONS, "confidence": 0.9}
    none, other = {**one, "id": "2", "entities": []}, [{"text": "York", "type": "river"}]
    items, problems = form.read(json.dumps({"labels": [one, none, {**one, "id": "3", "entities": other}]}))
    given = [item.item.entities for item in items]  # type: ignore[attr-defined]
    assert [spans(NER.parse_reply(entities, TEXT)) for entities in given] == [WANTED, []]
    assert len(problems) == 1
    assert problems[0].startswith("labels[2].entities.0.type: Input should be 'person' or 'city'")


# Words and signs


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Maria's bike, no. 4-A!", ["Maria", "'", "s", "bike", ",", "no", ".", "4", "-", "A", "!"]),
        ("Größe 😀x_1", ["Größe", "😀", "x_1"]),
        ("東京へ go", ["東", "京", "へ", "go"]),
        ("  \n\t ", []),
    ],
)
def test_a_text_has_words_and_signs(text: str, wanted: list[str]) -> None:
    assert [text[start:end] for start, end in units(text)] == wanted


# What is wrong with an answer


@pytest.mark.parametrize(
    ("gold", "answer", "wanted"),
    [
        ([], [], []),
        ([(0, 5, "a")], [(0, 5, "a")], []),
        ([(0, 5, "a")], [(0, 5, "b")], [("a", "b")]),
        ([(0, 5, "a")], [(0, 9, "a")], [("a", "boundary")]),
        ([(0, 9, "a")], [(0, 3, "a"), (4, 9, "b")], [("a", "boundary")]),
        ([(0, 5, "a")], [(3, 9, "b")], [("a", "b")]),
        ([(0, 5, "a")], [], [("a", "missed")]),
        ([], [(0, 5, "a")], [("a", "invented")]),
        ([(0, 5, "a")], [(0, 5, "a"), (6, 9, "b")], [("b", "invented")]),
        (
            [(0, 1, "a"), (2, 5, "b"), (6, 9, "c")],
            [(0, 1, "b"), (2, 4, "b"), (10, 12, "a")],
            [("a", "b"), ("b", "boundary"), ("c", "missed"), ("a", "invented")],
        ),
        ([(0, 1, "a"), (2, 3, "a")], [(0, 3, "a")], [("a", "boundary"), ("a", "boundary")]),
    ],
    ids=[
        "nothing to find",
        "right",
        "another type",
        "other borders",
        "its own type before another",
        "another type and other borders",
        "missed",
        "invented",
        "invented beside a right one",
        "one of each",
        "two taken for one",
    ],
)
def test_the_slips_of_an_answer(gold: Any, answer: Any, wanted: list[tuple[str, str]]) -> None:
    assert NER.error_pairs(label(*gold), label(*answer)) == wanted


def test_a_wrong_answer_has_a_slip_and_every_entity_not_found_has_one() -> None:
    chance = random.Random(0)
    for _ in range(3000):
        gold, answer = random_label(chance), random_label(chance)
        slips = NER.error_pairs(gold, answer)
        assert bool(slips) == (gold != answer), (gold, answer)
        lost = Counter(one.type for one in {*spans(gold)} - {*spans(answer)})
        assert Counter(kind for kind, other in slips if other != "invented") == lost
        assert all(other in {*TYPES, *NER.error_kinds} - {kind} for kind, other in slips)


def test_a_garbled_label_is_another_one_that_its_text_can_have() -> None:
    text, chance = "one two three four five six seven", random.Random(1)
    ways = Counter[str]()
    for _ in range(2000):
        true = random_label(chance, text)
        made = NER.corrupted(true, TYPES, chance.random())
        assert NER.parse_label(NER.to_file(made, text), text, TYPES) == made
        assert all(not (a.end > b.start) for a, b in pairwise(spans(made)))
        assert (made == true) == (true == "[]")
        ways.update(other if other in NER.error_kinds else "type" for _, other in NER.error_pairs(true, made))
    assert {"missed", "type"} <= set(ways)


def test_with_one_type_a_garbled_label_lacks_an_entity() -> None:
    assert {NER.corrupted(label((0, 3, "a")), ["a"], i / 20) for i in range(20)} == {"[]"}


def test_the_same_number_garbles_alike() -> None:
    true = label((0, 3, "a"), (4, 7, "b"))
    assert [NER.corrupted(true, TYPES, i / 50) for i in range(50)] == [
        NER.corrupted(true, TYPES, i / 50) for i in range(50)
    ]


def test_no_entity_fits_another_text() -> None:
    assert NER.fit_to_text(written(WANTED), "Something else") == "[]"


# Figures

GOLD = [label((0, 5, "person"), (6, 10, "city")), "[]", label((0, 4, "person"))]
ANSWERS = [label((0, 5, "person"), (6, 10, "person")), "[]", "[]"]


def test_marks_count_what_was_found_answered_and_there_of_each_type() -> None:
    marks = NER.example_statistics([""] * 3, GOLD, ANSWERS, LABELS, "micro_f1")
    # found, answered, in gold: of person and of city each; whether all is right
    assert marks.tolist() == [[1, 0, 2, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 1, 0, 0]]


def test_figures_by_hand() -> None:
    report = grade(NER, [""] * 3, GOLD, ANSWERS, LABELS, "micro_f1")
    assert report["figures"] == pytest.approx(
        {"micro_f1": 2 * 1 / (2 + 3), "macro_f1": (1 / 2 + 0) / 2, "accuracy": 1 / 3}
    )
    assert report["metric"] == report["figures"]["micro_f1"]
    assert report["items"] == pytest.approx([3 / 3, 2 / 3])
    assert report["classes"] == [
        {"label": "person", "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2},
        {"label": "city", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1},
    ]
    assert report["confusion"] == []


@pytest.mark.parametrize(
    "answer", [(0, 4, "person"), (0, 10, "person"), (1, 5, "person"), (0, 5, "city")], ids=str
)
def test_an_entity_is_right_only_whole_and_of_its_type(answer: tuple[int, int, str]) -> None:
    figures = grade(NER, [""], [label((0, 5, "person"))], [label(answer)], LABELS, "micro_f1")["figures"]
    assert figures == {"micro_f1": 0.0, "macro_f1": 0.0, "accuracy": 0.0}


def test_where_there_is_nothing_to_find_and_nothing_is_found_all_is_right() -> None:
    report = grade(NER, ["a"], ["[]"], ["[]"], LABELS, "micro_f1")
    assert report["figures"] == {"micro_f1": 0.0, "macro_f1": 0.0, "accuracy": 1.0}


@pytest.mark.parametrize("seed", range(20))
def test_span_f1_is_what_seqeval_gives(seed: int) -> None:
    metrics = pytest.importorskip("seqeval.metrics")
    chance = random.Random(seed)
    sizes = [chance.randrange(1, 12) for _ in range(chance.choice((3, 40)))]
    gold = [random_tags(chance, size, TYPES[: 1 + seed % 3]) for size in sizes]
    mixed = [chance.choice((tags, random_tags(chance, len(tags), TYPES))) for tags in gold]
    texts = [" ".join(f"w{i}" for i in range(size)) for size in sizes]
    true, given = (
        [NER.parse_label(tags, text, TYPES) for tags, text in zip(side, texts, strict=True)]
        for side in (gold, mixed)
    )
    report = grade(NER, texts, true, given, TYPES, "micro_f1")
    assert report["metric"] == pytest.approx(metrics.f1_score(gold, mixed))
    macro = metrics.f1_score(gold, mixed, average="macro", zero_division=0)
    assert report["figures"]["macro_f1"] == pytest.approx(macro)
    theirs = metrics.classification_report(gold, mixed, output_dict=True, zero_division=0)
    for entry in report["classes"]:
        figures = [entry["precision"], entry["recall"], entry["f1"], entry["support"]]
        other = theirs.get(entry["label"])
        assert figures == pytest.approx(
            [0, 0, 0, 0]
            if other is None
            else [other[key] for key in ("precision", "recall", "f1-score", "support")]
        )
    exact = np.mean([a == b for a, b in zip(gold, mixed, strict=True)])
    assert report["figures"]["accuracy"] == pytest.approx(exact)


# What once went wrong


def test_the_references_of_a_reply_s_schema_count_from_its_root() -> None:
    for form in (labels_schema(["city"], NER), drafts_schema(["city"], task_type=NER, answered=True)):
        assert "Mention" in form.json_schema["$defs"]
        assert '"#/$defs/Mention"' in json.dumps(form.json_schema)


@pytest.mark.parametrize(("text", "words"), [("Re\u0301my left", "Re"), ("गोवा", "ग")])
def test_a_mark_is_a_part_of_its_word(text: str, words: str) -> None:
    with pytest.raises(ValueError, match="only as a part of a word"):
        aligned(text, [Mention(text=words, type="city")])


def test_a_whole_mention_behind_a_part_of_a_word_is_found() -> None:
    assert aligned("aa a a", [Mention(text="a a", type="city")]) == [Span(3, 6, "city")]


def test_an_empty_token_is_no_entity() -> None:
    with pytest.raises(ValueError, match="not a valid range"):
        NER.parse_label(["O", "B-city"], "a ", ["city"])


def test_errors_are_named_in_order() -> None:
    answer = '[[0, 3, "b"], [4, 10, "c"]]'
    assert NER.error_pairs('[[0, 10, "a"]]', answer) == [("a", "b")]


def test_an_empty_order_is_no_entity_type_of_an_answer() -> None:
    draft = {
        "label": "",
        "kind": "any",
        "weakness": "",
        "text": "Bob",
        "entities": [{"text": "Bob", "type": ""}],
    }
    form = drafts_schema(["city"], task_type=NER, answered=True)
    good, problems = form.read(json.dumps({"drafts": [draft]}))
    assert not good
    assert "type" in problems[0]
    assert form.read(json.dumps({"drafts": [{**draft, "entities": []}]}))[0]


def test_a_mention_that_overlaps_itself_stands_once() -> None:
    found = aligned("we saw Duran Duran Duran live", [Mention(text="Duran Duran", type="person")])
    assert found == [Span(7, 18, "person")]


def test_tokens_of_a_csv_are_tokens(tmp_path: Path) -> None:
    with (tmp_path / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([["tokens", "tags"], [json.dumps(TEXT.split()), json.dumps(TAGS)]])
    [row] = read_rows(tmp_path / "rows.csv", LABELS, task_type=NER, fields=("tokens",), label_field="tags")
    assert row["text"] == TEXT
    assert spans(row["label"])[0] == Span(0, 11, "person")
