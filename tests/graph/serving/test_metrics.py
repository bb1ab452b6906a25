"""Metrics: each server has its own, and the package they need is named if it is missing."""

import sys

import pytest
from tutelage.graph.serving.metrics import Metrics
from tutelage.student.errors import InputError


def test_two_servers_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.count_request("/predict", 200, 0.003)
    one.count_texts(3)
    one.count_batch(3)
    one.watch_queue(lambda: 7)
    lines = one.text().decode().splitlines()
    for line in (
        'tutelage_requests_total{path="/predict",status="200"} 1.0',
        'tutelage_request_seconds_bucket{le="0.005",path="/predict"} 1.0',
        'tutelage_request_seconds_bucket{le="0.0025",path="/predict"} 0.0',
        "tutelage_texts_total 3.0",
        'tutelage_batch_texts_bucket{le="4.0"} 1.0',
        "tutelage_queue_texts 7.0",
    ):
        assert line in lines
    assert "tutelage_texts_total 0.0" in other.text().decode().splitlines()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(InputError, match=r"pip install 'tutelage\[serve\]'"):
        Metrics()
