"""How a model's monitors stand, how they would have stood on recorded history, and how often they cry wolf."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from service.domain.specification.model import ModelSpec
from service.domain.specification.monitor import DriftSignal, MonitorSpec, Watched
from service.errors import ConfigurationError, NotFoundError
from service.learning.monitors import Batch, Monitors
from service.learning.monitors.false_alarms import Calibration, History, Subject, Trial, calibrated
from service.operations.monitoring.recorded import Recorded, scored, seen
from service.operations.services import Services
from service.operations.states.newest_checkpoint import newest_checkpoint

CHUNK = 2000
Tell = Callable[[str, int, int], None]
"""Is told what is being done, how many events more, and of how many."""


def drift_of(services: Services, model: str, *, limit: int) -> dict[str, Any]:
    """Every monitor of the champion with its last signal, and the model's newest signals."""
    champion = services.models.get(model).champion
    if champion is None:
        msg = f"found no champion of {model}; start `headrace learn` first"
        raise NotFoundError(msg)
    monitors = newest_checkpoint(services, champion).metrics.drift
    return {
        "model": model,
        "monitors": [{**one.to_json(), "last": _last(services, model, one.name)} for one in monitors],
        "signals": [shown(one) for one in services.signals.newest_first(model, limit=limit)],
        "decision": _decision(services, model),
    }


def _decision(services: Services, name: str) -> dict[str, Any] | None:
    """What the trainer decided last: to retrain, or not, and why."""
    trainer = services.training.trainers.find(name)
    last = trainer.decision if trainer else None
    if last is None:
        return None
    return {"retrain": last.retrain, "code": last.code, "explanation": last.explanation, "at": last.at}


def shown(signal: DriftSignal) -> dict[str, Any]:
    """A signal by its position, with its evidence."""
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


def check(services: Services, spec: ModelSpec, *, events: int, tell: Tell) -> dict[str, Any]:
    """Feed new monitors with recorded history in its order; how they stand at its end, and each signal on the way."""
    rows: list[dict[str, Any]] = []
    signals: list[dict[str, Any]] = []
    for specs, recorded in _recorded(services, spec, events=events, tell=tell):
        monitors = Monitors(specs, task=spec.task, seed=spec.seed, metrics=spec.metrics)
        for start, end in pairwise([*range(0, recorded.length, CHUNK), recorded.length]):
            part = _part(recorded.batch, slice(start, end))
            for name, hit in [*monitors.update(part, at_arrival=True), *monitors.update(part, at_arrival=False)]:
                at, offset = recorded.places[start + hit.place]
                where = {"topic": at.topic, "partition": at.partition, "offset": offset}
                signals.append({"monitor": name, **where, "value": hit.value, "threshold": hit.threshold})
            tell("checking", end - start, recorded.length)
        rows += [{**one, "events": recorded.length} for one in monitors.report()]
    return {"model": spec.name, "monitors": rows, "signals": signals}


def calibrate(services: Services, spec: ModelSpec, *, events: int, trial: Trial, tell: Tell) -> dict[str, Any]:
    """Each monitor's false alarms on shuffled history, and the limit that would make them rare enough."""
    subject = Subject(spec.task, spec.seed, spec.metrics)
    found: list[Calibration] = []
    for specs, recorded in _recorded(services, spec, events=events, tell=tell):
        history = History(recorded.batch, recorded.length)
        found += [
            calibrated(one, history, subject=subject, trial=trial, tell=_telling(tell, one, trial)) for one in specs
        ]
    order = {one.name: place for place, one in enumerate(spec.drift)}
    found.sort(key=lambda one: order[one.name])
    return {"model": spec.name, **asdict(trial), "monitors": [asdict(one) for one in found]}


def require_monitors(spec: ModelSpec) -> None:
    """ConfigurationError where there is nothing to check."""
    if not spec.drift:
        msg = f"found no monitors of {spec.name}, expected some under `drift:`; see `headrace check`"
        raise ConfigurationError(msg)


def require_fitting(found: dict[str, Any]) -> None:
    """ConfigurationError for a monitor that cannot watch what it is told to."""
    problems = [f"drift.{one['name']}: {one['problem']}" for one in found["monitors"] if one["problem"]]
    if problems:
        raise ConfigurationError("\n".join(problems))


def _recorded(
    services: Services, spec: ModelSpec, *, events: int, tell: Tell
) -> Iterator[tuple[Sequence[MonitorSpec], Recorded]]:
    """The monitors of features with events, and all others with scores."""
    require_monitors(spec)
    features = [one for one in spec.drift if one.watched is Watched.FEATURE]
    others = [one for one in spec.drift if one.watched is not Watched.FEATURE]
    if features:
        yield features, _some(seen(services, spec, events=events, tell=lambda n: tell("reading", n, events)), spec)
    if others:
        yield others, _some(scored(services, spec, events=events), spec)


def _some(recorded: Recorded, spec: ModelSpec) -> Recorded:
    if not recorded.length:
        msg = (
            f"found nothing recorded of {spec.name}, expected events that it has learned; "
            f"publish some and run `headrace learn --until-end`"
        )
        raise NotFoundError(msg)
    return recorded


def _telling(tell: Tell, spec: MonitorSpec, trial: Trial) -> Callable[[int], None]:
    return lambda events: tell(f"calibrating {spec.name}", events, trial.events)


def _part(batch: Batch, part: slice) -> Batch:
    given = batch.probabilities
    return Batch(
        batch.truths[part],
        batch.labels[part],
        None if given is None else given[part],
        lambda name: batch.feature(name)[part],
    )


def _last(services: Services, model: str, monitor: str) -> dict[str, Any] | None:
    found = services.signals.newest_first(model, monitor=monitor, limit=1)
    return shown(found[0]) if found else None
