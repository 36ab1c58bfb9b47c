"""Reads runs from the archive without what is excluded, and reports what the archive lacks."""

from collections.abc import Iterator, Sequence

from service.domain.stream.events import SkippedOffsets, TopicPartition
from service.domain.stream.exclusion import ExcludedRange, offset_ranges, time_ranges
from service.domain.stream.offset_ranges import subtract_ranges
from service.domain.stream.position import OffsetBounds, OffsetRange
from service.errors import BelowStartError
from service.operations.history.record_runs import ConsumedItem
from service.ports.archive import Archive


def read_archived(
    run: OffsetRange, archive: Archive, *, excluded_ranges: Sequence[ExcludedRange] = ()
) -> Iterator[ConsumedItem]:
    """Yield the run as the archive holds it; excluded offsets are not read and come as SkippedOffsets."""
    at, reached = TopicPartition(run.topic, run.partition), run.first
    for part in subtract_ranges(
        [run], [*offset_ranges(excluded_ranges), *excluded_by_time(run, archive, excluded_ranges=excluded_ranges)]
    ):
        if reached < part.first:
            yield SkippedOffsets(at, reached, part.first)
        yield from archive.read(at, part.first, part.last)
        reached = part.last
    if reached < run.last:
        yield SkippedOffsets(at, reached, run.last)


def excluded_by_time(
    run: OffsetRange, archive: Archive, *, excluded_ranges: Sequence[ExcludedRange]
) -> Iterator[OffsetRange]:
    """Yield the offsets of the run whose records have timestamps in an excluded time range."""
    at, run_bounds = TopicPartition(run.topic, run.partition), OffsetBounds(run.first, run.last)
    for since_ms, until_ms in [one.bounds_ms for one in time_ranges(excluded_ranges)]:
        yield from archive.runs_between(at, run_bounds, since_ms=since_ms, until_ms=until_ms)


def missing_from_archive(runs: Sequence[OffsetRange], archive: Archive) -> list[OffsetRange]:
    """Return those of the runs that the archive does not hold completely."""
    if not runs:
        return []
    archived_bounds = archive.bounds(sorted({run.topic for run in runs}))
    return [run for run in runs if not _covers(archived_bounds.get(TopicPartition(run.topic, run.partition)), run)]


def gap_error(missing: Sequence[OffsetRange], archive: Archive) -> BelowStartError:
    """Return an error that says what is missing, what the archive holds, and which command goes on without it."""
    run = missing[0]
    archived_bounds = archive.bounds([run.topic]).get(TopicPartition(run.topic, run.partition))
    kept = (
        f"the archive holds {archived_bounds.start} to {archived_bounds.end}"
        if archived_bounds
        else "no archive holds them"
    )
    return BelowStartError(
        f"{run.topic}[{run.partition}]: found the position at offset {run.first}, expected {run.last} or later: "
        f"retention has deleted {run.last - run.first} offsets that were not read, and {kept}. "
        f"`headrace learn --accept-gap` goes on without them"
    )


def _covers(archived_bounds: OffsetBounds | None, run: OffsetRange) -> bool:
    return archived_bounds is not None and archived_bounds.start <= run.first and run.last <= archived_bounds.end
