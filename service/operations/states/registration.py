"""Registers models, and refuses a specification that differs from the registered one."""

from datetime import datetime

from service.domain.registry.checkpoint_metrics import CheckpointMetrics
from service.domain.registry.registry import ChangeOrigin, ModelName, ModelRegistration, RegisteredModel, SealedState
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import TopicPartition
from service.domain.stream.position import Position
from service.errors import NotFoundError, SpecificationChangedError
from service.learning.learner.learner import Learner
from service.operations.services import Services
from service.operations.states.sealed_state import seal_state


def register_model(services: Services, spec: ModelSpec, *, actor: str) -> RegisteredModel:
    """Return the registered model, registering it if it is new.

    Raise SpecificationChangedError if the registered specification differs.
    """
    known = {model.name: model for model in services.registry.models.list()}
    model = known.get(ModelName(spec.name))
    if model is None:
        return services.registry.models.register(_model_registration(services, spec, actor=actor))
    changed = changed_keys(model.spec, spec) if model.spec_digest != spec.digest() else []
    if changed:
        msg = (
            f"the file's specification of {spec.name} differs from the registered one in "
            f"{', '.join(changed)}; run `headrace model apply {spec.name}` "
            "to adopt it, or `headrace learn --fresh` to begin anew"
        )
        raise SpecificationChangedError(msg)
    return model


def changed_keys(registered: object, spec: ModelSpec) -> list[str]:
    """Return the top-level keys in which the stored specification and the file's differ."""
    stored = ModelSpec.model_validate(registered).model_dump(mode="json")
    wanted = spec.model_dump(mode="json")
    return sorted(key for key in wanted if stored.get(key) != wanted[key])


def reset_model(services: Services, spec: ModelSpec, *, actor: str) -> RegisteredModel:
    """Delete the model with its versions and its position, and register it again."""
    if spec.name in {model.name for model in services.registry.models.list()}:
        services.registry.models.delete(spec.name, actor=actor, reason="begun anew with --fresh")
    return services.registry.models.register(_model_registration(services, spec, actor=actor))


def seal_new_state(services: Services, spec: ModelSpec, *, position: Position) -> SealedState:
    """Return the sealed state of a lineage that has learned nothing."""
    estimator, _ = services.states.build_estimator(spec)
    state = Learner.new(spec, estimator)
    return seal_state(services, state, model=spec.name, position=position, learned=0, metrics=CheckpointMetrics())


def _model_registration(services: Services, spec: ModelSpec, *, actor: str) -> ModelRegistration:
    return ModelRegistration(
        name=ModelName(spec.name),
        spec=spec.model_dump(mode="json"),
        spec_digest=spec.digest(),
        state=seal_new_state(services, spec, position=first_position(services, spec)),
        environment=services.states.environment,
        origin=ChangeOrigin(actor, reason="registered"),
    )


def stream_ends(services: Services, spec: ModelSpec) -> dict[TopicPartition, int]:
    """Return the end offset of each partition of the model's topics."""
    source = services.streams.source(spec.name)
    try:
        return {at: found.end for at, found in source.bounds(spec.topics).items()}
    finally:
        source.close()


def first_position(services: Services, spec: ModelSpec) -> Position:
    """Return the position at which a new model starts to read; create missing topics of an embedded log."""
    since_ms = int(spec.start.timestamp() * 1000) if isinstance(spec.start, datetime) else None
    source = services.streams.source(spec.name)
    try:
        bounds = source.bounds(spec.topics, since_ms=since_ms)
    except NotFoundError:
        if not services.streams.create_topics:
            raise
        sink = services.streams.sink()
        for topic in spec.topics:
            sink.create(topic, partitions=1)
        sink.close()
        bounds = source.bounds(spec.topics, since_ms=since_ms)
    finally:
        source.close()
    at_end = spec.start == "latest"
    return Position({at: found.end if at_end else found.start for at, found in bounds.items()})
