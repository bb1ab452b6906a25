"""Test that near-duplicates are those of brute force, over batches, restarts and killed processes."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import chromadb
import numpy as np
import pytest
from numpy.typing import NDArray
from tutelage.student.corpus import Corpus
from tutelage.student.data.rows import Row, content_id
from tutelage.student.encoder import Encoder, GivenEncoder

NEAR, COUNT, BATCH = 0.92, 1_200, 150


class Planted:
    """An encoder of the user: text number i has vector i. A third of them are planted near the threshold."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        vectors = rng.standard_normal((COUNT, 48)) * np.arange(1, 49) ** -0.5
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        for i in range(2, COUNT, 3):
            source = vectors[rng.integers(i)]
            away = rng.standard_normal(48)
            away -= (away @ source) * source
            cosine = NEAR + rng.choice([-1, 1]) * rng.choice([1e-6, 1e-4, 1e-2])
            vectors[i] = cosine * source + np.sqrt(1 - cosine**2) * away / np.linalg.norm(away)
        self.vectors = vectors

    def encode(self, texts: list[str]) -> NDArray[np.float64]:
        return np.stack(
            [self.vectors[int(text.split()[-1])] if text[-1].isdigit() else np.eye(48)[0] for text in texts]
        )


def batches() -> list[list[str]]:
    texts = [f"text number {i}" for i in range(COUNT)]
    return [texts[start : start + BATCH] for start in range(0, COUNT, BATCH)]


def keep_new(corpus: Corpus, texts: list[str]) -> list[bool]:
    """Store the texts of a batch that are no duplicates; return which ones are."""
    near = corpus.neighbours(texts)
    new = [text for text, neighbour in zip(texts, near, strict=True) if neighbour is None]
    corpus.add_rows([Row(id=content_id(text), text=text, label="") for text in new])
    return [neighbour is not None for neighbour in near]


def brute_force(held_out: list[str]) -> list[bool]:
    """Return which texts are near-duplicates, comparing every pair."""
    encoder = GivenEncoder(Planted())
    vectors = encoder.encode([text for batch in batches() for text in batch]).astype(np.float64)
    stored = list(encoder.encode(held_out).astype(np.float64)) if held_out else []
    result = []
    for vector in vectors:
        near = bool(stored) and max(np.array(stored) @ vector) >= NEAR
        result.append(near)
        if not near:
            stored.append(vector)
    return result


def test_decisions_over_batches_and_restarts_are_those_of_brute_force(tmp_path: Path) -> None:
    held_out = [f"text number {i}" for i in range(0, 60, 4)]
    folder, found = tmp_path / "0", list[bool]()
    Corpus(folder, GivenEncoder(Planted()), threshold=NEAR).hold_out(held_out)
    for number, texts in enumerate(batches()):
        if number % 3 == 0:
            corpus = Corpus(folder, GivenEncoder(Planted()), threshold=NEAR)
        found += keep_new(corpus, texts)
        if number % 3 == 2:  # Chroma keeps an open folder in memory, so a restart is a copy
            shutil.copytree(folder, tmp_path / str(number))
            folder = tmp_path / str(number)
    expected = brute_force(held_out)
    assert found == expected
    assert 150 < sum(found) < 400


PROGRAM = """
import sys
from pathlib import Path
from tests.student.test_corpus_exact import NEAR, Planted, batches, keep_new
from tutelage.student.corpus import Corpus
from tutelage.student.encoder import GivenEncoder

corpus = Corpus(Path(sys.argv[1]), GivenEncoder(Planted()), threshold=NEAR)
for texts in batches():
    print("batch", flush=True)
    keep_new(corpus, texts)
print("end", flush=True)
"""


@pytest.mark.parametrize("at", [1, 3, 6])
def test_a_killed_process_leaves_a_corpus_whose_decisions_are_exact(at: int, tmp_path: Path) -> None:
    """The batch in which the process dies is searched again: texts that it stored are found again as such."""
    folder = tmp_path / "corpus"
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout
        for _ in range(at + 1):
            assert process.stdout.readline() == "batch\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    corpus = Corpus(folder, GivenEncoder(Planted()), threshold=NEAR)
    expected = brute_force([])
    stored = set(corpus._collections["known"].get(include=["documents"])["documents"])
    texts = [text for batch in batches() for text in batch]
    kept = [t for t, near in zip(texts, expected, strict=True) if not near]
    finished = [text for text in kept if int(text.split()[-1]) < at * BATCH]
    assert set(finished) <= stored <= set(kept)
    for batch in batches()[at:]:
        keep_new(corpus, [text for text in batch if text not in stored])
    documents = corpus._collections["known"].get(include=["documents"])["documents"]
    assert set(documents) == set(kept)
    again = corpus.neighbours(kept)
    assert [one and (one.source, one.text, one.similarity) for one in again] == [
        ("known", t, 1.0) for t in kept
    ]


def test_a_corpus_that_searched_the_graph_of_chroma_can_be_continued(tmp_path: Path, draft, encoder) -> None:
    settings = chromadb.Settings(anonymized_telemetry=False)
    client = chromadb.PersistentClient(str(tmp_path / "corpus"), settings=settings)
    old = client.create_collection(
        "known",
        embedding_function=None,
        metadata={"encoder": encoder.fingerprint},
        configuration={"hnsw": {"space": "cosine", "ef_search": 100}},
    )
    text = "Where is the parcel that I ordered on Monday?"
    old.upsert(
        ids=[content_id(text)], documents=[text], metadatas=[{"round": 0}], embeddings=encoder.encode([text])
    )
    corpus = Corpus(tmp_path / "corpus", encoder, threshold=NEAR)
    corpus.add_judged([draft("How do I change my e-mail address?")])
    first, second, other = corpus.neighbours([text + " Thanks", "how do I change my email address", "Bye"])
    assert first
    assert second
    assert (first.text, second.text, other) == (text, "How do I change my e-mail address?", None)


def test_forgotten_samples_are_no_neighbours(tmp_path: Path, draft, encoder) -> None:
    corpus = Corpus(tmp_path / "corpus", encoder, threshold=NEAR)
    first, second = "Where is my parcel?", "How do I pay by card?"
    corpus.add_judged([draft(first, round=1), draft(second, round=2)])
    assert all(corpus.neighbours([first, second]))
    corpus.forget(since=2)
    found = corpus.neighbours([first, second])
    assert [one and one.text for one in found] == [first, None]


def test_another_threshold_needs_no_text_to_be_embedded_again(tmp_path: Path, draft, tiny_bert) -> None:
    folder, cache = tiny_bert(tmp_path / "tiny", pooling="mean_tokens"), tmp_path / "embeddings.sqlite"
    texts = ["where is my parcel", "where is my order", "how do i pay", "refund", "where is the parcel"]
    before = Encoder(folder, cache=cache)
    corpus = Corpus(tmp_path / "corpus", before, threshold=0.999)
    corpus.add_judged([draft(text) for text in texts[:1]])
    assert corpus.neighbours(texts[1:]) == [None] * 4
    after = Encoder(folder, cache=cache)
    assert after.fingerprint == before.fingerprint  # loads the weights, the last use of the model
    shutil.rmtree(folder)
    del after._mean_pooled
    lower = Corpus(tmp_path / "corpus", after, threshold=0.1)
    assert all(lower.neighbours(texts[1:]))
