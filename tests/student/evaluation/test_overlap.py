"""Test that exact, near and partial overlaps are counted separately."""

from tutelage.student.evaluation.overlap import overlap

TEST_SET = [
    "Where is my parcel?",
    "I have been waiting for nine days now and the parcel still has not come to my door",
    "Can I pay in three instalments?",
]


def test_an_exact_repetition_up_to_case_and_punctuation_is_counted(encoder) -> None:
    found = overlap(["WHERE, is my parcel...", "I forgot my password"], TEST_SET, encoder, 0.999)
    assert (found["texts"], found["exact"], found["ngram"]) == (2, 1, 0)


def test_eight_words_in_a_row_are_counted_and_seven_are_not(encoder) -> None:
    eight = "Hello! My husband says: the parcel still has not come to my neighbour, so where is it"
    seven = "Hello! My husband says: parcel still has not come to my neighbour, so where is it"
    assert overlap([eight, seven], TEST_SET, encoder, 0.999)["ngram"] == 1


def test_a_text_shorter_than_eight_words_shares_no_ngram(encoder) -> None:
    assert overlap(TEST_SET[:1], TEST_SET, encoder, 0.999)["ngram"] == 0


def test_near_texts_are_counted_from_the_threshold_on(encoder) -> None:
    texts = ["Can I pay it in three instalments?", "I forgot my password"]
    cosines = (encoder.encode(texts) @ encoder.encode(TEST_SET).T).max(1)
    between = float(cosines.sum() / 2)
    assert overlap(texts, TEST_SET, encoder, between)["near"] == 1
    assert overlap(texts, TEST_SET, encoder, float(cosines.min()) - 1e-6)["near"] == 2
    assert overlap(texts, TEST_SET, encoder, between)["nearest"] == round(float(cosines.max()), 4)


def test_empty_sets_have_no_overlap(encoder) -> None:
    nothing = {"exact": 0, "ngram": 0, "near": 0, "nearest": 0.0}
    assert overlap([], TEST_SET, encoder, 0.9) == {"texts": 0, **nothing}
    assert overlap(TEST_SET, [], encoder, 0.9) == {"texts": 3, **nothing}
