"""Test that the encoder gives unit vectors, caches them, and agrees with sentence-transformers."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.pretrained import load_pretrained, locate

TEXTS = ["Where is my parcel?", "refund", "¿Dónde está? 世界 😀", "My parcel has not come. " * 40]


def test_each_text_has_one_vector_of_length_one(encoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (4, 384)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)


def test_order_and_repetitions_are_kept(encoder) -> None:
    one = {text: encoder.encode([text])[0] for text in TEXTS}
    shuffled = [TEXTS[i] for i in (3, 1, 1, 0, 2, 3)]
    assert np.array_equal(encoder.encode(shuffled), np.stack([one[text] for text in shuffled]))


def test_the_vector_of_a_text_does_not_depend_on_the_batch() -> None:
    encoder = Encoder("minilm")
    first = encoder.encode(["Where is my parcel?"])
    again = encoder.encode(
        ["A much longer text, so that the short one is padded. " * 5, "Where is my parcel?"]
    )
    assert np.array_equal(first[0], again[1])


def test_forgotten_vectors_are_computed_again() -> None:
    encoder = Encoder("minilm")  # one of its own: the others keep what they have
    before = encoder.encode(TEXTS)
    encoder.forget()
    assert np.array_equal(encoder.encode(TEXTS), before)


def test_a_cache_file_keeps_vectors_over_restarts(tiny_bert, tmp_path: Path) -> None:
    folder, cache = tiny_bert(tmp_path / "tiny", pooling="mean_tokens"), tmp_path / "cache.sqlite"
    before = Encoder(folder, cache=cache).encode(["where is my parcel", "refund"])
    shutil.rmtree(folder)  # so that only the cache file can answer
    after = Encoder(folder, cache=cache).encode(["refund", "where is my parcel"])
    assert np.array_equal(after, before[::-1])
    with pytest.raises(InputError):
        Encoder(folder, cache=cache).encode(["a text it has not read"])


def test_a_new_cache_takes_over_the_vectors_of_an_earlier_one(tiny_bert, tmp_path: Path) -> None:
    folder, texts = tiny_bert(tmp_path / "tiny", pooling="mean_tokens"), ["where is my parcel", "refund"]
    before = Encoder(folder, cache=tmp_path / "first.sqlite").encode(texts)
    absent = tmp_path / "absent.sqlite"
    again = Encoder(folder, cache=tmp_path / "second.sqlite", earlier=[absent, tmp_path / "first.sqlite"])
    assert set(again._cache) == set(texts)
    assert np.array_equal(again.encode(texts), before)
    again.close()
    shutil.rmtree(folder)  # so that only the new file can answer
    assert np.array_equal(Encoder(folder, cache=tmp_path / "second.sqlite").encode(texts), before)


def test_vectors_of_another_encoder_are_not_taken_over(tiny_bert, tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "tiny", pooling="mean_tokens")
    first = tmp_path / "first.sqlite"
    Encoder(folder, cache=first).encode(["refund"])
    other = Encoder(folder, max_tokens=8, cache=tmp_path / "second.sqlite", earlier=[first])
    assert other._cache == {}
    with closing(sqlite3.connect(first)) as db, db:
        db.execute("DROP TABLE encoders")  # as in a file of an earlier version
    assert Encoder(folder, cache=tmp_path / "third.sqlite", earlier=[first])._cache == {}


def test_no_texts_give_no_vectors(encoder) -> None:
    assert encoder.encode([]).shape == (0, 384)


def test_similar_texts_are_nearer_than_different_ones(encoder) -> None:
    a, b, c = encoder.encode(["Where is my parcel?", "When does my package come?", "I forgot my password"])
    assert a @ b > a @ c + 0.2


def test_a_batch_larger_than_one_forward_pass_keeps_its_order(encoder) -> None:
    texts = [f"order number {i}" for i in range(150)]
    vectors = encoder.encode(texts)
    fresh = Encoder("minilm").encode(texts[::-1])[::-1]
    assert np.abs(vectors - fresh).max() < 1e-5


def test_text_beyond_the_token_limit_is_ignored() -> None:
    a, b, c = Encoder("minilm", max_tokens=8).encode(
        [f"one two three four five six {end}" for end in ("seven", "eight nine", "")]
    )
    assert np.abs(a - b).max() < 1e-6
    assert a == pytest.approx(c, abs=1e-6)


def test_each_model_has_its_own_fingerprint(encoder, tiny_bert, tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "tiny", pooling="mean_tokens")
    assert encoder.fingerprint == Encoder("minilm").fingerprint
    assert encoder.fingerprint.startswith("minilm-")
    assert Encoder(folder).fingerprint.startswith("tiny-")
    assert Encoder(folder).fingerprint.split("-")[1] != encoder.fingerprint.split("-")[1]


def test_minilm_is_a_bundled_folder_and_other_names_are_unchanged() -> None:
    assert (Path(locate("minilm")) / "config.json").exists()
    assert locate("somebody/model") == "somebody/model"


def test_vectors_equal_those_of_sentence_transformers(encoder) -> None:
    from sentence_transformers import (
        SentenceTransformer,
    )  # the import takes 10 seconds: only this test needs it

    theirs = SentenceTransformer(locate("minilm"), device="cpu")
    theirs.max_seq_length = encoder.max_tokens
    expected = theirs.encode(TEXTS, normalize_embeddings=True)
    assert (encoder.encode(TEXTS) * expected).sum(1).min() > 0.99999


def test_another_pooling_is_encoded_by_sentence_transformers(tiny_bert, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = tiny_bert(tmp_path / "first_token", pooling="cls_token")
    tokens = AutoTokenizer.from_pretrained(folder)(["where is my order"], return_tensors="pt")
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(folder).eval()(**tokens).last_hidden_state[0].numpy()
    [vector] = Encoder(folder, device="cpu").encode(["where is my order"])
    assert vector @ hidden[0] / np.linalg.norm(hidden[0]) == pytest.approx(1, abs=1e-5)
    assert vector @ hidden.mean(0) / np.linalg.norm(hidden.mean(0)) < 0.999


@pytest.mark.parametrize("pooling", ["mean_tokens", "cls_token"])
def test_a_text_longer_than_the_model_allows_is_truncated(tiny_bert, tmp_path: Path, pooling: str) -> None:
    folder = tiny_bert(tmp_path / "short", pooling=pooling, positions=32)
    assert Encoder(folder, device="cpu").encode(["where is my parcel " * 50]).shape == (1, 32)


def test_an_unknown_encoder_is_reported_in_one_line() -> None:
    with pytest.raises(InputError, match="'nobody/nothing' cannot be loaded") as caught:
        Encoder("nobody/nothing").encode(["hello"])
    assert "\n" not in str(caught.value)


def test_an_unknown_model_is_reported_in_one_line_with_what_to_give(tmp_path: Path) -> None:
    from transformers import AutoModel

    for name in ("nobody/nothing", str(tmp_path)):
        with pytest.raises(
            InputError, match=f"model '{name}' cannot be loaded: .* Give a hub name"
        ) as caught:
            load_pretrained(AutoModel, name)
        assert "\n" not in str(caught.value)
