"""Counts how often a monitor signals where nothing changes, and finds a limit with fewer false alarms.

Shuffled events contain no change. Each pass is a stream of its own, with a new order and a new reference.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from service.domain.specification.monitor import MonitorLimits, MonitorSpec, MonitorState, MonitorTarget, ReferenceSpec
from service.domain.stream.events import Task
from service.learning.metrics.names import Metric
from service.learning.monitors.detector import DetectorMonitor
from service.learning.monitors.inputs import MonitorBatch
from service.learning.monitors.monitor_set import build_monitor, with_river_names

EVENTS_PER_PASS = 20_000
"""Events that are watched in one pass, in addition to its reference."""
CHUNK_EVENTS = 500
MAX_DRIFT_SHARE = 0.1
"""A limit is not strict enough if the monitor is in drift for more of the time, however few the alarms."""
STRICTNESS_FACTORS: Mapping[str, tuple[str, Sequence[float]]] = {
    "ADWIN": ("delta", (1, 0.1, 0.01, 1e-3, 1e-4)),
    "DDM": ("drift_threshold", (1, 1.25, 1.5, 2, 3)),
    "EDDM": ("beta", (1, 0.95, 0.9, 0.8, 0.6)),
    "HDDMA": ("drift_confidence", (1, 0.1, 0.01, 1e-3, 1e-4)),
    "HDDMW": ("drift_confidence", (1, 0.1, 0.01, 1e-3, 1e-4)),
    "KSWIN": ("alpha", (1, 0.1, 0.01, 1e-3, 1e-4)),
    "PageHinkley": ("threshold", (1, 2, 4, 8, 16)),
}
"""The parameter that makes a detector stricter, and the factors with which it is tried."""


@dataclass(frozen=True, slots=True)
class CalibrationSettings:
    """How many shuffled events to try, and the wanted rate: one false alarm in `target` events."""

    events: int
    target: int
    seed: int

    @property
    def allowed_alarms(self) -> int:
        """Return how many false alarms are few enough."""
        return self.events // self.target

    def max_drift_share(self, window: int) -> float:
        """Return which share of the time in drift is small enough."""
        return max(MAX_DRIFT_SHARE, 3 * window / self.target)


@dataclass(frozen=True, slots=True)
class RecordedBatch:
    """The recorded history as one batch of `length` events."""

    batch: MonitorBatch
    length: int


@dataclass(frozen=True, slots=True)
class MonitorCalibration:
    """False alarms at the monitor's limit, and the least strict tried limit that has few enough of them.

    `in_drift` is the share of the time that false alarms lasted: a limit that is always passed has only one alarm.
    """

    name: str
    on: str
    parameter: str
    value: float | None
    events: int
    alarms: int
    in_drift: float = 0.0
    suggested: float | None = None
    problem: str = ""
    note: str = ""
    per_100000: float = 0.0


@dataclass(frozen=True, slots=True)
class MonitoredModel:
    """The model whose monitor is tried: its task, seed and metrics."""

    task: Task
    seed: int
    metrics: Sequence[Metric] = ()


def calibrate_monitor(
    spec: MonitorSpec,
    recorded: RecordedBatch,
    *,
    model: MonitoredModel,
    settings: CalibrationSettings,
    on_progress: Callable[[int], None] = lambda _events: None,
) -> MonitorCalibration:
    """Try the monitor on shuffled history; `on_progress` is called with how many events it has been fed."""
    if spec.metric is not None:
        spec = spec.model_copy(update={"reference": ReferenceSpec(events=spec.own_reference.events)})
    needed = reference_length(spec) + spec.window
    if recorded.length < needed:
        note = f"found {recorded.length:,} events of history, expected {needed:,} for reference and window"
        return MonitorCalibration(spec.name, spec.on, "", None, 0, 0, note=note)
    if spec.limits is None:
        found = _calibrate_detector(spec, recorded, model, settings, on_progress)
    else:
        found = _calibrate_limit(spec, spec.limits, recorded, model=model, settings=settings, on_progress=on_progress)
    rate = 100_000 * found.alarms / found.events if found.events else 0.0
    note = "" if found.suggested is not None else _missing_suggestion(settings, found)
    return replace(found, per_100000=round(rate, 3), in_drift=round(found.in_drift, 4), note=note)


def reference_length(spec: MonitorSpec) -> int:
    """Return how many events a pass spends on the reference."""
    return spec.own_reference.events if spec.metric is not None else 0


def _missing_suggestion(settings: CalibrationSettings, found: MonitorCalibration) -> str:
    if not settings.allowed_alarms:
        return (
            f"found {settings.events:,} events to try, expected {settings.target:,} or more "
            "to measure a rate of one alarm in so many"
        )
    if not found.parameter:
        return "no parameter of this detector is known to make it stricter"
    return f"no {found.parameter} that was tried is strict enough"


def count_alarms(values: Sequence[Sequence[float]], limits: MonitorLimits) -> tuple[int, float]:
    """Return how many signals these series give at the limits, and the share of the values in drift."""
    count = lasting = 0
    for series in values:
        state = MonitorState.QUIET
        for value in series:
            before, state = state, limits.next_state(state, value)
            lasting += state is MonitorState.DRIFT
            count += state is MonitorState.DRIFT and before is not MonitorState.DRIFT
    return count, lasting / max(sum(map(len, values)), 1)


def _calibrate_limit(
    spec: MonitorSpec,
    limits: MonitorLimits,
    recorded: RecordedBatch,
    *,
    model: MonitoredModel,
    settings: CalibrationSettings,
    on_progress: Callable[[int], None],
) -> MonitorCalibration:
    series: list[list[float]] = []
    events = 0
    for shuffled in _shuffled_passes(spec, recorded, settings):
        monitor: Any = build_monitor(spec, task=model.task, seed=model.seed, metrics=model.metrics)
        series.append(monitor.start_trace())
        for part in _parts(shuffled):
            monitor.update(part.batch)
            on_progress(part.length)
        problem = monitor.status().problem
        if problem:
            return MonitorCalibration(spec.name, spec.on, "", None, 0, 0, problem=problem)
        events += shuffled.length - reference_length(spec)
    parameter, *_ = (name for name in ("threshold", "above", "below") if getattr(spec, name) is not None)
    suggested = _least_strict_limit(
        series, limits, allowed=events // settings.target, lasting=settings.max_drift_share(spec.window)
    )
    found = count_alarms(series, limits)
    return MonitorCalibration(spec.name, spec.on, parameter, limits.threshold, events, *found, suggested)


def _least_strict_limit(
    series: Sequence[Sequence[float]], limits: MonitorLimits, *, allowed: int, lasting: float
) -> float | None:
    """Return the least strict limit that is passed seldom enough; None where too few events were tried.

    The search starts from the strictest limit: one that is always passed gives few alarms too, and must not be found
    from its own side.
    """
    found = np.unique(np.concatenate([np.asarray(one, dtype=np.float64) for one in series]))
    if not allowed or not len(found):
        return None
    last = strictest = float(found[0] if limits.lower_is_worse else found[-1])
    for value in found if limits.lower_is_worse else found[::-1]:
        count, share = count_alarms(series, _with_threshold(limits, float(value)))
        if count > allowed or share > lasting:
            return _rounded(last, up=not limits.lower_is_worse)
        last = float(value)
    return _rounded(strictest, up=not limits.lower_is_worse)


def _with_threshold(limits: MonitorLimits, threshold: float) -> MonitorLimits:
    """Return the limits with another threshold and the warning in the same proportion."""
    share = limits.warning / limits.threshold if limits.threshold else 1.0
    warning = threshold * share if limits.threshold else threshold + limits.warning
    return MonitorLimits(threshold, warning, limits.lower_is_worse)


def _rounded(value: float, *, up: bool) -> float:
    """Round to three digits, on the strict side."""
    if value == 0:
        return value
    digits = 10.0 ** (2 - int(np.floor(np.log10(abs(value)))))
    return float((np.ceil if up else np.floor)(value * digits) / digits)


def _calibrate_detector(
    spec: MonitorSpec,
    recorded: RecordedBatch,
    model: MonitoredModel,
    settings: CalibrationSettings,
    on_progress: Callable[[int], None],
) -> MonitorCalibration:
    monitor = build_monitor(spec, task=model.task, seed=model.seed, metrics=())
    assert isinstance(monitor, DetectorMonitor)
    parameter, factors = STRICTNESS_FACTORS.get(type(monitor.detector).__name__, ("", (1,)))
    given = getattr(monitor.detector, parameter, None)
    first: MonitorCalibration | None = None
    for factor in factors:
        value = None if given is None else float(f"{given * factor:.4g}")
        tried = spec if given is None else spec.model_copy(update={"detector": _with_parameter(spec, parameter, value)})
        found = _count_detections(tried, recorded, model, settings, on_progress)
        first = first or replace(found, parameter=parameter, value=value)
        if found.problem or not parameter:
            return first
        if found.alarms <= settings.allowed_alarms and found.in_drift <= settings.max_drift_share(spec.window):
            return replace(first, suggested=value if settings.allowed_alarms else None)
    assert first is not None
    return first


def _with_parameter(spec: MonitorSpec, parameter: str, value: float | None) -> Any:
    expression = with_river_names(spec.detector)
    name, arguments = (expression, {}) if isinstance(expression, str) else next(iter(expression.items()))
    return {name: {**(arguments if isinstance(arguments, dict) else {}), parameter: value}}


def _count_detections(
    spec: MonitorSpec,
    recorded: RecordedBatch,
    model: MonitoredModel,
    settings: CalibrationSettings,
    on_progress: Callable[[int], None],
) -> MonitorCalibration:
    events = count = lasting = 0
    for shuffled in _shuffled_passes(spec, recorded, settings):
        monitor = build_monitor(spec, task=model.task, seed=model.seed, metrics=())
        for part in _parts(shuffled):
            count += len(monitor.update(part.batch))
            lasting += part.length * (monitor.status().state is MonitorState.DRIFT)
            on_progress(part.length)
        problem = monitor.status().problem
        if problem:
            return MonitorCalibration(spec.name, spec.on, "", None, 0, 0, problem=problem)
        events += shuffled.length
    return MonitorCalibration(spec.name, spec.on, "", None, events, count, lasting / max(events, 1))


def _shuffled_passes(
    spec: MonitorSpec, recorded: RecordedBatch, settings: CalibrationSettings
) -> Iterator[RecordedBatch]:
    """Yield passes until enough events have been watched, in the same orders for every monitor."""
    rng = np.random.default_rng(settings.seed)
    lead, watched_events = reference_length(spec), 0
    while watched_events < settings.events:
        length = min(recorded.length, lead + min(EVENTS_PER_PASS, max(settings.events - watched_events, spec.window)))
        order = rng.permutation(recorded.length)[:length].tolist()
        yield RecordedBatch(_ordered(spec, recorded.batch, order), length)
        watched_events += length - lead


def _parts(recorded: RecordedBatch) -> Iterator[RecordedBatch]:
    for start in range(0, recorded.length, CHUNK_EVENTS):
        indices = range(start, min(start + CHUNK_EVENTS, recorded.length))
        yield RecordedBatch(_sliced(recorded.batch, slice(indices.start, indices.stop)), len(indices))


def _ordered(spec: MonitorSpec, batch: MonitorBatch, order: Sequence[int]) -> MonitorBatch:
    """Return the batch in another order, with only what the monitor looks at."""
    if spec.target is MonitorTarget.FEATURE:
        values = batch.feature_values(spec.target_name)
        return MonitorBatch(feature_values={spec.target_name: [values[at] for at in order]}.__getitem__)
    given = batch.probabilities
    return MonitorBatch(
        [batch.truths[at] for at in order],
        [batch.labels[at] for at in order],
        None if given is None else [given[at] for at in order],
    )


def _sliced(batch: MonitorBatch, part: slice) -> MonitorBatch:
    given = batch.probabilities
    return MonitorBatch(
        batch.truths[part], batch.labels[part], None if given is None else given[part], partial(_feature, batch, part)
    )


def _feature(batch: MonitorBatch, part: slice, name: str) -> Sequence[Any]:
    return batch.feature_values(name)[part]
