"""Prometheus metrics of the server, whose worker processes share them through files."""

from functools import cache
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.multiprocess import MultiProcessCollector

FRESHNESS_BOUNDS_S = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0)


PREDICTION_BOUNDS_S = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)


def use_multiprocess_values(worker: str) -> None:
    """Keep every value from now on in a file of this worker; a worker restarted under the same name continues it.

    The files are in the folder that PROMETHEUS_MULTIPROC_DIR names; any process can read all of them.
    """
    made: Any = values.MultiProcessValue
    values.ValueClass = made(lambda: worker)


def aggregated_registry(folder: Path) -> CollectorRegistry:
    """Return a registry that aggregates the values of all workers in the folder."""
    registry = CollectorRegistry()
    collector: Any = MultiProcessCollector
    collector(registry, path=str(folder))
    return registry


class PrometheusServerTelemetry:
    """Implements `ports.telemetry.ServerTelemetry` over one collector registry; workers' values are added up."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.predictions = Counter("headrace_predictions", "Items predicted.", ["model"], registry=registry)
        self.prediction_seconds = Histogram(
            "headrace_prediction_seconds",
            "One request for predictions, in the server.",
            ["model"],
            buckets=PREDICTION_BOUNDS_S,
            registry=registry,
        )
        self.requests = Counter("headrace_requests", "By route and status.", ["route", "status"], registry=registry)
        self.ingested_records = Counter(
            "headrace_ingested", "Records that came over HTTP.", ["model", "kind", "outcome"], registry=registry
        )
        self.retries = Counter("headrace_retries", "Unreachable services.", ["service"], registry=registry)
        self._declare_states(registry)
        self._route_counter = cache(self.requests.labels)
        self._model_metrics = cache(
            lambda model: (self.predictions.labels(model), self.prediction_seconds.labels(model))
        )

    def _declare_states(self, registry: CollectorRegistry) -> None:
        self.served_version = Gauge(
            "headrace_served_version",
            "The version that answers.",
            ["model"],
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.opening_seconds = Histogram(
            "headrace_opening_seconds", "Reading and opening a state to serve.", ["model"], registry=registry
        )
        self.freshness = Histogram(
            "headrace_freshness_seconds",
            "From a record's append to the first prediction that can include it.",
            ["model"],
            buckets=FRESHNESS_BOUNDS_S,
            registry=registry,
        )
        self.unreadable_states = Counter(
            "headrace_unreadable_states", "States that could not be opened.", ["model"], registry=registry
        )

    def records_ingested(self, model: str, kind: str, *, outcome: str, count: int) -> None:
        """Count records that came over HTTP, by kind and outcome."""
        self.ingested_records.labels(model, kind, outcome).inc(count)

    def predictions_served(self, model: str, count: int, seconds: float) -> None:
        """Count the items predicted by a request, and record its duration."""
        counter, histogram = self._model_metrics(model)
        counter.inc(count)
        histogram.observe(seconds)

    def request_completed(self, route: str, status: int) -> None:
        """Count a completed request by route and status."""
        self._route_counter(route, status).inc()

    def state_opened(self, model: str, version: int, seconds: float) -> None:
        """Set the version that is served, and record how long opening its state took."""
        self.served_version.labels(model).set(version)
        self.opening_seconds.labels(model).observe(seconds)

    def freshness_measured(self, model: str, seconds: float) -> None:
        """Record the seconds from a record's append to the first prediction that can include it."""
        self.freshness.labels(model).observe(seconds)

    def state_unreadable(self, model: str) -> None:
        """Count a state that could not be read."""
        self.unreadable_states.labels(model).inc()

    def service_unreachable(self, service: str) -> None:
        """Count a failure to reach a service."""
        self.retries.labels(service).inc()
