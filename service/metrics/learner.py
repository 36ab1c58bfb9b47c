"""Prometheus metrics of the learner, the archiver and the trainer."""

import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from service.domain.registry.checkpoint_metrics import CheckpointMetrics
from service.domain.stream.events import TopicPartition

DELAY_BOUNDS_S = (0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 21600.0, 86400.0, 604800.0, 2592000.0)


JOB_BOUNDS_S = (1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1800.0, 3600.0, 10800.0, 36000.0, float("inf"))


class LabelDelay(Collector):
    """Collects `headrace_label_delay_seconds`, a histogram that is updated with a batch of values at once."""

    def __init__(self) -> None:
        self._counts: dict[str, npt.NDArray[np.int64]] = {}
        self._sums: dict[str, float] = {}

    def observe(self, model: str, delays_ms: Sequence[int]) -> None:
        """Add the delays (milliseconds) of one batch of labels."""
        if not delays_ms:
            return
        seconds = np.asarray(delays_ms) / 1000
        found = np.bincount(np.searchsorted(DELAY_BOUNDS_S, seconds), minlength=len(DELAY_BOUNDS_S) + 1)
        self._counts[model] = self._counts.get(model, np.zeros_like(found)) + found
        self._sums[model] = self._sums.get(model, 0.0) + float(seconds.sum())

    def collect(self) -> Iterator[Metric]:
        """Yield the histogram for Prometheus."""
        family = HistogramMetricFamily("headrace_label_delay_seconds", "From event to label.", labels=["model"])
        names = [*map(floatToGoString, DELAY_BOUNDS_S), "+Inf"]
        for model, counts in list(self._counts.items()):
            totals = np.cumsum(counts).tolist()
            family.add_metric([model], [*zip(names, totals, strict=True)], self._sums[model])
        yield family


class PrometheusTelemetry:
    """Implements `ports.telemetry.RoleTelemetry` over one collector registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._signal_totals: dict[tuple[str, str], int] = {}
        self.events = Counter("headrace_events", "Events by outcome.", ["model", "outcome"], registry=registry)
        self.frozen = Gauge("headrace_model_frozen", "1 where nothing is learned.", ["model"], registry=registry)
        self.lag = Gauge(
            "headrace_lag_events", "Events not yet learned.", ["model", "topic", "partition"], registry=registry
        )
        self.learn_seconds = Histogram("headrace_learn_seconds", "One batch.", ["model"], registry=registry)
        self.checkpoint_seconds = Histogram(
            "headrace_checkpoint_seconds", "Signing, storing and committing.", ["model"], registry=registry
        )
        self.checkpoint_bytes = Gauge("headrace_checkpoint_bytes", "The newest artifact.", ["model"], registry=registry)
        self.checkpoint_age = Gauge(
            "headrace_checkpoint_age_seconds", "Since the newest commit.", ["model"], registry=registry
        )
        self.model_metric = Gauge(
            "headrace_model_metric", "Prequential.", ["model", "role", "metric", "window"], registry=registry
        )
        self.champion_version = Gauge("headrace_champion_version", "Its number.", ["model"], registry=registry)
        self.promotions = Counter("headrace_promotions", "Challengers that took over.", ["model"], registry=registry)
        self.rollbacks = Counter("headrace_rollbacks", "Carried out.", ["model"], registry=registry)
        self.dead_letters = Counter("headrace_dead_letters", "Refused events.", ["model", "reason"], registry=registry)
        self.retries = Counter("headrace_retries", "Unreachable services.", ["service"], registry=registry)
        self._declare_drift(registry)
        self._declare_labels(registry)
        self._declare_archive(registry)
        self._declare_jobs(registry)

    def _declare_drift(self, registry: CollectorRegistry) -> None:
        which = ["model", "monitor"]
        self.drift_value = Gauge("headrace_drift_value", "A monitor's value.", which, registry=registry)
        self.drift_threshold = Gauge(
            "headrace_drift_threshold", "Where its value is a drift.", which, registry=registry
        )
        self.drift_signals = Counter("headrace_drift_signals", "Changes that a monitor saw.", which, registry=registry)

    def _declare_labels(self, registry: CollectorRegistry) -> None:
        self.label_outcomes = Counter("headrace_labels", "Labels by outcome.", ["model", "outcome"], registry=registry)
        self.label_delay = LabelDelay()
        registry.register(self.label_delay)
        self.pending = Gauge("headrace_pending_labels", "Events that wait for one.", ["model"], registry=registry)
        self.labelled = Gauge(
            "headrace_labelled_share", "Of the events with a fate, those labelled.", ["model"], registry=registry
        )

    def _declare_archive(self, registry: CollectorRegistry) -> None:
        where = ["topic", "partition"]
        self.archive_lag_events = Gauge(
            "headrace_archive_lag_events", "Records not yet durable in the archive.", where, registry=registry
        )
        self.archive_bytes = Gauge("headrace_archive_bytes", "The archive's files.", where, registry=registry)
        self.archive_records = Counter("headrace_archive_records", "Made durable.", where, registry=registry)
        self.archive_seconds = Histogram(
            "headrace_archive_seconds", "Writing a file and committing its row.", ["topic"], registry=registry
        )

    def _declare_jobs(self, registry: CollectorRegistry) -> None:
        self.training_jobs = Counter(
            "headrace_training_jobs", "Training jobs that have ended.", ["model", "status"], registry=registry
        )
        self.training_job_seconds = Histogram(
            "headrace_training_job_seconds",
            "From a training job's start to its end.",
            ["model"],
            buckets=JOB_BOUNDS_S,
            registry=registry,
        )

    def batch_learned(self, model: str, counts: Mapping[str, int], seconds: float) -> None:
        """Count the events of one learned batch by outcome, and record its duration."""
        for outcome, count in counts.items():
            if count:
                self.events.labels(model, outcome).inc(count)
        self.learn_seconds.labels(model).observe(seconds)

    def labels_received(self, model: str, outcomes: Mapping[str, int], delays_ms: Sequence[int]) -> None:
        """Count labels by outcome, and record the delays (milliseconds) from event to label."""
        for outcome, count in outcomes.items():
            if count:
                self.label_outcomes.labels(model, outcome).inc(count)
        self.label_delay.observe(model, delays_ms)

    def events_refused(self, model: str, reasons: Mapping[str, int]) -> None:
        """Count events that became dead letters, by reason."""
        for reason, count in reasons.items():
            self.dead_letters.labels(model, reason).inc(count)

    def checkpoint_committed(self, model: str, seconds: float, *, size_bytes: int) -> None:
        """Record the duration and artifact size of a commit that has become durable."""
        committed = time.time()
        self.checkpoint_seconds.labels(model).observe(seconds)
        self.checkpoint_bytes.labels(model).set(size_bytes)
        self.checkpoint_age.labels(model).set_function(lambda: time.time() - committed)

    def lag_measured(self, model: str, *, lag: Mapping[TopicPartition, int], frozen: bool) -> None:
        """Set the number of events not yet learned by partition, and whether learning is frozen."""
        for (topic, partition), count in lag.items():
            self.lag.labels(model, topic, partition).set(count)
        self.frozen.labels(model).set(frozen)

    def checkpoint_metrics(self, model: str, metrics: CheckpointMetrics) -> None:
        """Set the gauges of metrics, labels and drift from a checkpoint's metrics."""
        for role, report in (("champion", metrics), ("baseline", metrics.baseline)):
            for window, scores in (("cumulative", report.cumulative), ("window", report.window)):
                for name, value in scores.items():
                    self.model_metric.labels(model, role, name, window).set(value)
        if metrics.labels is not None:
            self.pending.labels(model).set(metrics.labels.pending)
            self.labelled.labels(model).set(metrics.labels.share)
        for one in metrics.drift:
            for gauge, known in ((self.drift_value, one.value), (self.drift_threshold, one.threshold)):
                if known is not None:
                    gauge.labels(model, one.name).set(known)
            self._count_signals(model, one.name, one.signals)

    def champion_changed(self, model: str, version: int) -> None:
        """Set the version that serves; also creates the promotions counter, so that it starts at zero."""
        self.champion_version.labels(model).set(version)
        self.promotions.labels(model)

    def service_unreachable(self, service: str) -> None:
        """Count a failure to reach a service."""
        self.retries.labels(service).inc()

    def _count_signals(self, model: str, monitor: str, total: int) -> None:
        """Raise the counter to the lineage's total; it never falls, even if a rollback restores a lower total."""
        before, self._signal_totals[model, monitor] = self._signal_totals.get((model, monitor), total), total
        self.drift_signals.labels(model, monitor).inc(max(total - before, 0))

    def challenger_promoted(self, model: str) -> None:
        """Count a challenger's promotion."""
        self.promotions.labels(model).inc()

    def rollback_done(self, model: str) -> None:
        """Count a rollback."""
        self.rollbacks.labels(model).inc()

    def records_archived(self, at: TopicPartition, *, records: int, size_bytes: int, seconds: float) -> None:
        """Count records that became durable in the archive; record the partition's bytes and the write's duration."""
        self.archive_records.labels(*at).inc(max(records, 0))
        self.archive_bytes.labels(*at).set(size_bytes)
        self.archive_seconds.labels(at.topic).observe(seconds)

    def archive_lag_measured(self, lag: Mapping[TopicPartition, int]) -> None:
        """Set the number of records not yet durable in the archive by partition."""
        for at, count in lag.items():
            self.archive_lag_events.labels(*at).set(count)

    def job_ended(self, model: str, status: str, *, seconds: float) -> None:
        """Count a training job that has ended, and record its duration."""
        self.training_jobs.labels(model, status).inc()
        self.training_job_seconds.labels(model).observe(seconds)
