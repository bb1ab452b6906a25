"""The map of the embeddings: its projection, and what the page shows of it."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tutelage.agents.analyst import LabelledPrediction
from tutelage.graph.report.embedding_map import embedding_map, principal_components
from tutelage.student.encoder import GivenEncoder
from tutelage.student.tasks.classification import CLASSIFICATION

Make = Callable[..., Any]


class Lengths:
    """Encode a text by its length and its number of spaces."""

    def encode(self, texts: list[str]) -> NDArray[np.float32]:
        return np.array([[len(text), text.count(" "), 1] for text in texts], np.float32)


def test_the_projection_keeps_the_directions_of_most_variance() -> None:
    vectors = np.zeros((4, 5), np.float32)
    vectors[:, 3], vectors[:, 1] = (3, -3, 0, 0), (0, 0, 1, -1)
    points, (x, y) = principal_components(vectors)
    assert points == pytest.approx(np.array([(3, 0), (-3, 0), (0, 1), (0, -1)]))
    assert (x, y) == (pytest.approx(0.9), pytest.approx(0.1))
    assert principal_components(vectors[:1])[0].tolist() == [[0, 0]]


def test_the_map_shows_rows_errors_and_samples_with_their_texts(
    finished: Make, read_report: Make, markup: str
) -> None:
    folder = finished()
    rows = [
        LabelledPrediction(id="e1", text=f"own text {markup}", label="bill", predicted="praise"),
        LabelledPrediction(id="e2", text="another one of yours", label="praise", predicted="praise"),
    ]
    samples = folder.read_lines(folder.samples)
    folder.write_json(folder.map, embedding_map(CLASSIFICATION, GivenEncoder(Lengths()), rows, samples))
    page = read_report(folder)
    assert page.tags.count("circle") == len(samples)
    assert f"your row, bill, predicted praise: own text {markup}" in page["map"]
    assert re.search(r'<g class="wrong l0"[^>]*><rect', page.source)
    assert re.search(r'<g class="own l1"[^>]*><rect', page.source)
    assert re.search(r'<g class="kept l0"[^>]*><circle', page.source)
    assert "of their variance (encoder: Lengths-" in page["map"]
    drawn = set(re.findall(r'data-s="(s\d+)"', page.source))
    assert drawn == {value for name, value in page.attributes if name == "id" and re.match(r"s\d", value)}


def test_without_a_map_the_page_says_when_it_is_drawn(started: Make, read_report: Make) -> None:
    assert "This is drawn when the run ends." in read_report(started([]))["map"]
