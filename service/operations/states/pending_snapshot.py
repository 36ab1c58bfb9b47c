"""Seals the pending events of one moment as an artifact beside a state, so that a replay can begin at that state."""

import zlib
from collections.abc import Iterator, Sequence

import msgspec

from service.domain.registry.registry import Json, Lease, LineageId, SealedBytes
from service.domain.stream.pending import PendingRow
from service.domain.stream.position import Position
from service.errors import ArtifactError
from service.operations.services import Services
from service.operations.states.sealed_state import open_bytes, seal_bytes

PENDING_MAGIC = b"HRW1"


def seal_pending(services: Services, lease: Lease, spec: Json, *, position: Position) -> SealedBytes | None:
    """Return the lineage's pending events as a signed artifact, or None if the model's labels come with its events."""
    if spec.get("labels") is None:
        return None
    with services.registry.pending.stream_all(lease.lineage) as chunks:
        return seal_pending_rows(services, chunks, model=spec["name"], lineage=lease.lineage, position=position)


def seal_pending_rows(
    services: Services, chunks: Iterator[Sequence[PendingRow]], *, model: str, lineage: LineageId, position: Position
) -> SealedBytes:
    """Return the rows as one signed artifact."""
    return seal_bytes(services, pack_pending(chunks), model=model, position=position, lineage=str(lineage))


def open_pending(services: Services, digest: str) -> Sequence[PendingRow]:
    """Return the rows of a sealed artifact; raise ArtifactError if it is not what was sealed."""
    return unpack_pending(open_bytes(services, digest))


def pack_pending(chunks: Iterator[Sequence[PendingRow]]) -> bytes:
    """Return the rows as compressed bytes, encoded one chunk at a time."""
    compressor = zlib.compressobj(1)
    parts = [PENDING_MAGIC]
    for chunk in chunks:
        rows = [(row.key, row.kind, row.ts, row.payload) for row in chunk]
        data = msgspec.msgpack.encode(rows)
        parts.append(compressor.compress(len(data).to_bytes(8, "big") + data))
    return b"".join([*parts, compressor.flush()])


def unpack_pending(data: bytes) -> Sequence[PendingRow]:
    """Return the packed rows, in order; raise ArtifactError if the bytes are not packed rows."""
    if not data.startswith(PENDING_MAGIC):
        msg = f"found {len(data)} bytes, expected a snapshot of pending events; run `headrace registry verify`"
        raise ArtifactError(msg)
    unpacked = memoryview(zlib.decompress(data[len(PENDING_MAGIC) :]))
    rows: list[PendingRow] = []
    offset = 0
    while offset < len(unpacked):
        size = int.from_bytes(unpacked[offset : offset + 8], "big")
        chunk = msgspec.msgpack.decode(
            unpacked[offset + 8 : offset + 8 + size], type=list[tuple[bytes, int, int, bytes]]
        )
        rows += [PendingRow(*row) for row in chunk]
        offset += 8 + size
    return rows
