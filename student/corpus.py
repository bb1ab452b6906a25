"""The corpus: every sample of a run in Chroma, kept or refused, each with the reason."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict, cast

import numpy as np
from numpy.typing import NDArray
from tutelage.student.data.rows import Row, content_id
from tutelage.student.encoder import Vectors
from tutelage.student.errors import InputError
from tutelage.student.tasks import Kind
from tutelage.student.tasks.classification import CLASSIFICATION

Status = Literal["draft", "kept", "duplicate", "leak", "surplus", "refused", "unlabelled", "unjudged"]

POOL = "pool"  # the kind of a sample that was drawn, not written


class Sample(TypedDict):
    """One generated text from its order to its end; what is not known yet is absent.

    `requested` is the label it was written for, `label` the one it was given blind, with `confidence`
    calibrated on the user's labels and `confidence_raw` as it was measured. `answered`, `energy` and `nll`
    (its loss on `label`) are of the student before it was trained on the sample. `rationale` is the labeler's
    reason, kept where a student may learn to write it. `written_by`, `labelled_by` and `judged_by` are ids of
    teacher calls in trace.jsonl. `fold` is the fold whose rows the teacher was shown when it wrote the text,
    or labelled it: the student that answers for this fold never learns the sample. `uncertainty` is the score
    by which a drawn text was chosen, `own_probability` that of its label by each student of the user's labels
    alone, `answer_before` the students' mean probabilities of all labels before they learnt it.
    """

    id: str
    text: str
    round: int
    attempt: int
    place: int
    kind: str
    requested: str
    weakness: str
    written_by: str
    status: Status
    label: NotRequired[str]
    confidence: NotRequired[float]
    confidence_raw: NotRequired[float]
    confidence_source: NotRequired[str]
    labelled_by: NotRequired[str]
    rationale: NotRequired[str]
    verdict: NotRequired[str]
    judged_by: NotRequired[str]
    answered: NotRequired[str]
    energy: NotRequired[float]
    nll: NotRequired[float]
    reason: NotRequired[str]
    neighbour: NotRequired[str]
    similarity: NotRequired[float]
    fold: NotRequired[int]
    uncertainty: NotRequired[float]
    own_probability: NotRequired[list[float]]
    answer_before: NotRequired[list[float]]


def changed(sample: Sample, **fields: object) -> Sample:
    """A copy of a sample with some fields set."""
    return cast(Sample, {**sample, **fields})


def drawn_sample(row: Row, *, round: int = 0, attempt: int = 0, place: int) -> Sample:
    """A text of the user's own as a sample that nobody has labelled: without the row's label."""
    return Sample(
        id=row["id"],
        text=row["text"],
        round=round,
        attempt=attempt,
        place=place,
        kind=POOL,
        requested="",
        weakness="",
        written_by="",
        status="draft",
    )


def is_drawn(sample: Sample) -> bool:
    """Whether a sample is a text of the user's own; all others were written."""
    return sample["kind"] == POOL


class Neighbour(NamedTuple):
    """What a text is too close to: `source` is where it stands, similarity the cosine (1 = the same).

    For a sealed neighbour `text` is its id: gate and test texts are not spread by their refusals.
    """

    source: Literal["batch", "known", "sealed"]
    text: str
    similarity: float


class Corpus:
    """Samples of one run. Sample ids are content hashes, so keeping the same text twice is one row.

    Three Chroma collections: `drafts` holds every text ever written, under its place (round, attempt,
    number), with its fate; `known` what nobody needs to write or judge again: the user's rows and all
    samples judged; `sealed` the vectors of gate and test texts, which are compared with and never read
    back.
    """

    def __init__(
        self, folder: Path, encoder: Vectors, *, threshold: float = 0.92, kind: Kind = CLASSIFICATION
    ):
        self.folder, self.encoder, self.threshold, self.kind = folder, encoder, threshold, kind

    def forget(self, since: int = 0) -> None:
        """Remove the samples of a round and of all later ones, by default everything but sealed texts: a
        run that begins again replays its teacher's replies from the journal.
        """
        for name in ("drafts", "known"):
            collection = self._collection(name)
            ids = collection.get(where={"round": {"$gte": since}}, include=[])["ids"]
            for start in range(0, len(ids), self._client.get_max_batch_size()):
                collection.delete(ids=ids[start : start + self._client.get_max_batch_size()])

    def seal(self, texts: Sequence[str]) -> None:
        """Add gate or test texts: nothing near them will be kept."""
        self._upsert("sealed", [(content_id(text, self.kind), text, {"n": 0}) for text in texts])

    def plant(self, rows: Sequence[Row]) -> None:
        """Add the user's own rows: nothing near them needs to be written again."""
        self._upsert("known", [(row["id"], row["text"], {"round": 0}) for row in rows])

    def put(self, samples: Sequence[Sample]) -> None:
        """Write new drafts."""
        self._upsert("drafts", [(_place(s), s["text"], _fate(s)) for s in samples])

    def update(self, samples: Sequence[Sample]) -> None:
        """Write what has become of drafts; their vectors stay, which takes a third of the time of `put`."""
        step = self._client.get_max_batch_size()
        for start in range(0, len(samples), step):
            part = samples[start : start + step]
            self._collection("drafts").update(
                ids=[_place(s) for s in part], metadatas=[_fate(s) for s in part]
            )

    def know(self, samples: Sequence[Sample]) -> None:
        """Add judged samples to what later ones are compared with."""
        self._upsert("known", [(s["id"], s["text"], {"round": s["round"]}) for s in samples])

    def drafts(self, round: int | None = None, status: Status | None = None) -> list[Sample]:
        """Samples in the order in which they were written, of one round or status or of all."""
        asked = [{key: value} for key, value in (("round", round), ("status", status)) if value is not None]
        where = {"$and": asked} if len(asked) > 1 else (asked[0] if asked else None)
        found = self._collection("drafts").get(where=where, include=["metadatas"])
        rows = sorted(zip(found["ids"], (meta["sample"] for meta in found["metadatas"]), strict=True))
        return [json.loads(sample) for _, sample in rows]

    def neighbours(self, texts: Sequence[str]) -> list[Neighbour | None]:
        """For each text its nearest forbidden neighbour at or above the threshold, or None.

        Compared with the texts before it in the list (unless those are forbidden themselves), with
        everything known, and with gate and test; a repetition (the same `content_id`) counts as
        similarity 1.
        """
        vectors, ids = self.encoder.encode(texts), [content_id(text, self.kind) for text in texts]
        stored = [self._nearest(name, vectors, ids) for name in ("sealed", "known")]
        inner = vectors @ vectors.T
        result: list[Neighbour | None] = []
        free: list[int] = []
        for i in range(len(texts)):
            found = [matches[i] for matches in stored]
            if free:
                same = [j for j in free if ids[j] == ids[i]]
                j = same[0] if same else max(free, key=lambda j: inner[i, j])
                found.append(Neighbour("batch", texts[j], 1.0 if same else _near(inner[i, j])))
            close = [n for n in found if n and n.similarity >= self.threshold]
            # A sealed neighbour counts before a nearer one of another kind: it must be told as a leak.
            nearest = max(close, key=lambda n: (n.source == "sealed", n.similarity), default=None)
            result.append(nearest)
            if not close:
                free.append(i)
        return result

    def near_sealed(self, texts: Sequence[str]) -> list[bool]:
        """Return for each text whether it is at or above the threshold of a sealed one, or the same."""
        vectors, ids = self.encoder.encode(texts), [content_id(text, self.kind) for text in texts]
        found = self._nearest("sealed", vectors, ids)
        return [near is not None and near.similarity >= self.threshold for near in found]

    def _nearest(
        self, name: Literal["sealed", "known"], vectors: NDArray[np.float32], ids: Sequence[str]
    ) -> list[Neighbour | None]:
        collection = self._collection(name)
        if not len(vectors) or collection.count() == 0:
            return [None] * len(vectors)
        same = collection.get(ids=sorted(set(ids)), include=["documents"])
        exact = dict(zip(same["ids"], same["documents"], strict=True))
        found = collection.query(query_embeddings=vectors, n_results=1, include=["documents", "distances"])
        return [
            Neighbour(name, exact[own] or own, 1.0)
            if own in exact
            else Neighbour(name, documents[0] or key[0], _near(1 - distances[0]))
            for own, key, documents, distances in zip(
                ids, found["ids"], found["documents"], found["distances"], strict=True
            )
        ]

    def _upsert(self, name: str, rows: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
        # `add` would silently keep the old row; Chroma refuses one id twice in a call.
        distinct = list({row[0]: row for row in rows}.values())
        step = self._client.get_max_batch_size()
        for start in range(0, len(distinct), step):
            part = distinct[start : start + step]
            texts = [text for _, text, _ in part]
            self._collection(name).upsert(
                ids=[key for key, _, _ in part],
                documents=None if name == "sealed" else texts,
                metadatas=[meta for _, _, meta in part],
                embeddings=self.encoder.encode(texts),
            )

    def _collection(self, name: str) -> Any:
        return self._collections[name]

    @cached_property
    def _client(self) -> Any:
        import chromadb

        settings = chromadb.Settings(anonymized_telemetry=False)
        return chromadb.PersistentClient(str(self.folder), settings=settings)

    @cached_property
    def _collections(self) -> dict[str, Any]:
        made = {
            name: self._client.get_or_create_collection(
                name,
                embedding_function=None,
                metadata={"encoder": self.encoder.fingerprint},
                configuration={"hnsw": {"space": "cosine", "ef_search": 100}},
            )
            for name in ("drafts", "known", "sealed")
        }
        for collection in made.values():  # Chroma silently keeps the metadata of an old collection
            if (got := collection.metadata["encoder"]) != self.encoder.fingerprint:
                raise InputError(
                    f"{self.folder} was written with encoder {got}, this is {self.encoder.fingerprint};"
                    " use the same `encoder`, or a new run folder"
                )
        return made


def _near(cosine: float) -> float:
    """The similarity of two texts that are not the same: below 1, though an encoder may see no difference."""
    return min(float(cosine), float(np.nextafter(1, 0)))


def _place(sample: Sample) -> str:
    """A draft's id in Chroma: the order of these is the order of writing."""
    return f"{sample['round']:04d}-{sample['attempt']:02d}-{sample['place']:05d}"


def _fate(sample: Sample) -> dict[str, Any]:
    return {"round": sample["round"], "status": sample["status"], "sample": json.dumps(sample)}
