"""The bytes of a lineage's state: its parts, and what becomes of them where a lineage begins from another's."""

from collections.abc import Sequence
from typing import Any

import msgspec

from service.domain.specification.model import ModelSpec
from service.errors import ArtifactError, OtherReleaseError
from service.learning.monitors import MonitorBatch, MonitorSet
from service.learning.pickling import codec

STATE_FORMAT = 1


def restored_state(current: bytes, target: bytes) -> bytes:
    """The chosen model and what guards it, with the ids and counts of the present.

    Position, ids seen, counts, metrics and counted signals go on; estimator, guard ranges and detectors go back.
    """
    return _merged_states(current, target, from_target=("estimator", "guard"))


def continued_state(fresh: bytes, target: bytes) -> bytes:
    """The chosen state as it was, with the counts and metrics of one that has learned nothing."""
    return _merged_states(fresh, target, from_target=("estimator", "guard", "dedupe", "batch", "waiting"))


def with_new_monitors(
    state: bytes, spec: ModelSpec, *, references: Sequence[MonitorBatch], estimator: bytes | None = None
) -> bytes:
    """A state that has been trained, with monitors that begin now and refer to what it was trained on.

    Where several references have what a monitor looks at, the last counts. `estimator` replaces the one that it has; it
    has learned what waits for a micro-batch, too.
    """
    parts = decode_state(state)
    monitors = MonitorSet(spec.drift, task=spec.task, seed=spec.seed, metrics=spec.metrics)
    for one in references:
        monitors.set_references(one)
    objects = {**codec.loads(parts.pop("objects")), "monitors": monitors.objects()}
    del parts["format"]
    if estimator is not None:
        parts |= {"estimator": estimator, "batch": []}
    return encode_state(objects=objects, **parts)


def _merged_states(current: bytes, target: bytes, *, from_target: Sequence[str]) -> bytes:
    now, then = decode_state(current), decode_state(target)
    objects_now, objects_then = codec.loads(now.pop("objects")), codec.loads(then["objects"])
    signals = objects_now["monitors"]["signals"]
    objects = {"scores": objects_now["scores"], "monitors": {**objects_then["monitors"], "signals": signals}}
    now.pop("format")
    return encode_state(objects=objects, **{**now, **{key: then.get(key) for key in from_target}})


def encode_state(*, objects: dict[str, Any], **parts: Any) -> bytes:
    """The inverse of `opened`."""
    return msgspec.msgpack.encode({"format": STATE_FORMAT, "objects": codec.dumps(objects), **parts})


def decode_state(state: bytes) -> dict[str, Any]:
    """Return its parts by name; ArtifactError for what is no state, OtherReleaseError for another format."""
    try:
        data: dict[str, Any] = msgspec.msgpack.decode(state)
    except msgspec.DecodeError as error:
        msg = f"found {len(state)} bytes that are no lineage state ({error}); run `headrace registry verify`"
        raise ArtifactError(msg) from error
    if data.get("format") != STATE_FORMAT:
        msg = (
            f"found state format {data.get('format')!r}, expected {STATE_FORMAT}: another release wrote it; start "
            "that one, or rebuild the model"
        )
        raise OtherReleaseError(msg)
    return data
