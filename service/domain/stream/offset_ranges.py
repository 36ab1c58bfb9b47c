"""Set operations on offset ranges that keep the order in which they were learned. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from service.domain.stream.events import TopicPartition
from service.domain.stream.position import OffsetRange, merge_ranges


def subtract_ranges(ranges: Iterable[OffsetRange], excluded: Iterable[OffsetRange]) -> list[OffsetRange]:
    """Return the ranges in the same order without the excluded offsets."""
    by_partition = _by_partition(excluded)
    return merge_ranges(part for run in ranges for part in _cut_out(run, by_partition.get(_partition_of(run), ())))


def overlaps(ranges: Iterable[OffsetRange], excluded: Iterable[OffsetRange]) -> bool:
    """Return whether any offset is in both."""
    by_partition = _by_partition(excluded)
    return any(_overlap(run, excluded) for run in ranges for excluded in by_partition.get(_partition_of(run), ()))


def offset_count(ranges: Iterable[OffsetRange]) -> int:
    """Return the number of offsets, including those without a record."""
    return sum(run.last - run.first for run in ranges)


def union_ranges(ranges: Iterable[OffsetRange]) -> list[OffsetRange]:
    """Return the same offsets sorted, each once, in as few ranges as possible."""
    found: list[OffsetRange] = []
    for run in sorted(merge_ranges(ranges), key=lambda one: (one.topic, one.partition, one.first)):
        top = found[-1] if found else None
        if top and _partition_of(top) == _partition_of(run) and run.first <= top.last:
            found[-1] = OffsetRange(top.topic, top.partition, top.first, max(top.last, run.last))
        else:
            found.append(run)
    return found


def prefix_covering(ranges: Iterable[OffsetRange], learned: Iterable[OffsetRange]) -> list[OffsetRange]:
    """Return the shortest beginning of `ranges` that contains all learned offsets, reduced to those offsets."""
    wanted = union_ranges(learned)
    missing, found = list(wanted), list[OffsetRange]()
    for run in ranges:
        if not missing:
            break
        found += _common(run, wanted)
        missing = subtract_ranges(missing, [run])
    return merge_ranges(found)


def in_order_of(ranges: Iterable[OffsetRange], wanted: Iterable[OffsetRange]) -> list[OffsetRange]:
    """Return all of `wanted`, each offset once, in the order of `ranges`, which must not repeat offsets.

    An offset that `ranges` lacks goes before the next later one of its partition, or at the end.
    """
    whole = union_ranges(wanted)
    lacking, found = subtract_ranges(whole, ranges := merge_ranges(ranges)), list[OffsetRange]()
    for run in ranges:
        for part in _common(run, whole):
            earlier = [one for one in lacking if _partition_of(one) == _partition_of(part) and one.first < part.first]
            found += [*earlier, part]
            lacking = subtract_ranges(lacking, earlier) if earlier else lacking
    return merge_ranges([*found, *lacking])


def starts_with(ranges: Sequence[OffsetRange], done: Sequence[OffsetRange]) -> bool:
    """Return whether `ranges`, offset by offset, begins with all of `done`."""
    rest = iter(ranges)
    here: OffsetRange | None = None
    for step in done:
        left = step
        while left.first < left.last:
            here = here if here is not None and here.first < here.last else next(rest, None)
            if here is None or _partition_of(here) != _partition_of(left) or here.first != left.first:
                return False
            cut = min(here.last, left.last)
            here, left = _starting_at(here, cut), _starting_at(left, cut)
    return True


def remainder_after(ranges: Sequence[OffsetRange], done: Iterable[OffsetRange]) -> list[OffsetRange]:
    """Return the part of `ranges` behind the last offset of `done`, which has learned a beginning of them.

    Offsets in between that `done` lacks held no record where it was learned, and are skipped.
    """
    rest = list(reversed(ranges))
    for step in merge_ranges(done):
        left: OffsetRange | None = step
        while left is not None and rest:
            here = rest.pop()
            if not _overlap(here, left):
                continue
            cut = min(here.last, left.last)
            left = _starting_at(left, cut) if cut < left.last else None
            rest.append(_starting_at(here, cut))
    return merge_ranges(reversed(rest))


def end_offsets(ranges: Iterable[OffsetRange]) -> Mapping[TopicPartition, int]:
    """Return the offset behind the last one of each partition."""
    found: dict[TopicPartition, int] = {}
    for run in ranges:
        found[_partition_of(run)] = max(found.get(_partition_of(run), run.last), run.last)
    return found


def _common(run: OffsetRange, others: Iterable[OffsetRange]) -> Iterator[OffsetRange]:
    for other in others:
        if _overlap(run, other):
            yield OffsetRange(run.topic, run.partition, max(run.first, other.first), min(run.last, other.last))


def _overlap(one: OffsetRange, other: OffsetRange) -> bool:
    return _partition_of(one) == _partition_of(other) and max(one.first, other.first) < min(one.last, other.last)


def _cut_out(run: OffsetRange, excluded: Iterable[OffsetRange]) -> Iterator[OffsetRange]:
    """Yield the parts of a run between the excluded ranges, which are sorted."""
    first = run.first
    for excluded_range in excluded:
        if excluded_range.last <= first or excluded_range.first >= run.last:
            continue
        yield OffsetRange(run.topic, run.partition, first, max(first, excluded_range.first))
        first = excluded_range.last
    yield OffsetRange(run.topic, run.partition, min(first, run.last), run.last)


def _starting_at(run: OffsetRange, first: int) -> OffsetRange:
    return OffsetRange(run.topic, run.partition, first, run.last)


def _partition_of(run: OffsetRange) -> TopicPartition:
    return TopicPartition(run.topic, run.partition)


def _by_partition(excluded: Iterable[OffsetRange]) -> Mapping[TopicPartition, Sequence[OffsetRange]]:
    found: dict[TopicPartition, list[OffsetRange]] = defaultdict(list)
    for excluded_range in union_ranges(excluded):
        found[_partition_of(excluded_range)].append(excluded_range)
    return found
