"""Assignment of records to partitions of the embedded log."""

from collections.abc import Sequence
from zlib import crc32


def assign_partitions(
    count: int, *, partitions: int, keys: Sequence[bytes] | None, first_partition: int
) -> list[list[int]]:
    """Return the records' indices for each partition: equal keys together, records without keys round robin.

    The partition comes from the key's CRC-32, so that a key finds the same partition in every installation.
    """
    if keys is None:
        return [list(range((at - first_partition) % partitions, count, partitions)) for at in range(partitions)]
    found: list[list[int]] = [[] for _ in range(partitions)]
    for index, key in enumerate(keys):
        found[crc32(key) % partitions].append(index)
    return found


def require_same_length(values: Sequence[bytes], *others: Sequence[object] | None) -> None:
    """Raise ValueError unless every given column is as long as the values."""
    for other in others:
        if other is not None and len(other) != len(values):
            msg = f"found a column of {len(other)} beside {len(values)} values, expected equal lengths"
            raise ValueError(msg)
