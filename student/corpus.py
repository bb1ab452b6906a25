"""The corpus: all samples of a run in Chroma, kept or refused, with the reason for each refusal."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict, cast

import numpy as np
from numpy.typing import NDArray
from tutelage.student.chroma import Store
from tutelage.student.data.rows import Row, content_id
from tutelage.student.encoder import Vectors
from tutelage.student.nearest import NearestVectors, nearest_before
from tutelage.student.tasks.classification import CLASSIFICATION
from tutelage.student.tasks.task_type import TaskType

Status = Literal["draft", "kept", "duplicate", "leak", "surplus", "refused", "unlabelled", "unjudged"]

Compared = Literal["held_out", "known"]  # the collections whose texts new texts are compared with

POOL = "pool"  # the `kind` of a sample that was drawn from the user's texts, not generated


class Sample(TypedDict):
    """A generated or drawn text and everything recorded about it; fields that are not known yet are absent.

    `requested` is the label it was generated for. The labeler assigned `label` without seeing `requested`;
    `confidence_raw` is the measured confidence, `confidence` is calibrated on the user's labels. `answered`,
    `energy` and `nll` (loss on `label`) are of the student before it was trained on the sample. `rationale`
    is the labeler's reason, kept if a student may learn to write it. `written_by`, `labelled_by` and
    `judged_by` are ids of teacher calls in trace.jsonl. `fold` is the fold whose rows the teacher saw when it
    wrote or labelled the text; the student that predicts this fold never trains on the sample. `uncertainty`
    is the score by which a drawn text was selected, `baseline_probability` the probability of its label under
    each student trained on the user's labels only, and `predicted_before` the students' mean probabilities of
    all labels before they were trained on it. `reviewed` is what a person did with the sample (accept,
    relabel or refuse), and `teacher_label` the label that the person replaced.
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
    baseline_probability: NotRequired[list[float]]
    predicted_before: NotRequired[list[float]]
    reviewed: NotRequired[str]
    teacher_label: NotRequired[str]


def changed(sample: Sample, **fields: object) -> Sample:
    """Return a copy of a sample with some fields set."""
    return cast(Sample, {**sample, **fields})


def drawn_sample(row: Row, *, round: int = 0, attempt: int = 0, place: int) -> Sample:
    """Return one of the user's texts as an unlabelled sample; the label of the row is dropped."""
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
    """Return whether a sample is one of the user's texts; all others were generated."""
    return sample["kind"] == POOL


class Neighbour(NamedTuple):
    """The text nearest to another one: `source` is where it is stored, `similarity` the cosine (1 = equal).

    For a held-out neighbour `text` is its id, so that gate and test texts do not leak through refusals.
    """

    source: Literal["batch", "known", "held_out"]
    text: str
    similarity: float


class Corpus:
    """The samples of one run. Sample ids are content hashes, so the same text is stored once.

    There are three Chroma collections. `drafts` holds every generated or drawn text with its sample, under
    its place (round, attempt, number). `known` holds the texts that need no new sample: the user's rows and
    all judged samples. `held_out` holds the vectors of gate and test texts; they serve comparisons only, and
    their texts are not stored. Near-duplicates are found by an exact comparison in memory, with a copy of the
    vectors that is read from Chroma when it is first needed; the samples are copied in the same way, because
    a round reads them a dozen times. So Chroma alone holds the truth.

    Args:
        folder: the folder of the collections.
        encoder: makes the vectors.
        threshold: the cosine similarity from which a text is near to another one.
        task_type: decides which texts are equal.
        server: the address of a Chroma server that holds the collections in place of the folder.
    """

    def __init__(
        self,
        folder: Path,
        encoder: Vectors,
        *,
        threshold: float,
        task_type: TaskType = CLASSIFICATION,
        server: str | None = None,
    ):
        self.folder, self.encoder, self.threshold, self.task_type = folder, encoder, threshold, task_type
        self.store = Store(folder, server)
        self._in_memory: dict[Compared, NearestVectors] = {}
        self._samples: dict[str, Sample] | None = None

    def forget(self, since: int = 0) -> None:
        """Remove the samples of round `since` and of all later rounds, by default all; held-out texts stay. A
        restarted run writes them again from the teacher's replies in the journal.
        """
        self._in_memory.pop("known", None)
        self._samples = None
        for name in ("drafts", "known"):
            collection = self._collections[name]
            ids = collection.get(where={"round": {"$gte": since}}, include=[])["ids"]
            for part in self.store.parts(ids):
                collection.delete(ids=part)

    def hold_out(self, texts: Sequence[str]) -> None:
        """Add gate or test texts; new samples near them are leaks."""
        self._upsert("held_out", [(content_id(text, self.task_type), text, {"n": 0}) for text in texts])

    def add_rows(self, rows: Sequence[Row]) -> None:
        """Add the user's own rows; new samples near them are duplicates."""
        self._upsert("known", [(row["id"], row["text"], {"round": 0}) for row in rows])

    def put(self, samples: Sequence[Sample]) -> None:
        """Store new drafts with their vectors."""
        self._upsert("drafts", [(_place(s), s["text"], _metadata(s)) for s in samples])
        self._remember(samples)

    def update(self, samples: Sequence[Sample]) -> None:
        """Store changed drafts. Their vectors stay, so this takes a third of the time of `put`."""
        for part in self.store.parts(samples):
            self._collections["drafts"].update(
                ids=[_place(s) for s in part], metadatas=[_metadata(s) for s in part]
            )
        self._remember(samples)

    def add_judged(self, samples: Sequence[Sample]) -> None:
        """Add judged samples to `known`, which later samples are compared with."""
        self._upsert("known", [(s["id"], s["text"], {"round": s["round"]}) for s in samples])

    def drafts(self, round: int | None = None, status: Status | None = None) -> list[Sample]:
        """Return the samples in the order of writing, optionally of one round or one status only."""
        if self._samples is None:
            self._samples = {_place(s): s for s in _samples_in(self._collections["drafts"])}
        return [
            Sample(**sample)
            for _, sample in sorted(self._samples.items())
            if round in (None, sample["round"]) and status in (None, sample["status"])
        ]

    def _remember(self, samples: Sequence[Sample]) -> None:
        """Copy samples that are now in Chroma."""
        if self._samples is not None:
            self._samples |= {_place(s): json.loads(json.dumps(s)) for s in samples}

    def neighbours(self, texts: Sequence[str]) -> list[Neighbour | None]:
        """Return for each text its nearest neighbour at or above the threshold, or None.

        A text is compared with the known texts, with gate and test, and with those texts before it in the
        list that have no neighbour themselves. Texts with the same `content_id` have similarity 1.
        """
        vectors, ids = self.encoder.encode(texts), [content_id(text, self.task_type) for text in texts]
        leaks, known = self._nearest("held_out", vectors, ids), self._nearest("known", vectors, ids)
        taken = [bool(one or other) for one, other in zip(leaks, known, strict=True)]
        near = nearest_before(ids, vectors, self.threshold, taken=taken)
        batch = [one and Neighbour("batch", texts[one[0]], one[1]) for one in near]
        # A held-out neighbour precedes nearer ones, so that the sample is reported as a leak.
        return [
            leak or max((n for n in others if n), key=lambda n: n.similarity, default=None)
            for leak, *others in zip(leaks, known, batch, strict=True)
        ]

    def near_held_out(self, texts: Sequence[str]) -> list[bool]:
        """Return for each text whether its similarity to a held-out text is at or above the threshold."""
        vectors, ids = self.encoder.encode(texts), [content_id(text, self.task_type) for text in texts]
        return [near is not None for near in self._nearest("held_out", vectors, ids)]

    def _nearest(
        self, name: Compared, vectors: NDArray[np.float32], ids: Sequence[str]
    ) -> list[Neighbour | None]:
        """Return for each text its nearest neighbour in a collection at or above the threshold, or None."""
        near = self._vectors_of(name).nearest(ids, vectors, self.threshold)
        keys = sorted({one[0] for one in near if one})
        texts: dict[str, str] = {}
        for part in self.store.parts(keys):
            found = self._collections[name].get(ids=part, include=["documents"])
            texts |= dict(zip(found["ids"], found["documents"], strict=True))
        return [one and Neighbour(name, texts[one[0]] or one[0], one[1]) for one in near]

    def _vectors_of(self, name: Compared) -> NearestVectors:
        """Return a copy of a collection's vectors in memory."""
        if name not in self._in_memory:
            collection, made = self._collections[name], NearestVectors()
            for part in self.store.parts(collection.get(include=[])["ids"]):
                found = collection.get(ids=part, include=["embeddings"])
                made.add(found["ids"], np.asarray(found["embeddings"], np.float32))
            self._in_memory[name] = made
        return self._in_memory[name]

    def _upsert(self, name: str, rows: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
        # `add` would silently keep the old row. Chroma rejects calls that contain an id twice.
        for part in self.store.parts(list({row[0]: row for row in rows}.values())):
            ids, texts, metadatas = zip(*part, strict=True)
            vectors = self.encoder.encode(texts)
            self._collections[name].upsert(
                ids=list(ids),
                documents=None if name == "held_out" else list(texts),
                metadatas=list(metadatas),
                embeddings=vectors,
            )
            if name in self._in_memory:
                self._in_memory[name].add(ids, vectors)

    @cached_property
    def _collections(self) -> dict[str, Any]:
        return self.store.collections(self.encoder.fingerprint)


def stored_samples(folder: Path) -> list[Sample]:
    """Return the samples of the corpus in a folder, in the order of writing; [] if there is none yet. A run
    may be writing to it. This needs no encoder.

    Raises:
        InputError: the corpus lies on a server that cannot be used.
    """
    with Store(folder).reading("drafts") as drafts:
        return _samples_in(drafts) if drafts else []


def _samples_in(collection: Any) -> list[Sample]:
    found = collection.get(include=["metadatas"])
    rows = sorted(zip(found["ids"], (meta["sample"] for meta in found["metadatas"]), strict=True))
    return [json.loads(sample) for _, sample in rows]


def _place(sample: Sample) -> str:
    """Return a draft's id in Chroma. Sorted ids are in the order of writing."""
    return f"{sample['round']:04d}-{sample['attempt']:02d}-{sample['place']:05d}"


def _metadata(sample: Sample) -> dict[str, Any]:
    return {"round": sample["round"], "status": sample["status"], "sample": json.dumps(sample)}
