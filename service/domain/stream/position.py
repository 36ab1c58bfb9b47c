"""Positions in the stream, and ranges of offsets."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self, TypeAlias

from service.domain.stream.events import TopicPartition

PositionJson: TypeAlias = dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True)
class Position:
    """The next offset to read in each partition."""

    offsets: Mapping[TopicPartition, int] = field(default_factory=dict)

    def to_json(self) -> PositionJson:
        """Return `{topic: {partition: next offset}}`."""
        found: PositionJson = {}
        for (topic, partition), offset in sorted(self.offsets.items()):
            found.setdefault(topic, {})[str(partition)] = offset
        return found

    @classmethod
    def from_json(cls, data: Mapping[str, Mapping[str, int]]) -> Self:
        """Read what `to_json` has written."""
        return cls(
            {
                TopicPartition(topic, int(partition)): offset
                for topic, partitions in data.items()
                for partition, offset in partitions.items()
            }
        )

    def advanced(self, offsets: Mapping[TopicPartition, int]) -> Self:
        """Return this position with the given partitions moved."""
        return type(self)({**self.offsets, **offsets})

    def __str__(self) -> str:
        """Return a short form for messages: `topic[partition]@offset`."""
        return ", ".join(f"{t}[{p}]@{o}" for (t, p), o in sorted(self.offsets.items())) or "nowhere"


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """Offsets `first` up to but not including `last` of one partition, learned consecutively."""

    topic: str
    partition: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class OffsetBounds:
    """The offsets a partition holds: `start` up to but not including `end`."""

    start: int
    end: int


def merge_ranges(ranges: Iterable[OffsetRange]) -> list[OffsetRange]:
    """Join adjacent ranges of one partition and drop empty ones; the order of learning stays."""
    found: list[OffsetRange] = []
    for run in ranges:
        if run.first == run.last:
            continue
        top = found[-1] if found else None
        if top and (top.topic, top.partition, top.last) == (run.topic, run.partition, run.first):
            found[-1] = OffsetRange(top.topic, top.partition, top.first, run.last)
        else:
            found.append(run)
    return found
