"""Compares two versions of a model."""

from collections.abc import Sequence
from typing import Any

from service.domain.registry.registry import Version
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Features
from service.domain.stream.position import Position
from service.learning.learner.learner import Learner
from service.operations.services import Services
from service.operations.states.sealed_state import open_learner

MAX_PROBE_EVENTS = 200


def find_version(services: Services, model: str, number: int) -> Version:
    """Return a version of a registered model; raise NotFoundError, which names the models or versions that exist."""
    return services.registry.history.version(services.registry.models.get(model).name, number)


def open_version(services: Services, version: Version) -> Learner:
    """Return a learner with the version's state."""
    return open_learner(services, version.digest, spec=ModelSpec.model_validate(version.spec))


def compare_versions(services: Services, model: str, numbers: tuple[int, int]) -> dict[str, Any]:
    """Return how the versions differ in specification, metrics, and predictions on the newest events of the stream."""
    one, other = (find_version(services, model, number) for number in numbers)
    probes = newest_features(services, ModelSpec.model_validate(one.spec))
    predictions = [[open_version(services, version).predict(x) for x in probes] for version in (one, other)]
    differing = [i for i, (a, b) in enumerate(zip(*predictions, strict=True)) if a != b]
    return {
        "versions": list(numbers),
        "specification": {
            key: [one.spec.get(key), other.spec.get(key)]
            for key in sorted({*one.spec, *other.spec})
            if one.spec.get(key) != other.spec.get(key)
        },
        "metrics": [one.metrics.cumulative, other.metrics.cumulative],
        "learned": [one.metrics.learned, other.metrics.learned],
        "probes": len(probes),
        "probes_differing": len(differing),
        "examples": [
            {
                "x": probes[i],
                "predictions": [_with_text_labels(predictions[0][i]), _with_text_labels(predictions[1][i])],
            }
            for i in differing[:5]
        ],
    }


def newest_features(services: Services, spec: ModelSpec) -> Sequence[Features]:
    """Return the features of up to `MAX_PROBE_EVENTS` of the newest events of the topic."""
    source = services.streams.source(f"{spec.name}-probe")
    decoder = services.streams.decoder(spec)
    try:
        bounds = source.bounds([spec.events])
        per_partition = max(MAX_PROBE_EVENTS // max(len(bounds), 1), 1)
        source.assign(Position({at: max(found.end - per_partition, found.start) for at, found in bounds.items()}))
        runs = [run for _ in range(5) for run in source.poll(timeout_s=0.5, limit=MAX_PROBE_EVENTS)]
    finally:
        source.close()
    return [event.x for run in runs for event in decoder.decode(run).events][:MAX_PROBE_EVENTS]


def _with_text_labels(prediction: Any) -> Any:
    if isinstance(prediction, dict):
        return {str(label): probability for label, probability in prediction.items()}
    return prediction
