"""Encodes and decodes a lineage's state, and derives the first state of a lineage from other states."""

from collections.abc import Sequence
from typing import Any

import msgspec

from service.domain.specification.model import ModelSpec
from service.errors import ArtifactError, OtherReleaseError
from service.learning.monitors import MonitorBatch, MonitorSet
from service.learning.pickling import codec

STATE_FORMAT = 1


def restored_state(current: bytes, target: bytes) -> bytes:
    """Return the target's model and guard with the current ids and counts, for a rollback that restores.

    Ids seen, counts, metrics and counted signals stay current; estimator, guard ranges and detectors go back.
    """
    return _merged_states(current, target, from_target=("estimator", "guard"))


def continued_state(fresh: bytes, target: bytes) -> bytes:
    """Return the target state with the counts and metrics of `fresh`, which has learned nothing."""
    return _merged_states(fresh, target, from_target=("estimator", "guard", "dedupe", "batch", "waiting"))


def with_new_monitors(
    state: bytes, spec: ModelSpec, *, references: Sequence[MonitorBatch], estimator: bytes | None = None
) -> bytes:
    """Return a trained state with new monitors that compare with what it was trained on.

    Where several references have a monitor's column, the last counts. `estimator` replaces the state's own; it has
    already learned what was waiting for a micro-batch.
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
    """Return the bytes that `decode_state` reads."""
    return msgspec.msgpack.encode({"format": STATE_FORMAT, "objects": codec.dumps(objects), **parts})


def decode_state(state: bytes) -> dict[str, Any]:
    """Return the parts of a state by name.

    Raise ArtifactError for bytes that are no state, OtherReleaseError for another format.
    """
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
