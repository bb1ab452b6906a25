"""Test which texts count as near-duplicates, with a real Chroma."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from tutelage.student.corpus import Corpus, Neighbour
from tutelage.student.data.rows import Row, content_id
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.tasks.registry import TASK_TYPES

PARCEL = "My parcel should have come on Friday, where is it?"
NEAR = "My parcel should have come on Monday, where is it?"
OTHER = "How do I change the e-mail address of my account?"


@pytest.fixture
def corpus(tmp_path: Path, encoder) -> Corpus:
    return Corpus(tmp_path / "corpus", encoder, threshold=0.9)


def test_the_example_texts_have_the_assumed_similarities(encoder) -> None:
    parcel, near, other = encoder.encode([PARCEL, NEAR, OTHER])
    assert parcel @ near > 0.92
    assert parcel @ other < 0.5


def test_an_empty_corpus_has_no_neighbours(corpus: Corpus) -> None:
    assert corpus.neighbours([PARCEL, OTHER]) == [None, None]
    assert corpus.neighbours([]) == []


def test_the_second_of_two_near_texts_in_a_batch_is_a_duplicate(corpus: Corpus, encoder) -> None:
    first, second, third = corpus.neighbours([PARCEL, NEAR, OTHER])
    assert (first, third) == (None, None)
    assert second is not None
    assert (second.source, second.text) == ("batch", PARCEL)
    parcel, near = encoder.encode([PARCEL, NEAR])
    assert second.similarity == pytest.approx(float(parcel @ near), abs=1e-5)


def test_a_duplicate_does_not_count_as_a_neighbour(corpus: Corpus, encoder) -> None:
    a, b, c = chain = [PARCEL, NEAR, "The parcel should have come on Monday, where can it be?"]
    cosine = encoder.encode(chain) @ encoder.encode(chain).T
    corpus.threshold = float(cosine[0, 2]) + 0.01
    assert min(cosine[0, 1], cosine[1, 2]) > corpus.threshold
    assert [n and n.text for n in corpus.neighbours([a, b, c])] == [None, a, None]
    assert [n and n.text for n in corpus.neighbours([b, c])] == [None, b]


def test_a_text_near_a_judged_one_is_a_duplicate(corpus: Corpus, draft) -> None:
    corpus.add_judged([draft(PARCEL)])
    near, other = corpus.neighbours([NEAR, OTHER])
    assert near is not None
    assert (near.source, near.text, other) == ("known", PARCEL, None)


def test_a_text_near_a_seed_row_is_a_duplicate(corpus: Corpus, shop) -> None:
    seed = shop("seed")[0]
    corpus.add_rows([seed])
    [found] = corpus.neighbours([seed["text"] + " Thanks"])
    assert found is not None
    assert (found.source, found.text) == ("known", seed["text"])


def test_a_neighbour_in_a_held_out_set_is_named_only_by_id(corpus: Corpus) -> None:
    corpus.hold_out([PARCEL])
    near, other = corpus.neighbours([NEAR, OTHER])
    assert near is not None
    assert (near.source, near.text, other) == ("held_out", content_id(PARCEL), None)


def test_a_held_out_neighbour_is_reported_before_a_nearer_known_one(corpus: Corpus, draft) -> None:
    corpus.hold_out([NEAR])
    corpus.add_judged([draft(PARCEL)])
    [found] = corpus.neighbours([PARCEL + " Thanks"])
    assert found is not None
    assert found.source == "held_out"


@pytest.mark.parametrize("place", ["batch", "known", "held_out"])
def test_the_same_text_up_to_punctuation_has_similarity_one(
    corpus: Corpus, draft, encoder, place: str
) -> None:
    plain, adorned = "where is my order", "- WHERE / is (my) order ???!!! ..."
    vectors = encoder.encode([plain, adorned])
    assert vectors[0] @ vectors[1] < corpus.threshold
    if place == "known":
        corpus.add_judged([draft(plain)])
    elif place == "held_out":
        corpus.hold_out([plain])
    *_, found = corpus.neighbours([plain, adorned] if place == "batch" else [adorned])
    assert found == (place, content_id(plain) if place == "held_out" else plain, 1.0)


@pytest.mark.parametrize("place", ["known", "held_out"])
def test_the_same_text_is_reported_even_if_another_has_a_higher_cosine(
    corpus: Corpus, draft, encoder, place: str
) -> None:
    plain, adorned, longer = "where is my order", "- where / is (my) order ???!!! ...", "where is my order at"
    a, b, c = encoder.encode([plain, adorned, longer])
    assert a @ c > a @ b
    if place == "known":
        corpus.add_judged([draft(adorned), draft(longer)])
    else:
        corpus.hold_out([adorned, longer])
    [found] = corpus.neighbours([plain])
    assert found == (place, content_id(adorned) if place == "held_out" else adorned, 1.0)


def variants(texts: list[str], rng: random.Random) -> list[str]:
    """Return each text with a word dropped, doubled or added, or with other punctuation."""
    result = []
    for text in texts:
        words = text.split()
        place = rng.randrange(len(words))
        edits = [
            words[:place] + words[place + 1 :] or words,
            [*words[:place], words[place], *words[place:]],
            [*words, rng.choice(["please", "thanks", "again", "today", "Help!"])],
            [word.upper().strip(".,?!") + "!" for word in words],
        ]
        result.append(" ".join(rng.choice(edits)))
    return result


def expected(texts, known, held_out, threshold, encoder) -> list[float | None]:
    """Return the similarity for which each text is a duplicate, computed pair by pair."""
    free: list[str] = []
    result: list[float | None] = []
    for text in texts:
        others = [*known, *held_out, *free]
        vectors = encoder.encode(others)
        cosines = vectors @ encoder.encode([text])[0]
        same = [content_id(text) == content_id(other) for other in others]
        best = float(np.where(same, 1.0, cosines).max())
        result.append(best if best >= threshold else None)
        if best < threshold:
            free.append(text)
    return result


def test_neighbours_are_those_of_an_exact_comparison(corpus: Corpus, encoder, shop, draft) -> None:
    rng = random.Random(0)
    texts = [row["text"] for row in shop("teacher") if len(row["text"]) < 100][:150]
    known, held_out, rest = texts[:50], texts[50:90], texts[90:]
    batch = variants(texts, rng) + rest
    rng.shuffle(batch)
    corpus.add_judged([draft(text) for text in known])
    corpus.hold_out(held_out)
    found = corpus.neighbours(batch)
    right = expected(batch, known, held_out, corpus.threshold, encoder)
    assert len(batch) > 200
    assert 40 < sum(score is None for score in right) < len(batch) - 40
    assert [n is None for n in found] == [score is None for score in right]
    assert [n.similarity for n in found if n] == pytest.approx([s for s in right if s], abs=1e-4)


def test_adding_a_text_twice_stores_it_once(corpus: Corpus, draft) -> None:
    for _ in range(2):
        corpus.add_judged([draft(PARCEL), draft(PARCEL), draft(OTHER)])
    assert corpus._collections["known"].count() == 2


def test_drafts_are_returned_complete_in_order_of_round_attempt_and_place(corpus: Corpus, draft) -> None:
    places = [(2, 0, 0), (1, 1, 0), (1, 0, 10), (1, 0, 9), (10, 0, 0), (1, 10, 0)]
    made = [
        draft(f"text {i}", round=r, attempt=a, place=p, label="order_status", similarity=0.5)
        for i, (r, a, p) in enumerate(places)
    ]
    corpus.put(made)
    ordered = sorted(made, key=lambda s: (s["round"], s["attempt"], s["place"]))
    assert corpus.drafts() == ordered


def test_drafts_can_be_filtered_by_round_and_status(corpus: Corpus, draft) -> None:
    for number in (1, 2):
        corpus.put(
            [
                draft("One", round=number, place=0, status="kept"),
                draft("Two", round=number, place=1, status="duplicate"),
            ]
        )
    assert [(s["round"], s["text"]) for s in corpus.drafts(2)] == [(2, "One"), (2, "Two")]
    assert [(s["round"], s["text"]) for s in corpus.drafts(status="kept")] == [(1, "One"), (2, "One")]
    assert [(s["round"], s["text"]) for s in corpus.drafts(1, "duplicate")] == [(1, "Two")]
    assert corpus.drafts(3) == []


def test_an_updated_draft_has_its_new_status(corpus: Corpus, draft) -> None:
    corpus.put([draft(PARCEL)])
    corpus.update([draft(PARCEL, status="refused", reason="unclear")])
    [found] = corpus.drafts()
    assert (found["status"], found["reason"]) == ("refused", "unclear")
    assert corpus.drafts(status="draft") == []


def test_the_samples_in_memory_are_those_in_the_folder(corpus: Corpus, encoder, draft, tmp_path) -> None:
    first, second = draft("One", place=0), draft("Two", place=1, round=2)
    assert corpus.drafts() == []
    corpus.put([first, second])
    corpus.update([draft("One", place=0, status="kept", predicted_before=[0.25, 0.75])])
    corpus.put([draft("Three", place=2, round=3)])
    corpus.forget(since=3)
    corpus.put([draft("Four", place=3, round=3)])
    found = corpus.drafts()
    assert [(s["text"], s["status"]) for s in found] == [("One", "kept"), ("Two", "draft"), ("Four", "draft")]
    found[0]["status"] = second["status"] = "refused"
    shutil.copytree(corpus.folder, tmp_path / "moved")
    assert corpus.drafts() == Corpus(tmp_path / "moved", encoder, threshold=0.9).drafts()


def test_drafts_are_no_neighbours_until_they_are_judged(corpus: Corpus, draft) -> None:
    corpus.put([draft(PARCEL)])
    assert corpus.neighbours([PARCEL]) == [None]


def test_the_corpus_persists_when_its_folder_is_reopened(corpus: Corpus, encoder, draft, tmp_path) -> None:
    corpus.put([draft(OTHER)])
    corpus.add_judged([draft(PARCEL)])
    corpus.hold_out(["Can I pay in three instalments?"])
    shutil.copytree(corpus.folder, tmp_path / "moved")  # another folder, since Chroma caches an open one
    again = Corpus(tmp_path / "moved", encoder, threshold=0.9)
    assert again.drafts() == [draft(OTHER)]
    found = again.neighbours([NEAR, "Can I pay in 3 instalments?", OTHER])
    assert [n and n.source for n in found] == ["known", "held_out", None]


def test_another_encoder_on_the_same_folder_is_refused(corpus: Corpus, draft, tiny_bert, tmp_path) -> None:
    corpus.add_judged([draft(PARCEL)])
    other = Encoder(tiny_bert(tmp_path / "tiny", pooling="mean_tokens"))
    with pytest.raises(
        InputError, match=r"was written with encoder minilm-\w+, this run uses tiny-\w+; use the same"
    ):
        Corpus(corpus.folder, other, threshold=0.92).neighbours([PARCEL])


def test_held_out_texts_are_not_stored_in_the_folder(corpus: Corpus, draft) -> None:
    corpus.add_judged([draft(PARCEL)])
    corpus.hold_out([OTHER])
    stored = b"".join(path.read_bytes() for path in corpus.folder.rglob("*") if path.is_file())
    assert PARCEL.encode() in stored
    assert OTHER.encode() not in stored
    assert corpus._collections["held_out"].get(include=["documents"])["documents"] == [None]


def test_at_a_threshold_of_one_only_the_same_text_is_near(encoder: Encoder, tmp_path: Path) -> None:
    task_type = TASK_TYPES["seq2seq"]  # whose texts differ by case, which the encoder ignores
    corpus = Corpus(tmp_path / "corpus", encoder, threshold=1.0, task_type=task_type)
    corpus.add_rows([Row(id=content_id("ls -l", task_type), text="ls -l", label="")])
    found = corpus.neighbours(["ls -L", "ls  -l", "LS -l", "LS -l "])
    assert found == [None, Neighbour("known", "ls -l", 1.0), None, Neighbour("batch", "LS -l", 1.0)]
