"""The metrics of a server, in the text form of Prometheus."""

from collections.abc import Callable
from importlib.util import find_spec

from tutelage.student.errors import InputError

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counters of one server, in a registry of their own: a process can hold several servers."""

    def __init__(self) -> None:
        """Create the metrics.

        Raises:
            InputError: prometheus_client is not installed.
        """
        if not find_spec("prometheus_client"):
            raise InputError("serving needs an extra package; run: pip install 'tutelage[serve]'")
        import prometheus_client as prometheus

        self._prometheus = prometheus
        self._registry = own = prometheus.CollectorRegistry()
        self._requests = prometheus.Counter(
            "tutelage_requests", "Requests.", ("path", "status"), registry=own
        )
        self._seconds = prometheus.Histogram(
            "tutelage_request_seconds",
            "Seconds from a request to its reply.",
            ("path",),
            buckets=_SECONDS,
            registry=own,
        )
        self._texts = prometheus.Counter("tutelage_texts", "Texts answered.", registry=own)
        self._batch = prometheus.Histogram(
            "tutelage_batch_texts", "Texts predicted together.", buckets=_TEXTS, registry=own
        )
        self._queue = prometheus.Gauge("tutelage_queue_texts", "Texts that wait.", registry=own)

    @property
    def content_type(self) -> str:
        """Return the content type of `text`."""
        return self._prometheus.CONTENT_TYPE_LATEST

    def text(self) -> bytes:
        """Return all metrics as Prometheus reads them."""
        return self._prometheus.generate_latest(self._registry)

    def watch_queue(self, waiting: Callable[[], int]) -> None:
        """Show the length of a queue; `waiting` returns how many texts wait."""
        self._queue.set_function(waiting)

    def count_request(self, path: str, status: int, seconds: float) -> None:
        """Count a request; `path` is one of the server's own, so that clients cannot make up new series."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def count_texts(self, count: int) -> None:
        """Count the texts of a request that was answered."""
        self._texts.inc(count)

    def count_batch(self, size: int) -> None:
        """Count a batch of so many texts."""
        self._batch.observe(size)
