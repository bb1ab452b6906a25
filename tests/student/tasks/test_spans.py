"""Test where the entities that a teacher names are found in a text."""

import pytest
from tutelage.student.tasks.spans import Mention, Span, aligned
from tutelage.student.tasks.words import units


def named(*given: str) -> list[Mention]:
    """Return mentions, written as `words=type`."""
    return [Mention(text=one.split("=")[0], type=one.split("=")[1]) for one in given]


def found(text: str, *given: str) -> list[str]:
    """Return where the mentions are found, written as `start words=type`."""
    return [f"{one.start} {text[one.start : one.end]}={one.type}" for one in aligned(text, named(*given))]


@pytest.mark.parametrize("times", [1, 3])
def test_a_mention_named_once_or_each_time_is_found_at_every_occurrence(times: int) -> None:
    assert found("York, York or York", *["York=city"] * times) == [
        "0 York=city",
        "6 York=city",
        "14 York=city",
    ]


def test_korean_names_are_found_before_their_particles() -> None:
    assert found("김민수는 서울에서 산다", "서울=city", "김민수=person") == ["0 김민수=person", "5 서울=city"]


@pytest.mark.parametrize("times", [2, 4])
def test_a_mention_named_several_times_but_not_each_time_is_refused(times: int) -> None:
    with pytest.raises(ValueError, match=rf"'York' is named {times} times and stands there 3 times; it is"):
        found("York, York or York", *["York=city"] * times)


def test_one_name_with_two_types_is_matched_in_the_order_of_mentions() -> None:
    text = "Paris saw Paris in Paris"
    assert found(text, "Paris=person", "Paris=person", "Paris=city") == [
        "0 Paris=person",
        "10 Paris=person",
        "19 Paris=city",
    ]


@pytest.mark.parametrize("given", [["person", "city"], ["person", "city", "city", "city"]])
def test_one_name_with_two_types_is_refused_if_the_counts_differ(given: list[str]) -> None:
    with pytest.raises(ValueError, match="'Paris' is named as person and city and stands there 3 times"):
        found("Paris saw Paris in Paris", *(f"Paris={one}" for one in given))


@pytest.mark.parametrize(
    "given", [["York=city", "New York Times=person"], ["New York Times=person", "York=city"]]
)
def test_the_longest_of_nested_mentions_is_kept(given: list[str]) -> None:
    assert found("the New York Times", *given) == ["4 New York Times=person"]


def test_a_nested_mention_is_kept_where_it_occurs_alone() -> None:
    text = "York read the New York Times in York"
    wanted = ["0 York=city", "14 New York Times=person", "32 York=city"]
    assert found(text, "York=city", "New York Times=person") == wanted
    assert found(text, *["York=city"] * 3, "New York Times=person") == wanted, (
        "the nested one can be named too"
    )


def test_partly_overlapping_mentions_are_refused() -> None:
    with pytest.raises(ValueError, match="'New York' overlaps another one in part; one of the two must go"):
        found("the New York Times", "New York=city", "York Times=person")


@pytest.mark.parametrize(
    ("text", "words", "message"),
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
def test_a_mention_that_is_not_in_the_text_is_refused(text: str, words: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
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
def test_a_mention_is_found_at_its_exact_position(text: str, words: str, start: int) -> None:
    assert found(text, f"{words}=city") == [f"{start} {words.strip()}=city"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Maria's bike, no. 4-A!", ["Maria", "'", "s", "bike", ",", "no", ".", "4", "-", "A", "!"]),
        ("Größe 😀x_1", ["Größe", "😀", "x_1"]),
        ("東京へ go", ["東", "京", "へ", "go"]),
        ("  \n\t ", []),
    ],
)
def test_a_text_is_split_into_words_and_punctuation(text: str, wanted: list[str]) -> None:
    assert [text[start:end] for start, end in units(text)] == wanted


@pytest.mark.parametrize(("text", "words"), [("Re\u0301my left", "Re"), ("गोवा", "ग")])
def test_a_combining_mark_is_part_of_its_word(text: str, words: str) -> None:
    with pytest.raises(ValueError, match="only as a part of a word"):
        aligned(text, [Mention(text=words, type="city")])


def test_a_mention_after_a_partial_match_is_found() -> None:
    assert aligned("aa a a", [Mention(text="a a", type="city")]) == [Span(3, 6, "city")]


def test_a_mention_that_overlaps_itself_is_found_once() -> None:
    found = aligned("we saw Duran Duran Duran live", [Mention(text="Duran Duran", type="person")])
    assert found == [Span(7, 18, "person")]
