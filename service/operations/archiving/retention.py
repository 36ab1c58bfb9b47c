"""What the archive may forget: by age and size, and never what a kept version or an open replay still needs."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from service.domain.registry.archive import BACKFILL, Archived, FileFacts, deletable, topics_of
from service.domain.registry.registry import Lineage, Model, Role, Version
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import TopicPartition
from service.domain.stream.position import Position
from service.operations.services import Archiving, Services


@dataclass(frozen=True, slots=True)
class Floor:
    """The first offset that must stay, and for whom."""

    offset: int
    reason: str


def apply_retention(
    services: Services, parts: Archiving, *, keep_s: float | None, max_bytes: int | None
) -> dict[str, str]:
    """Delete what may go; what became of each partition's archive, and why no more went."""
    rows = [row for row in parts.rows.list() if not row.at.topic.endswith(BACKFILL)]
    if keep_s is None and max_bytes is None:
        return {}
    listed = {row.at: parts.files.sizes(row.at) for row in rows}
    floors = floors_of(services)
    gone = deletable(
        {row.at: _files(parts, row, listed[row.at]) for row in rows},
        {(at, first): size for at, sizes in listed.items() for first, size in sizes.items()},
        floors={at: floor.offset for at, floor in floors.items()},
        oldest_ms=None if keep_s is None else int((time.time() - keep_s) * 1000),
        max_bytes=max_bytes,
    )
    outcomes = {}
    for row in rows:
        files = [file for file in gone if file.at == row.at]
        _forget(parts, row, files, listed[row.at])
        outcomes[_name(row.at)] = _outcome(row, files, floors.get(row.at))
    return outcomes


def floors_of(services: Services) -> Mapping[TopicPartition, Floor]:
    """For each partition the lowest position from which somebody may have to read on."""
    found: dict[TopicPartition, Floor] = {}
    archives = services.archiving.rows.list() if services.archiving else ()
    for model in services.models.list():
        topics = topics_of(ModelSpec.model_validate(model.spec))
        for position, reason in _needed(services, model):
            for row in archives:
                if row.at.topic in topics:
                    floor = Floor(position.offsets.get(row.at, row.first), reason)
                    found[row.at] = min(found.get(row.at, floor), floor, key=lambda one: one.offset)
    return found


def _needed(services: Services, model: Model) -> Iterator[tuple[Position, str]]:
    versions = {version.number: version for version in services.history.versions(model.name)}
    for alias, number in services.history.aliases(model.name).items():
        yield versions[number].position, f"version {number} of {model.name}, which is called {alias}, needs"
    for lineage in services.history.lineages(model.name):
        if lineage.role is Role.REPLAYING:
            yield from _replaying(services, lineage, versions[lineage.origin])
        elif lineage.role is not Role.RETIRED:
            newest = max((one.number for one in versions.values() if one.lineage == lineage.id), default=lineage.origin)
            what = f"version {newest} of {model.name}, the newest of its {lineage.role}, needs"
            yield versions[newest].position, f"{what}; `headrace model snapshot {model.name}` makes a newer one"


def _replaying(services: Services, lineage: Lineage, origin: Version) -> Iterator[tuple[Position, str]]:
    """From the oldest checkpoint it may fall back to."""
    checkpoints = services.checkpoints.newest_first(lineage.id)
    positions = [one.position for one in checkpoints] or [origin.position]
    for position in positions:
        yield position, f"a replay of {lineage.model} still needs"


def _files(parts: Archiving, row: Archived, sizes: Mapping[int, int]) -> Iterator[FileFacts]:
    """Oldest first, without the newest, and without what a death has left below the beginning."""
    for first in list(sizes)[:-1]:
        facts = parts.ranges.facts(row.at, first)
        if facts.end > row.first:
            yield facts


def _forget(parts: Archiving, row: Archived, gone: list[FileFacts], sizes: Mapping[int, int]) -> None:
    """The row first: readers must not look for a file that is going."""
    first = row.first
    if gone:
        first = gone[-1].end
        size = sum(sizes[file.first] for file in gone)
        parts.rows.cut(row.at, first=first, records=sum(file.records for file in gone), size=size)
    for name in list(sizes)[:-1]:
        if name >= first or parts.ranges.facts(row.at, name).end > first:
            break
        parts.files.delete(row.at, name)


def _outcome(row: Archived, gone: list[FileFacts], floor: Floor | None) -> str:
    went = f"{len(gone)} files went, it begins at offset {gone[-1].end if gone else row.first}"
    return went if floor is None else f"{went}; what is from offset {floor.offset} on {floor.reason}"


def _name(at: TopicPartition) -> str:
    return f"archive {at.topic}[{at.partition}]"
