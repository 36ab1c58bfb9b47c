"""How often a monitor calls out where nothing changes, and which limit would make it rarer.

Shuffled events change nothing on the way. Each pass is a stream of its own: a new order, a new reference.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from service.domain.specification.monitor import Limits, MonitorSpec, MonitorState, ReferenceSpec, Watched
from service.domain.stream.events import Task
from service.learning.metrics.names import Metric
from service.learning.monitors.detector import Detector
from service.learning.monitors.inputs import Batch
from service.learning.monitors.monitor_set import built, dotted

PASS_EVENTS = 20_000
"""Watched in one pass, beside its reference."""
CHUNK = 500
LASTING = 0.1
"""A limit with which a monitor is in drift for a larger share of the time is not strict enough, however few alarms."""
LADDERS: Mapping[str, tuple[str, Sequence[float]]] = {
    "ADWIN": ("delta", (1, 0.1, 0.01, 1e-3, 1e-4)),
    "DDM": ("drift_threshold", (1, 1.25, 1.5, 2, 3)),
    "EDDM": ("beta", (1, 0.95, 0.9, 0.8, 0.6)),
    "HDDMA": ("drift_confidence", (1, 0.1, 0.01, 1e-3, 1e-4)),
    "HDDMW": ("drift_confidence", (1, 0.1, 0.01, 1e-3, 1e-4)),
    "KSWIN": ("alpha", (1, 0.1, 0.01, 1e-3, 1e-4)),
    "PageHinkley": ("threshold", (1, 2, 4, 8, 16)),
}
"""The parameter that makes a detector stricter, and by which factors it is tried."""


@dataclass(frozen=True, slots=True)
class Trial:
    """So many shuffled events, and the limit wanted: one false alarm in `target` of them."""

    events: int
    target: int
    seed: int

    @property
    def allowed(self) -> int:
        """False alarms that are few enough."""
        return self.events // self.target

    def lasting(self, window: int) -> float:
        """A share of the time in drift that is small enough."""
        return max(LASTING, 3 * window / self.target)


@dataclass(frozen=True, slots=True)
class History:
    """What was recorded, as one batch of `length` events."""

    batch: Batch
    length: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """False alarms at the monitor's limit, and the least strict limit of those tried that has few enough of them.

    `in_drift` is the share of the time that false alarms lasted: a limit that is passed always has one alarm.
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
class Subject:
    """Whose monitor is tried: the model's task, seed and metrics."""

    task: Task
    seed: int
    metrics: Sequence[Metric] = ()


def calibrated(
    spec: MonitorSpec,
    history: History,
    *,
    subject: Subject,
    trial: Trial,
    tell: Callable[[int], None] = lambda _events: None,
) -> Calibration:
    """Try the monitor on shuffled history; `tell` is told how many events it has been fed."""
    if spec.metric is not None:
        spec = spec.model_copy(update={"reference": ReferenceSpec(events=spec.own_reference.events)})
    needed = lead_of(spec) + spec.window
    if history.length < needed:
        note = f"found {history.length:,} events of history, expected {needed:,} for reference and window"
        return Calibration(spec.name, spec.on, "", None, 0, 0, note=note)
    if spec.limits is None:
        found = _detector(spec, history, subject, trial, tell)
    else:
        found = _distance(spec, spec.limits, history, subject=subject, trial=trial, tell=tell)
    rate = 100_000 * found.alarms / found.events if found.events else 0.0
    note = "" if found.suggested is not None else _unknown(trial, found)
    return replace(found, per_100000=round(rate, 3), in_drift=round(found.in_drift, 4), note=note)


def lead_of(spec: MonitorSpec) -> int:
    """The events that a pass spends on the reference."""
    return spec.own_reference.events if spec.metric is not None else 0


def _unknown(trial: Trial, found: Calibration) -> str:
    if not trial.allowed:
        return (
            f"found {trial.events:,} events to try, expected {trial.target:,} or more to tell of one alarm in so many"
        )
    if not found.parameter:
        return "no parameter of this detector is known to make it stricter"
    return f"no {found.parameter} that was tried is strict enough"


def alarms(values: Sequence[Sequence[float]], limits: Limits) -> tuple[int, float]:
    """Signals that series of values would give with these limits, and the share of the values in drift."""
    count = lasting = 0
    for series in values:
        state = MonitorState.QUIET
        for value in series:
            before, state = state, limits.state(state, value)
            lasting += state is MonitorState.DRIFT
            count += state is MonitorState.DRIFT and before is not MonitorState.DRIFT
    return count, lasting / max(sum(map(len, values)), 1)


def _distance(
    spec: MonitorSpec,
    limits: Limits,
    history: History,
    *,
    subject: Subject,
    trial: Trial,
    tell: Callable[[int], None],
) -> Calibration:
    series: list[list[float]] = []
    events = 0
    for watched in _passes(spec, history, trial):
        monitor: Any = built(spec, task=subject.task, seed=subject.seed, metrics=subject.metrics)
        series.append(monitor.traced())
        for part in _parts(watched):
            monitor.update(part.batch)
            tell(part.length)
        problem = monitor.standing().problem
        if problem:
            return Calibration(spec.name, spec.on, "", None, 0, 0, problem=problem)
        events += watched.length - lead_of(spec)
    parameter, *_ = (name for name in ("threshold", "above", "below") if getattr(spec, name) is not None)
    suggested = _least(series, limits, allowed=events // trial.target, lasting=trial.lasting(spec.window))
    found = alarms(series, limits)
    return Calibration(spec.name, spec.on, parameter, limits.threshold, events, *found, suggested)


def _least(series: Sequence[Sequence[float]], limits: Limits, *, allowed: int, lasting: float) -> float | None:
    """From the strictest on, the last limit that is passed seldom enough; None where too few events were tried.

    A limit that is always passed is passed seldom, too: it must not be met from its own side.
    """
    found = np.unique(np.concatenate([np.asarray(one, dtype=np.float64) for one in series]))
    if not allowed or not len(found):
        return None
    last = strictest = float(found[0] if limits.falling else found[-1])
    for value in found if limits.falling else found[::-1]:
        count, share = alarms(series, _moved(limits, float(value)))
        if count > allowed or share > lasting:
            return _rounded(last, up=not limits.falling)
        last = float(value)
    return _rounded(strictest, up=not limits.falling)


def _moved(limits: Limits, threshold: float) -> Limits:
    """With the warning in the same proportion."""
    share = limits.warning / limits.threshold if limits.threshold else 1.0
    warning = threshold * share if limits.threshold else threshold + limits.warning
    return Limits(threshold, warning, limits.falling)


def _rounded(value: float, *, up: bool) -> float:
    """To three digits, on the strict side."""
    if value == 0:
        return value
    digits = 10.0 ** (2 - int(np.floor(np.log10(abs(value)))))
    return float((np.ceil if up else np.floor)(value * digits) / digits)


def _detector(
    spec: MonitorSpec, history: History, subject: Subject, trial: Trial, tell: Callable[[int], None]
) -> Calibration:
    monitor = built(spec, task=subject.task, seed=subject.seed, metrics=())
    assert isinstance(monitor, Detector)
    parameter, factors = LADDERS.get(type(monitor.detector).__name__, ("", (1,)))
    given = getattr(monitor.detector, parameter, None)
    first: Calibration | None = None
    for factor in factors:
        value = None if given is None else float(f"{given * factor:.4g}")
        tried = spec if given is None else spec.model_copy(update={"detector": _with(spec, parameter, value)})
        found = _tried(tried, history, subject, trial, tell)
        first = first or replace(found, parameter=parameter, value=value)
        if found.problem or not parameter:
            return first
        if found.alarms <= trial.allowed and found.in_drift <= trial.lasting(spec.window):
            return replace(first, suggested=value if trial.allowed else None)
    assert first is not None
    return first


def _with(spec: MonitorSpec, parameter: str, value: float | None) -> Any:
    expression = dotted(spec.detector)
    name, arguments = (expression, {}) if isinstance(expression, str) else next(iter(expression.items()))
    return {name: {**(arguments if isinstance(arguments, dict) else {}), parameter: value}}


def _tried(
    spec: MonitorSpec, history: History, subject: Subject, trial: Trial, tell: Callable[[int], None]
) -> Calibration:
    events = count = lasting = 0
    for watched in _passes(spec, history, trial):
        monitor = built(spec, task=subject.task, seed=subject.seed, metrics=())
        for part in _parts(watched):
            count += len(monitor.update(part.batch))
            lasting += part.length * (monitor.standing().state is MonitorState.DRIFT)
            tell(part.length)
        problem = monitor.standing().problem
        if problem:
            return Calibration(spec.name, spec.on, "", None, 0, 0, problem=problem)
        events += watched.length
    return Calibration(spec.name, spec.on, "", None, events, count, lasting / max(events, 1))


def _passes(spec: MonitorSpec, history: History, trial: Trial) -> Iterator[History]:
    """Until enough events have been watched; the same orders whichever monitor asks."""
    rng = np.random.default_rng(trial.seed)
    lead, watched = lead_of(spec), 0
    while watched < trial.events:
        length = min(history.length, lead + min(PASS_EVENTS, max(trial.events - watched, spec.window)))
        order = rng.permutation(history.length)[:length].tolist()
        yield History(_ordered(spec, history.batch, order), length)
        watched += length - lead


def _parts(history: History) -> Iterator[History]:
    for start in range(0, history.length, CHUNK):
        places = range(start, min(start + CHUNK, history.length))
        yield History(_sliced(history.batch, slice(places.start, places.stop)), len(places))


def _ordered(spec: MonitorSpec, batch: Batch, order: Sequence[int]) -> Batch:
    """In another order; only what the monitor looks at."""
    if spec.watched is Watched.FEATURE:
        values = batch.feature(spec.subject)
        return Batch(feature={spec.subject: [values[at] for at in order]}.__getitem__)
    given = batch.probabilities
    return Batch(
        [batch.truths[at] for at in order],
        [batch.labels[at] for at in order],
        None if given is None else [given[at] for at in order],
    )


def _sliced(batch: Batch, part: slice) -> Batch:
    given = batch.probabilities
    return Batch(
        batch.truths[part], batch.labels[part], None if given is None else given[part], partial(_feature, batch, part)
    )


def _feature(batch: Batch, part: slice, name: str) -> Sequence[Any]:
    return batch.feature(name)[part]
