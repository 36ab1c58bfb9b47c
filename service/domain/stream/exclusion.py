"""Exclusions: parts of the stream that no lineage may learn again."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from service.domain.stream.events import TopicPartition
from service.domain.stream.position import OffsetRange
from service.errors import ConfigurationError

RANGE_FORMATS = "1000..2000, 3:1000..2000, topic/3:1000..2000 or 2026-01-31T12:00Z..2026-01-31T13:00Z"
_OFFSETS = re.compile(r"(?:(?:([\w.-]+)/)?(\d+):)?(\d+)\.\.(\d+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Records with a timestamp of `since` or later and before `until`, in all topics of a model."""

    since: datetime
    until: datetime

    @property
    def bounds_ms(self) -> tuple[int, int]:
        """Return both ends in epoch milliseconds."""
        return int(self.since.timestamp() * 1000), int(self.until.timestamp() * 1000)

    def contains(self, timestamp_ms: int) -> bool:
        """Return whether the range contains a record's timestamp."""
        since, until = self.bounds_ms
        return since <= timestamp_ms < until

    def __str__(self) -> str:
        """Return the form that the command line takes."""
        return f"{self.since.isoformat()}..{self.until.isoformat()}"


ExcludedRange: TypeAlias = OffsetRange | TimeRange
"""An excluded part: offsets of one partition, or a range of times."""


@dataclass(frozen=True, slots=True)
class Exclusion:
    """An excluded part of a model's stream: who excluded it, when and why; `id` is 0 before it is stored."""

    excluded_range: ExcludedRange
    reason: str = ""
    created_by: str = ""
    id: int = 0
    created_at: datetime | None = None
    removed_by: str | None = None
    removed_at: datetime | None = None


def format_range(excluded: ExcludedRange) -> str:
    """Return the range in the form that the command line takes."""
    if isinstance(excluded, TimeRange):
        return str(excluded)
    return f"{excluded.topic}/{excluded.partition}:{excluded.first}..{excluded.last}"


def parse_range(text: str, partitions: Sequence[TopicPartition], *, events: str) -> ExcludedRange:
    """Parse a user's FROM..TO, or raise ConfigurationError; `events` is the topic of a range that names none."""
    found = _OFFSETS.fullmatch(text.strip())
    if found is None:
        return _parse_times(text)
    topic = found[1] or events
    at = TopicPartition(topic, int(found[2]) if found[2] else _only_partition(text, partitions, topic=topic))
    run = OffsetRange(at.topic, at.partition, int(found[3]), int(found[4]))
    if at not in partitions:
        known = ", ".join(f"{one.topic}/{one.partition}" for one in sorted(partitions))
        msg = f"found {text!r}, expected one of the model's partitions: {known}"
        raise ConfigurationError(msg)
    if run.first >= run.last:
        msg = f"found {text!r}, expected FROM before TO: TO is the first offset that is not excluded"
        raise ConfigurationError(msg)
    return run


def offset_ranges(excluded: Sequence[ExcludedRange]) -> list[OffsetRange]:
    """Return the ranges that are given by offsets."""
    return [one for one in excluded if isinstance(one, OffsetRange)]


def time_ranges(excluded: Sequence[ExcludedRange]) -> list[TimeRange]:
    """Return the ranges that are given by time."""
    return [one for one in excluded if isinstance(one, TimeRange)]


def _only_partition(text: str, partitions: Sequence[TopicPartition], *, topic: str) -> int:
    numbers = [at.partition for at in partitions if at.topic == topic]
    if len(numbers) != 1:
        msg = (
            f"found {text!r} and {len(numbers)} partitions of {topic}, expected PARTITION:FROM..TO such as 0:{text}; "
            "an offset alone names a record only where there is one partition"
        )
        raise ConfigurationError(msg)
    return numbers[0]


def _parse_times(text: str) -> TimeRange:
    first, _, last = text.partition("..")
    try:
        found = TimeRange(datetime.fromisoformat(first.strip()), datetime.fromisoformat(last.strip()))
    except ValueError as error:
        msg = f"found {text!r}, expected FROM..TO as in {RANGE_FORMATS}"
        raise ConfigurationError(msg) from error
    if found.since.tzinfo is None or found.until.tzinfo is None:
        msg = f"found {text!r} without a zone, expected times such as 2026-01-31T12:00Z"
        raise ConfigurationError(msg)
    if found.since >= found.until:
        msg = f"found {text!r}, expected FROM before TO: TO is the first moment that is not excluded"
        raise ConfigurationError(msg)
    return found
