"""Values of the archive: topics, offset ranges, spans, files, and leases on partitions."""

import hashlib
import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Records, TopicPartition

BACKFILL_SUFFIX = "@backfill"
"""Suffix of an archived topic that no broker has; Kafka allows no `@` in topic names."""


EVENT, LABEL, REFUSED = 0, 1, 2
"""The values of the column `kind` in archive frames."""


class ArchiveStep(StrEnum):
    """The steps by which archived records become durable, in order."""

    FILE_WRITTEN = "archive_file_written"
    FILE_SYNCED = "archive_file_synced"
    FILE_RENAMED = "archive_file_renamed"
    ROW_BEGUN = "archive_row_begun"
    ROW_PROVED = "archive_row_proved"
    ROW_COMMITTED = "archive_row_committed"
    ACKNOWLEDGED = "archive_acknowledged"


class ArchivedSpan(NamedTuple):
    """Offsets `first` up to but not including `next` that were read completely and decoded with one mapping."""

    first: int
    next: int
    mapping: str


@dataclass(frozen=True, slots=True)
class ArchivedTopic:
    """An archived topic, the model whose mapping defines its columns, and whether every record's bytes are kept."""

    topic: str
    spec: ModelSpec
    raw: bool

    @property
    def mapping(self) -> str:
        """Return the digest of the settings that decide how records become columns."""
        return mapping_digest(self.spec, self.topic)


@dataclass(frozen=True, slots=True)
class ArchivedPartition:
    """The archive's progress in one partition, and the lease to write it until `expires_at` under `epoch`."""

    at: TopicPartition
    first: int
    next: int
    records: int
    bytes: int
    holder: str
    epoch: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ArchiveFileInfo:
    """A file's metadata: its offset range, the spans it covers, its rows, and its newest timestamp."""

    at: TopicPartition
    first: int
    end: int
    spans: Sequence[ArchivedSpan]
    records: int
    newest_ms: int
    source: str = ""

    @property
    def next(self) -> int:
        """Return the offset after the last covered one."""
        return self.spans[-1].next if self.spans else self.first

    @property
    def is_full(self) -> bool:
        """Return whether the file covers its whole range."""
        return self.next >= self.end


@dataclass(frozen=True, slots=True)
class ArchiveFileContents:
    """A file's metadata with the offset and timestamp (epoch milliseconds) of each record."""

    facts: ArchiveFileInfo
    offsets: Sequence[int]
    timestamps: Sequence[int]


@dataclass(frozen=True, slots=True)
class BackfillResult:
    """The result of a backfill: records, how many of them the decoder refuses, and bytes written."""

    records: int
    refused: int
    bytes: int


def mapping_digest(spec: ModelSpec, topic: str) -> str:
    """Return a digest that is equal for specifications that decode this topic into the same columns.

    The limits of the guard do not count: what was accepted under other limits stays accepted.
    """
    data = spec.model_dump(mode="json")
    columns = {
        "task": data["task"],
        "events": data["fields"] if topic == spec.events else False,
        "labels": data["label_fields"] if topic == spec.labels else False,
    }
    return hashlib.sha256(json.dumps(columns, sort_keys=True).encode()).hexdigest()[:16]


def model_topics(spec: ModelSpec) -> Sequence[str]:
    """Return every topic that the model reads."""
    return list(dict.fromkeys([spec.events, *([spec.labels] if spec.labels else [])]))


def archived_topics(specs: Sequence[ModelSpec], *, raw: bool) -> Sequence[ArchivedTopic]:
    """Return each topic once; if models map it differently, the first one's mapping counts and all bytes are kept."""
    found: dict[str, ArchivedTopic] = {}
    for spec in specs:
        for topic in model_topics(spec):
            known = found.get(topic)
            if known is None:
                found[topic] = ArchivedTopic(topic, spec, raw)
            elif known.mapping != mapping_digest(spec, topic):
                found[topic] = ArchivedTopic(topic, known.spec, raw=True)
    return list(found.values())


def backfill_topic(topic: str) -> str:
    """Return the archived topic for history from before the topic's own archive."""
    return f"{topic}{BACKFILL_SUFFIX}"


def origin_topic(topic: str) -> str:
    """Return the topic that an archived topic belongs to; the inverse of `backfill_topic`."""
    return topic.removesuffix(BACKFILL_SUFFIX)


def range_end(first: int, size: int) -> int:
    """Return the next multiple of `size` above `first`; ranges are aligned to it wherever they begin."""
    return first - first % size + size


def split_records(records: Records, end: int) -> tuple[Records, Records | None]:
    """Split the records at offset `end`; the second part is None if nothing lies beyond it."""
    if records.next_offset <= end:
        return records, None
    cut = bisect_left(records.offsets, end)
    parts = [
        (records.offsets[part], records.timestamps[part], records.values[part])
        for part in (slice(cut), slice(cut, None))
    ]
    return Records(records.at, *parts[0], end), Records(records.at, *parts[1], records.next_offset)


def as_origin_topic(records: Records) -> Records:
    """Return the records under their original topic name, by which decoders tell events from labels."""
    topic = origin_topic(records.at.topic)
    return records if topic == records.at.topic else replace(records, at=TopicPartition(topic, records.at.partition))


def merge_spans(spans: Iterable[ArchivedSpan]) -> list[ArchivedSpan]:
    """Join adjacent spans of one mapping and drop empty ones; the coverage stays the same."""
    found: list[ArchivedSpan] = []
    for span in spans:
        if span.first >= span.next:
            continue
        top = found[-1] if found else None
        if top and top.next == span.first and top.mapping == span.mapping:
            found[-1] = ArchivedSpan(top.first, span.next, span.mapping)
        else:
            found.append(span)
    return found


def missing_ranges(spans: Iterable[ArchivedSpan], first: int, last: int) -> list[tuple[int, int]]:
    """Return the parts of `first` up to but not including `last` that no span covers."""
    gaps: list[tuple[int, int]] = []
    for span in sorted(spans):
        if span.first > first and first < last:
            gaps.append((first, min(span.first, last)))
        first = max(first, span.next)
    if first < last:
        gaps.append((first, last))
    return gaps


def deletable_files(
    files: Mapping[TopicPartition, Iterator[ArchiveFileInfo]],
    sizes: Mapping[tuple[TopicPartition, int], int],
    *,
    floors: Mapping[TopicPartition, int],
    oldest_ms: int | None,
    max_bytes: int | None,
) -> list[ArchiveFileInfo]:
    """Return files older than `oldest_ms`, and then the oldest until the total fits `max_bytes`.

    A partition loses files from its beginning only, and none that reaches past its floor. The file whose newest
    record is oldest goes first. Metadata behind the first file that stays is not read.
    """
    total = sum(sizes.values())
    deleted: list[ArchiveFileInfo] = []
    heads = [(one.newest_ms, one) for rest in files.values() if (one := next(rest, None)) is not None]
    while heads:
        newest_ms, file = min(heads, key=lambda head: (head[0], head[1].at))
        heads.remove((newest_ms, file))
        too_old = oldest_ms is not None and newest_ms < oldest_ms
        too_much = max_bytes is not None and total > max_bytes
        if file.end > floors.get(file.at, file.end) or not (too_old or too_much):
            continue
        total -= sizes.get((file.at, file.first), 0)
        deleted.append(file)
        following = next(files[file.at], None)
        if following is not None:  # timestamps may go back, and a partition is only cut at its beginning
            heads.append((max(newest_ms, following.newest_ms), following))
    return deleted
