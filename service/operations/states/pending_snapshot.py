"""What waits for labels at one moment, as an artifact beside a state: a replay from that state begins with it."""

import zlib
from collections.abc import Iterator, Sequence

import msgspec

from service.domain.registry.registry import Json, Lease, LineageId, SealedBytes
from service.domain.stream.pending import WaitingRow
from service.domain.stream.position import Position
from service.errors import ArtifactError
from service.operations.services import Services
from service.operations.states.sealed_state import open_bytes, seal_bytes

MAGIC = b"HRW1"


def sealed_waiting(services: Services, lease: Lease, spec: Json, *, position: Position) -> SealedBytes | None:
    """All that waits for the lineage now, signed, be it nothing; None for a model whose labels come with its events."""
    if spec.get("labels") is None:
        return None
    with services.pending.whole(lease.lineage) as chunks:
        return seal_whole(services, chunks, model=spec["name"], lineage=lease.lineage, position=position)


def seal_whole(
    services: Services, chunks: Iterator[Sequence[WaitingRow]], *, model: str, lineage: LineageId, position: Position
) -> SealedBytes:
    """The rows as one signed artifact."""
    return seal_bytes(services, pack(chunks), model=model, position=position, lineage=str(lineage))


def opened_waiting(services: Services, digest: str) -> Sequence[WaitingRow]:
    """The inverse; ArtifactError where it is not what was sealed."""
    return unpack(open_bytes(services, digest))


def pack(chunks: Iterator[Sequence[WaitingRow]]) -> bytes:
    """Compressed, a chunk at a time."""
    squeeze = zlib.compressobj(1)
    found = [MAGIC]
    for chunk in chunks:
        rows = [(row.key, row.kind, row.ts, row.payload) for row in chunk]
        data = msgspec.msgpack.encode(rows)
        found.append(squeeze.compress(len(data).to_bytes(8, "big") + data))
    return b"".join([*found, squeeze.flush()])


def unpack(data: bytes) -> Sequence[WaitingRow]:
    """The rows, in order."""
    if not data.startswith(MAGIC):
        msg = f"found {len(data)} bytes that are no set of waiting events; run `headrace registry verify`"
        raise ArtifactError(msg)
    whole = memoryview(zlib.decompress(data[len(MAGIC) :]))
    rows: list[WaitingRow] = []
    at = 0
    while at < len(whole):
        size = int.from_bytes(whole[at : at + 8], "big")
        chunk = msgspec.msgpack.decode(whole[at + 8 : at + 8 + size], type=list[tuple[bytes, int, int, bytes]])
        rows += [WaitingRow(*row) for row in chunk]
        at += 8 + size
    return rows
