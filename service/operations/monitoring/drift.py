"""Drift monitors: their current status, their status over recorded history, and their rate of false alarms."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from service.domain.specification.model import ModelSpec
from service.domain.specification.monitor import DriftSignal, MonitorSpec, MonitorTarget
from service.errors import ConfigurationError, NotFoundError
from service.learning.monitors import MonitorBatch, MonitorSet
from service.learning.monitors.false_alarms import (
    CalibrationSettings,
    MonitorCalibration,
    MonitoredModel,
    RecordedBatch,
    calibrate_monitor,
)
from service.operations.monitoring.recorded import RecordedEvents, recorded_features, recorded_scores
from service.operations.services import Services
from service.operations.states.newest_checkpoint import newest_checkpoint

CHUNK_EVENTS = 2000
ReportProgress = Callable[[str, int, int], None]
"""Called with the step, how many more events it has processed, and how many there are."""


def drift_status(services: Services, model: str, *, limit: int) -> dict[str, Any]:
    """Return every monitor of the champion with its last signal, and the model's `limit` newest signals.

    Raise NotFoundError without a champion.
    """
    champion_lineage = services.registry.models.get(model).champion
    if champion_lineage is None:
        msg = f"found no champion of {model}; start `headrace learn` first"
        raise NotFoundError(msg)
    monitors = newest_checkpoint(services, champion_lineage).metrics.drift
    return {
        "model": model,
        "monitors": [{**one.to_json(), "last": _last_signal(services, model, one.name)} for one in monitors],
        "signals": [signal_row(one) for one in services.registry.signals.newest_first(model, limit=limit)],
        "decision": _last_decision(services, model),
    }


def _last_decision(services: Services, name: str) -> dict[str, Any] | None:
    """Return the trainer's last decision, whether and why to retrain, or None."""
    trainer = services.training.trainers.find(name)
    last = trainer.decision if trainer else None
    if last is None:
        return None
    return {"retrain": last.retrain, "code": last.code, "explanation": last.explanation, "at": last.at}


def signal_row(signal: DriftSignal) -> dict[str, Any]:
    """Return a signal as a row of plain values."""
    return {
        "id": signal.id,
        "monitor": signal.monitor,
        "topic": signal.at.topic,
        "partition": signal.at.partition,
        "offset": signal.offset,
        "ts": signal.ts,
        "value": signal.value,
        "threshold": signal.threshold,
        "evidence": dict(signal.evidence),
        "lineage": signal.lineage,
        "committed_at": signal.created_at,
    }


def check_monitors(
    services: Services, spec: ModelSpec, *, events: int, report_progress: ReportProgress
) -> dict[str, Any]:
    """Run new monitors over recorded history; return their status at its end, and each signal on the way."""
    rows: list[dict[str, Any]] = []
    signals: list[dict[str, Any]] = []
    for specs, events_batch in _recorded_by_input(services, spec, events=events, report_progress=report_progress):
        monitors = MonitorSet(specs, task=spec.task, seed=spec.seed, metrics=spec.metrics)
        for start, end in pairwise([*range(0, events_batch.length, CHUNK_EVENTS), events_batch.length]):
            part = _batch_slice(events_batch.batch, slice(start, end))
            for name, signal in [*monitors.update(part, at_arrival=True), *monitors.update(part, at_arrival=False)]:
                at, offset = events_batch.places[start + signal.index]
                where = {"topic": at.topic, "partition": at.partition, "offset": offset}
                signals.append({"monitor": name, **where, "value": signal.value, "threshold": signal.threshold})
            report_progress("checking", end - start, events_batch.length)
        rows += [{**one, "events": events_batch.length} for one in monitors.report()]
    return {"model": spec.name, "monitors": rows, "signals": signals}


def calibrate_monitors(
    services: Services, spec: ModelSpec, *, events: int, trial: CalibrationSettings, report_progress: ReportProgress
) -> dict[str, Any]:
    """Return each monitor's false alarms on shuffled history, and the threshold that makes them rare enough."""
    subject = MonitoredModel(spec.task, spec.seed, spec.metrics)
    found: list[MonitorCalibration] = []
    for specs, events_batch in _recorded_by_input(services, spec, events=events, report_progress=report_progress):
        history = RecordedBatch(events_batch.batch, events_batch.length)
        found += [
            calibrate_monitor(
                one, history, model=subject, settings=trial, on_progress=_monitor_progress(report_progress, one, trial)
            )
            for one in specs
        ]
    order = {one.name: place for place, one in enumerate(spec.drift)}
    found.sort(key=lambda one: order[one.name])
    return {"model": spec.name, **asdict(trial), "monitors": [asdict(one) for one in found]}


def require_monitors(spec: ModelSpec) -> None:
    """Raise ConfigurationError where the model has no monitors."""
    if not spec.drift:
        msg = f"found no monitors of {spec.name}, expected some under `drift:`; see `headrace check`"
        raise ConfigurationError(msg)


def require_usable_monitors(result: dict[str, Any]) -> None:
    """Raise ConfigurationError for a monitor that cannot watch its target."""
    problems = [f"drift.{one['name']}: {one['problem']}" for one in result["monitors"] if one["problem"]]
    if problems:
        raise ConfigurationError("\n".join(problems))


def _recorded_by_input(
    services: Services, spec: ModelSpec, *, events: int, report_progress: ReportProgress
) -> Iterator[tuple[Sequence[MonitorSpec], RecordedEvents]]:
    """Yield the monitors of features with recorded events, and all others with recorded scores."""
    require_monitors(spec)
    features = [one for one in spec.drift if one.target is MonitorTarget.FEATURE]
    others = [one for one in spec.drift if one.target is not MonitorTarget.FEATURE]
    if features:
        yield (
            features,
            _require_events(
                recorded_features(
                    services, spec, events=events, on_progress=lambda n: report_progress("reading", n, events)
                ),
                spec,
            ),
        )
    if others:
        yield others, _require_events(recorded_scores(services, spec, events=events), spec)


def _require_events(recorded: RecordedEvents, spec: ModelSpec) -> RecordedEvents:
    if not recorded.length:
        msg = (
            f"found nothing recorded of {spec.name}, expected events that it has learned; "
            f"publish some and run `headrace learn --until-end`"
        )
        raise NotFoundError(msg)
    return recorded


def _monitor_progress(
    report_progress: ReportProgress, spec: MonitorSpec, trial: CalibrationSettings
) -> Callable[[int], None]:
    return lambda events: report_progress(f"calibrating {spec.name}", events, trial.events)


def _batch_slice(batch: MonitorBatch, rows: slice) -> MonitorBatch:
    probabilities = batch.probabilities
    return MonitorBatch(
        batch.truths[rows],
        batch.labels[rows],
        None if probabilities is None else probabilities[rows],
        lambda name: batch.feature_values(name)[rows],
    )


def _last_signal(services: Services, model: str, monitor: str) -> dict[str, Any] | None:
    found = services.registry.signals.newest_first(model, monitor=monitor, limit=1)
    return signal_row(found[0]) if found else None
