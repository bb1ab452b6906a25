"""The map of the embeddings: the user's rows and the samples, projected to two dimensions."""

import json
from collections.abc import Sequence
from typing import TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray
from tutelage.agents.analyst import LabelledPrediction
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.student.corpus import Sample
from tutelage.student.encoder import Vectors
from tutelage.student.tasks.task_type import TaskType

MOST = 5_000  # samples on the map and in the list of the report (ours): more would make the page too large
MOST_ROWS = 2_000  # rows of the user on the map, for the same reason
_TEXT = 200  # characters of the text of a row


Item = TypeVar("Item")


class MapRow(TypedDict):
    """A row of the user on the map: `labels` are its labels, `label` and `predicted` the true one and that of
    the best student as text. `wrong` says whether they differ.
    """

    id: str
    text: str
    labels: list[str]
    label: str
    predicted: str
    wrong: bool
    at: tuple[float, float]


class EmbeddingMap(TypedDict):
    """`rows` are those that weaknesses are looked for in, with the answers of students not trained on them if
    the rows are in folds. `samples` maps sample ids to coordinates. `variance` holds the shares of the
    variance along the two axes, between 0 and 1. No held-out text is on the map.
    """

    encoder: str
    variance: tuple[float, float]
    rows: list[MapRow]
    samples: dict[str, tuple[float, float]]


def embedding_map(
    task_type: TaskType, encoder: Vectors, rows: Sequence[LabelledPrediction], samples: Sequence[Sample]
) -> EmbeddingMap:
    """Project rows and samples to the first two principal components of their embeddings.

    Args:
        task_type: the task type.
        encoder: the encoder that near-duplicates were found with.
        rows: labelled rows with the answers of the best students, at most `MOST_ROWS` of which are shown.
        samples: the samples, at most `MOST` of which are shown.
    """
    shown = {sample["id"]: sample for sample in spread(samples, MOST)}
    rows = _shown_rows(rows)
    vectors = encoder.encode([one["text"] for one in [*rows, *shown.values()]])
    points, variance = principal_components(vectors)
    places = [(round(float(x), 4), round(float(y), 4)) for x, y in points]
    return EmbeddingMap(
        encoder=encoder.fingerprint,
        variance=variance,
        rows=[_row(task_type, row, at) for row, at in zip(rows, places[: len(rows)], strict=True)],
        samples=dict(zip(shown, places[len(rows) :], strict=True)),
    )


def read_map(folder: RunFolder) -> EmbeddingMap | None:
    """Return the map of a run, or None if it has not been drawn (yet)."""
    if not folder.map.exists():
        return None
    found: EmbeddingMap = json.loads(folder.map.read_text(encoding="utf-8"))
    return found


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """Return at most `most` items in their order, spread evenly over all."""
    size = min(most, len(items))
    return [items[i * len(items) // size] for i in range(size)]


def _shown_rows(rows: Sequence[LabelledPrediction]) -> list[LabelledPrediction]:
    """Return the rows to show: those that the student gets wrong first, then others."""
    wrong = spread([row for row in rows if row["label"] != row["predicted"]], MOST_ROWS)
    right = [row for row in rows if row["label"] == row["predicted"]]
    return [*wrong, *spread(right, MOST_ROWS - len(wrong))]


def principal_components(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Return the first two principal components, shape (n, 2), and the shares of the variance that they have.

    The sign of an axis is that of its largest loading, so that the same vectors give the same map.
    """
    if len(vectors) < 2:
        return np.zeros((len(vectors), 2)), (0.0, 0.0)
    centred = np.asarray(vectors, np.float64) - vectors.mean(0, dtype=np.float64)
    variances, axes = np.linalg.eigh(centred.T @ centred)  # ascending
    axes = axes[:, [-1, -2]]
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), range(2)])
    shares = variances[[-1, -2]] / max(variances.sum(), 1e-12)
    return centred @ axes, (float(shares[0]), float(shares[1]))


def _row(task_type: TaskType, row: LabelledPrediction, at: tuple[float, float]) -> MapRow:
    label, predicted = (task_type.to_text(row[key], row["text"]) for key in ("label", "predicted"))
    return MapRow(
        id=row["id"],
        text=row["text"][:_TEXT],
        labels=task_type.labels_in(row["label"]),
        label=label,
        predicted=predicted,
        wrong=row["label"] != row["predicted"],
        at=at,
    )
