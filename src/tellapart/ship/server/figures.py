"""What a server counts, for Prometheus: requests, pictures, seconds, the queue, and the model.

Labels come from small fixed sets alone, so that nobody who asks can make them many.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)

from tellapart.ship.prediction import Prediction

__all__ = ["Figures"]

_SECONDS: Final = (.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30)  # fmt: skip
_REASONS: Final = ("not an image", "truncated", "too many pixels", "damaged", "empty", "too large")


class Figures:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "tellapart_requests", "Requests that were answered.", ["path", "status"],
            registry=registry,
        )  # fmt: skip
        self._pictures = Counter(
            "tellapart_pictures", "Pictures by verdict, or error.", ["result"], registry=registry
        )
        self._errors = Counter(
            "tellapart_picture_errors", "Pictures that could not be used.", ["reason"],
            registry=registry,
        )  # fmt: skip
        self._reloads = Counter(
            "tellapart_reloads", "Changed model files, by what came of them.", ["result"],
            registry=registry,
        )  # fmt: skip
        self._model = Info("tellapart_model", "The model that answers.", registry=registry)
        self.late = Counter(
            "tellapart_late", "Requests that were begun, and not answered by the deadline.",
            registry=registry,
        )  # fmt: skip
        self.request_seconds = self._histogram(
            "request", "From the head of a request to its answer."
        )
        self.waiting_seconds = self._histogram(
            "waiting", "From a whole request to its first picture."
        )
        self.picture_seconds = self._histogram("picture", "Decoding and computing one picture.")
        for result in ("ok", "failed"):
            self._reloads.labels(result)
        for result in ("sure", "not_sure", "none_of_these", "error"):
            self._pictures.labels(result)

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(
            f"tellapart_{name}_seconds", text, buckets=_SECONDS, registry=self._registry
        )

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A gauge that is asked for when somebody looks."""
        Gauge(f"tellapart_{name}", text, registry=self._registry).set_function(value)

    def request(self, path: str, status: int, seconds: float) -> None:
        """A request to one of the known routes, or "other", was answered."""
        self._requests.labels(path, status).inc()
        self.request_seconds.observe(seconds)

    def pictures(self, answers: Iterable[Prediction]) -> None:
        for answer in answers:
            if answer.error is None:
                self._pictures.labels(answer.verdict).inc()
                continue
            self._pictures.labels("error").inc()
            reason = answer.error.partition(" (")[0]
            self._errors.labels(reason if reason in _REASONS else "other").inc()

    def reloaded(self, result: str) -> None:
        """`ok` or `failed`."""
        self._reloads.labels(result).inc()

    def model(self, facts: dict[str, Any]) -> None:
        self._model.info({key: str(value) for key, value in facts.items()})

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self._registry)
