"""Exports a version to a file, and imports it into another registry."""

import msgspec

from service.domain.registry.checkpoint_metrics import CheckpointMetrics
from service.domain.registry.registry import ChangeOrigin, ModelName, ModelRegistration, RegisteredModel, VersionKind
from service.domain.specification.model import ModelSpec
from service.domain.stream.position import Position, PositionJson
from service.errors import ArtifactError
from service.operations.services import Services
from service.operations.states.diff import find_version
from service.operations.states.registration import first_position
from service.operations.states.sealed_state import open_sealed, seal_state
from service.ports.artifacts import Sealer

EXPORT_MAGIC = b"HRX1"


class ExportedVersion(msgspec.Struct, frozen=True):
    """A version and its artifact, sealed by the registry that it came from."""

    model: str
    number: int
    spec: dict[str, object]
    position: PositionJson
    learned: int
    metrics: dict[str, object]
    artifact: bytes


def export_version(services: Services, model: str, number: int) -> bytes:
    """Return the version as the bytes of a file; raise NotFoundError if there is no such version."""
    version = find_version(services, model, number)
    exported = ExportedVersion(
        model,
        number,
        dict(version.spec),
        version.position.to_json(),
        version.metrics.learned,
        version.metrics.to_json(),
        services.registry.history.artifact(version.digest),
    )
    return EXPORT_MAGIC + msgspec.msgpack.encode(exported)


def read_export(data: bytes) -> ExportedVersion:
    """Decode an exported file without opening its artifact; raise ArtifactError if it is not an export."""
    try:
        if data.startswith(EXPORT_MAGIC):
            return msgspec.msgpack.decode(data[len(EXPORT_MAGIC) :], type=ExportedVersion)
        cause = "an unknown header"
    except msgspec.DecodeError as error:
        cause = str(error)
    msg = f"found a file of {len(data)} bytes with {cause}, expected one that `headrace registry export` wrote"
    raise ArtifactError(msg)


def import_as_model(
    services: Services, exported: ExportedVersion, *, name: str, sealer: Sealer, keep_position: bool, actor: str
) -> tuple[RegisteredModel, ModelSpec]:
    """Register the version as the first of a new model, sealed again with this registry's key.

    Keep its position only if the model reads the same stream; otherwise it starts where the specification says.
    """
    payload = open_sealed(services, exported.artifact, model=name, opener=sealer)
    spec = ModelSpec.model_validate({**exported.spec, "name": name})
    position = Position.from_json(exported.position) if keep_position else first_position(services, spec)
    learned, metrics = exported.learned, CheckpointMetrics.from_json(exported.metrics)
    state = seal_state(services, payload, model=name, position=position, learned=learned, metrics=metrics)
    registration = ModelRegistration(
        name=ModelName(name),
        spec=spec.model_dump(mode="json"),
        spec_digest=spec.digest(),
        state=state,
        environment=services.states.environment,
        origin=ChangeOrigin(actor, reason=f"from version {exported.number} of {exported.model}"),
        kind=VersionKind.IMPORT,
    )
    return services.registry.models.register(registration), spec
