"""Race the search for near-duplicates at 100,000 texts, and measure it at 1,000,000.

    python benchmarks/large_corpus.py             # needs the data sets beside the checkout
    python benchmarks/large_corpus.py --semhash FOLDER     # a folder with semhash, for its arm
    python benchmarks/large_corpus.py --table

All arms get the same vectors in batches of 1,000, and keep a text unless it is near (cosine 0.92) to one that
was kept before. 40,000 vectors are of real texts (MiniLM); further ones are real vectors moved by the
difference of two others. 18 % of each batch are planted near a real vector, half of these within 0.002 of the
threshold. semhash gets all vectors at once, as its interface wants. With 1,000,000 texts, 990,000 are stored
without a search, and the next ten batches are measured.

Each arm is a process of its own. Memory is the highest resident size beyond that before the first batch, when
all libraries and the real vectors are loaded. Decisions are compared with those of the blocked product, which
computes the cosines near the threshold again in float64. Results go to results/large_corpus.jsonl as they
come.
"""

import argparse
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
from common.cells import Cell, read, write
from large_pool import resident
from numpy.typing import NDArray

RESULTS = Path(__file__).parent / "results" / "large_corpus.jsonl"
DATA = Path(__file__).parents[2] / "shared" / "data"
SETS = (
    "agnews", "banking77", "clinc150", "csabstruct", "emotion", "mr", "subj", "disfl_qa", "tweeteval_irony",
    "glue_qnli_dev", "glue_sst2", "llm_esnli", "mit_movie",
)  # fmt: skip
REAL, BATCH, NEW, NEAR = 40_000, 1_000, 820, 0.92
LATE = 10  # batches that are measured in a store of 1,000,000 texts
ARMS = ("blocked", "ours", "chroma", "semhash")
Floats = NDArray[np.float32]
Duplicates = NDArray[np.bool_]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "tutelage-benchmarks")
    parser.add_argument("--semhash", type=Path, help="a folder into which semhash was installed")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--arms", nargs="+", default=ARMS, choices=ARMS)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)  # arm and size, in a process of its own
    wanted = parser.parse_args()
    if wanted.one:
        print(json.dumps(measured(wanted.one[0], int(wanted.one[1]), wanted.cache)))
        return
    if not wanted.table:
        real_vectors(wanted.cache)
        done = [(one["texts"], one["repeat"], one["arm"]) for one in read(RESULTS)]
        for size in wanted.sizes:
            for repeat in range(wanted.repeats if size <= 100_000 else 1):
                for arm in wanted.arms if size <= 100_000 else ("blocked", "ours"):
                    if (size, repeat, arm) not in done:
                        write(RESULTS, {**run_one(arm, size, wanted), "repeat": repeat})
    print_table()


def run_one(arm: str, size: int, wanted: argparse.Namespace) -> Cell:
    """Run an arm in a process of its own; only semhash's sees the folder of semhash."""
    command = [sys.executable, __file__, "--cache", str(wanted.cache), "--one", arm, str(size)]
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(wanted.semhash or "")]))
    environment = os.environ | ({"PYTHONPATH": path} if arm == "semhash" else {})
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    result: Cell = json.loads(found.stdout.splitlines()[-1])
    print(json.dumps(result), flush=True)
    return result


def measured(arm: str, size: int, cache: Path) -> Cell:
    """Run one arm and compare its decisions with those of the blocked product, which runs first."""
    real, batches = real_vectors(cache), size // BATCH
    late = batches - LATE if size > 100_000 else 0
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        decide, fill = {"ours": ours, "blocked": blocked, "chroma": chroma, "semhash": semhash}[arm](
            Path(folder), size
        )
        Path("/proc/self/clear_refs").write_text("5")  # forget the highest size so far
        before, start = resident(), time.monotonic()
        for number in range(late):
            fill(number, vectors_of(number, real))
        filling, spent = time.monotonic() - start, []
        found = []
        given: Iterator[tuple[int, Floats]] = ((n, vectors_of(n, real)) for n in range(late, batches))
        if arm == "semhash":
            given = iter([(0, np.concatenate([vectors for _, vectors in given]))])
        for number, vectors in given:
            wall, cpu = time.monotonic(), time.process_time()
            found.append(decide(number, vectors))
            spent.append((time.monotonic() - wall, time.process_time() - cpu))
        peak = resident("VmHWM") - before
    truth = cache / f"large_corpus-{size}.npy"
    decisions = np.concatenate(found)
    if arm == "blocked":
        np.save(truth, decisions)
    walls, cpus = zip(*spent, strict=True)
    return {
        "arm": arm,
        "texts": size,
        "seconds": round(sum(walls), 1),
        "cpu": round(sum(cpus), 1),
        "last_thousands": round(sum(walls[-5:]) / 5, 3) if len(walls) > 5 else None,
        "filling": round(filling, 1),
        "memory": round(peak),
        "duplicates": int(decisions.sum()),
        "equal": float((decisions == np.load(truth)).mean()),
    }


# --- the arms: each returns a function that decides on a batch, and one that stores a batch without a search


def ours(folder: Path, size: int) -> tuple[Callable[..., Duplicates], Callable[..., None]]:
    """Compare with the corpus of a run folder, and store what is kept in it."""
    from tutelage.student.corpus import Corpus
    from tutelage.student.data.rows import Row, content_id

    class Given:
        fingerprint = "given"
        vectors: dict[str, Floats]

        def encode(self, texts: Any) -> Floats:
            return np.stack([self.vectors[text] for text in texts]) if texts else np.zeros((0, 384), "f4")

    given = Given()
    corpus = Corpus(folder / "corpus", given, threshold=NEAR)
    corpus.neighbours([])  # loads Chroma

    def store(texts: list[str]) -> None:
        corpus.add_rows([Row(id=content_id(text), text=text, label="") for text in texts])

    def decide(number: int, vectors: Floats) -> Duplicates:
        texts = texts_of(number)
        given.vectors = dict(zip(texts, vectors, strict=True))
        near = corpus.neighbours(texts)
        store([text for text, neighbour in zip(texts, near, strict=True) if neighbour is None])
        return np.array([neighbour is not None for neighbour in near])

    def fill(number: int, vectors: Floats) -> None:
        texts = texts_of(number)
        given.vectors = dict(zip(texts, vectors, strict=True))
        store(texts)

    return decide, fill


def blocked(folder: Path, size: int) -> tuple[Callable[..., Duplicates], Callable[..., None]]:
    """Compare by matrix products in numpy with all kept vectors; nothing is stored on disk."""
    kept, count = np.empty((size, 384), np.float32), 0

    def decide(number: int, vectors: Floats) -> Duplicates:
        nonlocal count
        near = np.zeros(len(vectors), bool)
        for start in range(0, count, 8_192):
            stored = kept[start : min(start + 8_192, count)]
            near |= above(vectors, stored, vectors @ stored.T).any(1)
        near = greedy(near, above(vectors, vectors, vectors @ vectors.T))
        fill(number, vectors[~near])
        return near

    def fill(number: int, vectors: Floats) -> None:
        nonlocal count
        kept[count : count + len(vectors)] = vectors
        count += len(vectors)

    return decide, fill


def above(left: Floats, right: Floats, cosines: Floats) -> Duplicates:
    """Return which cosines reach the threshold; those within rounding of it are computed in float64."""
    result = cosines >= NEAR
    for i in np.flatnonzero(cosines.max(1) >= NEAR - 1e-5):
        for j in np.flatnonzero(abs(cosines[i] - NEAR) < 1e-5):
            result[i, j] = left[i].astype(np.float64) @ right[j].astype(np.float64) >= NEAR
    return result


def greedy(near: Duplicates, close: Duplicates) -> Duplicates:
    """Return which texts of a batch are duplicates, given those near to stored ones and the close pairs."""
    near = near.copy()
    for i in range(len(near)):
        near[i] |= bool((close[i, :i] & ~near[:i]).any())
    return near


def chroma(folder: Path, size: int) -> tuple[Callable[..., Duplicates], Callable[..., None]]:
    """Ask Chroma's graph index, as the corpus did before."""
    import chromadb

    client = chromadb.PersistentClient(str(folder), settings=chromadb.Settings(anonymized_telemetry=False))
    known = client.create_collection(
        "known", embedding_function=None, configuration={"hnsw": {"space": "cosine", "ef_search": 100}}
    )

    def decide(number: int, vectors: Floats) -> Duplicates:
        near = np.zeros(len(vectors), bool)
        if number:
            found = known.query(query_embeddings=vectors, n_results=1, include=["distances"])
            near = 1 - np.array(found["distances"])[:, 0] >= NEAR
        near = greedy(near, vectors @ vectors.T >= NEAR)
        fill(number, vectors, ~near)
        return near

    def fill(number: int, vectors: Floats, kept: Any = slice(None)) -> None:
        texts = np.array(texts_of(number))[kept].tolist()
        known.upsert(
            ids=texts, embeddings=vectors[kept], documents=texts, metadatas=[{"round": 0}] * len(texts)
        )

    return decide, fill


def semhash(folder: Path, size: int) -> tuple[Callable[..., Duplicates], Callable[..., None]]:
    """Let semhash remove duplicates from all vectors at once; nothing is stored on disk."""
    from semhash import SemHash

    def decide(number: int, vectors: Floats) -> Duplicates:
        texts = [text for i in range(len(vectors) // BATCH) for text in texts_of(i)]
        made = SemHash.from_embeddings(vectors, texts, model=None)
        kept = set(made.self_deduplicate(NEAR).selected)
        return np.array([text not in kept for text in texts])

    return decide, decide


# --- the vectors


def texts_of(number: int) -> list[str]:
    """Return a text for each vector of a batch, of the length of a customer's question."""
    return [f"question {number * BATCH + i} about something like a parcel that is late" for i in range(BATCH)]


def vectors_of(number: int, real: Floats) -> Floats:
    """Return the vectors of a batch: real ones first, later moved ones, and planted near-duplicates."""
    rng = np.random.default_rng(number)
    seen = min(number + 1, len(real) // NEW) * NEW
    if seen > number * NEW:
        new = real[number * NEW : seen]
    else:
        i, j, k = rng.integers(len(real), size=(3, NEW))
        new = 0.75 * real[i] + 0.66 * unit(real[j] - real[k] + 1e-6)
    near = BATCH - NEW
    cosines = np.where(
        rng.random(near) < 0.5, rng.uniform(0.86, 0.98, near), NEAR + rng.uniform(-0.002, 0.002, near)
    )
    return unit(np.concatenate([new, at_cosine(real[rng.integers(seen, size=near)], cosines, rng)]))[
        rng.permutation(BATCH)
    ]


def at_cosine(vectors: Floats, cosines: NDArray[np.float64], rng: np.random.Generator) -> Any:
    """Return for each vector another one at the given cosine, in a random direction."""
    away = rng.standard_normal(vectors.shape)
    away -= (away * vectors).sum(1, keepdims=True) * vectors
    return cosines[:, None] * vectors + np.sqrt(1 - cosines[:, None] ** 2) * unit(away)


def unit(vectors: Any) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def real_vectors(cache: Path) -> Floats:
    """Return the MiniLM vectors of texts from many data sets; they are computed once."""
    path = cache / f"large_corpus-real-{REAL}.npy"
    if not path.exists():
        from tutelage.student.encoder import Encoder

        cache.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npy")
        np.save(part, Encoder().encode(real_texts()))
        part.replace(path)
    vectors: Floats = np.load(path)
    return vectors


def real_texts() -> list[str]:
    """Return distinct texts of many data sets in random order."""
    texts = []
    for name in SETS:
        with gzip.open(DATA / name / "train.jsonl.gz", "rt", encoding="utf-8") as file:
            for row in map(json.loads, file):
                texts.append(
                    row.get("text") or row.get("text_a") or row.get("input") or " ".join(row["tokens"])
                )
    distinct = list(dict.fromkeys(texts))
    random.Random(0).shuffle(distinct)
    return distinct[:REAL]


def print_table() -> None:
    print("| texts | arm | rows a second | of CPU | megabytes | decisions equal |\n" + "|---" * 6 + "|")
    for one in read(RESULTS):
        rows = one["texts"] if one["texts"] <= 100_000 else LATE * BATCH
        cells = (f"{one['texts']:,}", one["arm"], f"{rows / one['seconds']:,.0f}")
        cells += (f"{rows / one['cpu']:,.0f}", f"{one['memory']:,}", f"{one['equal']:.5f}")
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
