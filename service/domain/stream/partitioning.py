"""Which partition of a log of our own a record goes to."""

from collections.abc import Sequence
from zlib import crc32


def assign_partitions(
    count: int, *, partitions: int, keys: Sequence[bytes] | None, first_partition: int
) -> list[list[int]]:
    """The records' indices, a list for each partition: equal keys together, keyless ones in turn.

    CRC-32 of the key, so that the same key always finds the same partition, whatever is installed.
    """
    if keys is None:
        return [list(range((at - first_partition) % partitions, count, partitions)) for at in range(partitions)]
    found: list[list[int]] = [[] for _ in range(partitions)]
    for index, key in enumerate(keys):
        found[crc32(key) % partitions].append(index)
    return found


def require_same_length(values: Sequence[bytes], *others: Sequence[object] | None) -> None:
    """ValueError unless every column that is given is as long as the values."""
    for other in others:
        if other is not None and len(other) != len(values):
            msg = f"found a column of {len(other)} beside {len(values)} values, expected equal lengths"
            raise ValueError(msg)
