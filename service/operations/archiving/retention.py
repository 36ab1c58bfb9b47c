"""Deletes old archive files by age and size, but never what a kept version or an unfinished replay still needs."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from service.domain.registry.archive import (
    BACKFILL_SUFFIX,
    ArchivedPartition,
    ArchiveFileInfo,
    deletable_files,
    model_topics,
)
from service.domain.registry.registry import Lineage, LineageRole, RegisteredModel, Version
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import TopicPartition
from service.domain.stream.position import Position
from service.operations.services import ArchivingServices, Services


@dataclass(frozen=True, slots=True)
class RetentionFloor:
    """The first offset of a partition that must be kept, and who needs it."""

    offset: int
    reason: str


def apply_retention(
    services: Services, archiving: ArchivingServices, *, retention_s: float | None, max_bytes: int | None
) -> dict[str, str]:
    """Delete files older than `retention_s` seconds, or beyond `max_bytes` in all, as far as nobody needs them.

    Return for each partition what was deleted and what keeps the rest; backfills are never deleted.
    """
    rows = [row for row in archiving.rows.list() if not row.at.topic.endswith(BACKFILL_SUFFIX)]
    if retention_s is None and max_bytes is None:
        return {}
    listed = {row.at: archiving.files.sizes(row.at) for row in rows}
    floors = retention_floors(services)
    deleted = deletable_files(
        {row.at: _complete_files(archiving, row, listed[row.at]) for row in rows},
        {(at, first): size for at, sizes in listed.items() for first, size in sizes.items()},
        floors={at: floor.offset for at, floor in floors.items()},
        oldest_ms=None if retention_s is None else int((time.time() - retention_s) * 1000),
        max_bytes=max_bytes,
    )
    outcomes = {}
    for row in rows:
        files = [file for file in deleted if file.at == row.at]
        _delete_files(archiving, row, files, listed[row.at])
        outcomes[_archive_name(row.at)] = _describe_outcome(row, files, floors.get(row.at))
    return outcomes


def retention_floors(services: Services) -> Mapping[TopicPartition, RetentionFloor]:
    """Return for each archived partition the lowest offset from which a version or a replay may have to read."""
    found: dict[TopicPartition, RetentionFloor] = {}
    archives = services.archiving.rows.list() if services.archiving else ()
    for model in services.registry.models.list():
        topics = model_topics(ModelSpec.model_validate(model.spec))
        for position, reason in _needed_positions(services, model):
            for row in archives:
                if row.at.topic in topics:
                    floor = RetentionFloor(position.offsets.get(row.at, row.first), reason)
                    found[row.at] = min(found.get(row.at, floor), floor, key=lambda one: one.offset)
    return found


def _needed_positions(services: Services, model: RegisteredModel) -> Iterator[tuple[Position, str]]:
    versions = {version.number: version for version in services.registry.history.versions(model.name)}
    for alias, number in services.registry.history.aliases(model.name).items():
        yield versions[number].position, f"version {number} of {model.name}, which is called {alias}, needs them"
    for lineage in services.registry.history.lineages(model.name):
        if lineage.role is LineageRole.REPLAYING:
            yield from _replay_positions(services, lineage, versions[lineage.origin])
        elif lineage.role is not LineageRole.RETIRED:
            newest = max((one.number for one in versions.values() if one.lineage == lineage.id), default=lineage.origin)
            what = f"version {newest} of {model.name}, the newest of its {lineage.role}, needs them"
            yield versions[newest].position, f"{what}; `headrace model snapshot {model.name}` makes a newer one"


def _replay_positions(services: Services, lineage: Lineage, origin: Version) -> Iterator[tuple[Position, str]]:
    """Yield the positions of all checkpoints that the replay may fall back to."""
    checkpoints = services.registry.checkpoints.newest_first(lineage.id)
    positions = [one.position for one in checkpoints] or [origin.position]
    for position in positions:
        yield position, f"a replay of {lineage.model} still needs them"


def _complete_files(
    archiving: ArchivingServices, row: ArchivedPartition, sizes: Mapping[int, int]
) -> Iterator[ArchiveFileInfo]:
    """Yield the files oldest first, without the newest and without remains of an interrupted deletion."""
    for first in list(sizes)[:-1]:
        facts = archiving.ranges.file_info(row.at, first)
        if facts.end > row.first:
            yield facts


def _delete_files(
    archiving: ArchivingServices, row: ArchivedPartition, deleted: list[ArchiveFileInfo], sizes: Mapping[int, int]
) -> None:
    first = row.first  # the row is updated before the files are deleted, so that no reader looks for a deleted file
    if deleted:
        first = deleted[-1].end
        size = sum(sizes[file.first] for file in deleted)
        archiving.rows.drop_before(row.at, first=first, records=sum(file.records for file in deleted), size_bytes=size)
    for name in list(sizes)[:-1]:
        if name >= first or archiving.ranges.file_info(row.at, name).end > first:
            break
        archiving.files.delete(row.at, name)


def _describe_outcome(row: ArchivedPartition, deleted: list[ArchiveFileInfo], floor: RetentionFloor | None) -> str:
    text = f"{len(deleted)} files deleted, it begins at offset {deleted[-1].end if deleted else row.first}"
    return text if floor is None else f"{text}; the records from offset {floor.offset} on are kept: {floor.reason}"


def _archive_name(at: TopicPartition) -> str:
    return f"archive {at.topic}[{at.partition}]"
