"""Reading the archive: what it lacks, and its runs without what is excluded."""

from collections.abc import Iterator, Sequence

from service.domain.stream.events import Skipped, TopicPartition
from service.domain.stream.exclusion import Stretch, offsets, times
from service.domain.stream.offset_ranges import minus
from service.domain.stream.position import Bounds, Run
from service.errors import BelowStartError
from service.operations.history.record_runs import FeedItem
from service.ports.archive import Archive


def archived(run: Run, archive: Archive, *, exclusions: Sequence[Stretch] = ()) -> Iterator[FeedItem]:
    """The run as the archive has it; what is excluded is Skipped, and not even read."""
    at, reached = TopicPartition(run.topic, run.partition), run.first
    for part in minus([run], [*offsets(exclusions), *excluded_by_time(run, archive, exclusions=exclusions)]):
        if reached < part.first:
            yield Skipped(at, reached, part.first)
        yield from archive.read(at, part.first, part.last)
        reached = part.last
    if reached < run.last:
        yield Skipped(at, reached, run.last)


def excluded_by_time(run: Run, archive: Archive, *, exclusions: Sequence[Stretch]) -> Iterator[Run]:
    """The offsets of the run whose records have timestamps in an excluded range."""
    at, held = TopicPartition(run.topic, run.partition), Bounds(run.first, run.last)
    for since_ms, until_ms in [one.ms for one in times(exclusions)]:
        yield from archive.within(at, held, since_ms=since_ms, until_ms=until_ms)


def lacking(runs: Sequence[Run], archive: Archive) -> list[Run]:
    """Those of the runs that the archive does not hold whole."""
    if not runs:
        return []
    held = archive.bounds(sorted({run.topic for run in runs}))
    return [run for run in runs if not _holds(held.get(TopicPartition(run.topic, run.partition)), run)]


def gap(missing: Sequence[Run], archive: Archive) -> BelowStartError:
    """What is missing, where, and which command goes on without it."""
    run = missing[0]
    held = archive.bounds([run.topic]).get(TopicPartition(run.topic, run.partition))
    kept = f"the archive holds {held.start} to {held.end}" if held else "no archive holds them"
    return BelowStartError(
        f"{run.topic}[{run.partition}]: found the position at offset {run.first}, expected {run.last} or later: "
        f"retention has deleted {run.last - run.first} offsets that were not read, and {kept}. "
        f"`headrace learn --accept-gap` goes on without them"
    )


def _holds(held: Bounds | None, run: Run) -> bool:
    return held is not None and held.start <= run.first and run.last <= held.end
