"""A version in a file: out of one registry, into another."""

import msgspec

from service.domain.registry.checkpoint_metrics import CheckpointMetrics
from service.domain.registry.registry import Founding, Model, ModelName, Origin, VersionKind
from service.domain.specification.model import ModelSpec
from service.domain.stream.position import Position, PositionJson
from service.errors import ArtifactError
from service.operations.services import Services
from service.operations.states.diff import version_of
from service.operations.states.registration import first_position
from service.operations.states.sealed_state import open_sealed, seal_state
from service.ports.artifacts import Sealer

MAGIC = b"HRX1"


class Parcel(msgspec.Struct, frozen=True):
    """A version and its artifact, sealed by the registry it came from."""

    model: str
    number: int
    spec: dict[str, object]
    position: PositionJson
    learned: int
    metrics: dict[str, object]
    artifact: bytes


def pack(services: Services, model: str, number: int) -> bytes:
    """The file's bytes; NotFoundError where there is no such version."""
    version = version_of(services, model, number)
    parcel = Parcel(
        model,
        number,
        dict(version.spec),
        version.position.to_json(),
        version.metrics.learned,
        version.metrics.to_json(),
        services.history.artifact(version.digest),
    )
    return MAGIC + msgspec.msgpack.encode(parcel)


def unpack(data: bytes) -> Parcel:
    """ArtifactError where the bytes are none of ours; nothing of the artifact is opened yet."""
    try:
        if data.startswith(MAGIC):
            return msgspec.msgpack.decode(data[len(MAGIC) :], type=Parcel)
        cause = "another beginning"
    except msgspec.DecodeError as error:
        cause = str(error)
    msg = f"found a file of {len(data)} bytes with {cause}, expected one that `headrace registry export` wrote"
    raise ArtifactError(msg)


def adopt(
    services: Services, parcel: Parcel, *, name: str, opener: Sealer, keep_position: bool, actor: str
) -> tuple[Model, ModelSpec]:
    """Register the version as the first of a new model; it is sealed anew with this registry's key.

    Its position holds only for the stream it came from, so another one begins where the specification says.
    """
    payload = open_sealed(services, parcel.artifact, model=name, opener=opener)
    spec = ModelSpec.model_validate({**parcel.spec, "name": name})
    position = Position.from_json(parcel.position) if keep_position else first_position(services, spec)
    learned, metrics = parcel.learned, CheckpointMetrics.from_json(parcel.metrics)
    state = seal_state(services, payload, model=name, position=position, learned=learned, metrics=metrics)
    founding = Founding(
        name=ModelName(name),
        spec=spec.model_dump(mode="json"),
        spec_digest=spec.digest(),
        state=state,
        environment=services.environment,
        origin=Origin(actor, reason=f"from version {parcel.number} of {parcel.model}"),
        kind=VersionKind.IMPORT,
    )
    return services.models.register(founding), spec
