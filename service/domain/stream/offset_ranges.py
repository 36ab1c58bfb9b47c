"""Runs in the order of learning, as one sequence of offsets: cut, leave out, compare. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from service.domain.stream.events import TopicPartition
from service.domain.stream.position import Run, merged


def minus(runs: Iterable[Run], holes: Iterable[Run]) -> list[Run]:
    """The same order without the offsets of the holes."""
    by_partition = _by_partition(holes)
    return merged(part for run in runs for part in _without(run, by_partition.get(_at(run), ())))


def touches(runs: Iterable[Run], holes: Iterable[Run]) -> bool:
    """Whether any offset is in both."""
    by_partition = _by_partition(holes)
    return any(_overlap(run, hole) for run in runs for hole in by_partition.get(_at(run), ()))


def size(runs: Iterable[Run]) -> int:
    """How many offsets, those without a record too."""
    return sum(run.last - run.first for run in runs)


def union(runs: Iterable[Run]) -> list[Run]:
    """The same offsets sorted, each once, in as few runs as can be."""
    found: list[Run] = []
    for run in sorted(merged(runs), key=lambda one: (one.topic, one.partition, one.first)):
        top = found[-1] if found else None
        if top and _at(top) == _at(run) and run.first <= top.last:
            found[-1] = Run(top.topic, top.partition, top.first, max(top.last, run.last))
        else:
            found.append(run)
    return found


def until(runs: Iterable[Run], learned: Iterable[Run]) -> list[Run]:
    """The beginning of an order that has learned exactly these offsets."""
    wanted = union(learned)
    missing, found = list(wanted), list[Run]()
    for run in runs:
        if not missing:
            break
        found += _common(run, wanted)
        missing = minus(missing, [run])
    return merged(found)


def within(runs: Iterable[Run], wanted: Iterable[Run]) -> list[Run]:
    """All of `wanted`, each offset once, in the order of `runs`, which has none twice.

    What `runs` lacks stands before what follows it in its partition, or at the end.
    """
    whole = union(wanted)
    lacking, found = minus(whole, runs := merged(runs)), list[Run]()
    for run in runs:
        for part in _common(run, whole):
            earlier = [one for one in lacking if _at(one) == _at(part) and one.first < part.first]
            found += [*earlier, part]
            lacking = minus(lacking, earlier) if earlier else lacking
    return merged([*found, *lacking])


def begins_with(runs: Sequence[Run], done: Sequence[Run]) -> bool:
    """Whether `runs`, offset by offset, begins with all of `done`."""
    rest = iter(runs)
    here: Run | None = None
    for step in done:
        left = step
        while left.first < left.last:
            here = here if here is not None and here.first < here.last else next(rest, None)
            if here is None or _at(here) != _at(left) or here.first != left.first:
                return False
            border = min(here.last, left.last)
            here, left = _from(here, border), _from(left, border)
    return True


def beyond(runs: Sequence[Run], done: Iterable[Run]) -> list[Run]:
    """What of `runs` comes behind the last offset of `done`, which has learned a beginning of them.

    Offsets that `done` lacks in between held no record where it was learned, and are passed.
    """
    rest = list(reversed(runs))
    for step in merged(done):
        left: Run | None = step
        while left is not None and rest:
            here = rest.pop()
            if not _overlap(here, left):
                continue
            border = min(here.last, left.last)
            left = _from(left, border) if border < left.last else None
            rest.append(_from(here, border))
    return merged(reversed(rest))


def highest(runs: Iterable[Run]) -> Mapping[TopicPartition, int]:
    """The offset behind the last of each partition."""
    found: dict[TopicPartition, int] = {}
    for run in runs:
        found[_at(run)] = max(found.get(_at(run), run.last), run.last)
    return found


def _common(run: Run, others: Iterable[Run]) -> Iterator[Run]:
    for other in others:
        if _overlap(run, other):
            yield Run(run.topic, run.partition, max(run.first, other.first), min(run.last, other.last))


def _overlap(one: Run, other: Run) -> bool:
    return _at(one) == _at(other) and max(one.first, other.first) < min(one.last, other.last)


def _without(run: Run, holes: Iterable[Run]) -> Iterator[Run]:
    """The parts of a run between the holes, which are sorted."""
    first = run.first
    for hole in holes:
        if hole.last <= first or hole.first >= run.last:
            continue
        yield Run(run.topic, run.partition, first, max(first, hole.first))
        first = hole.last
    yield Run(run.topic, run.partition, min(first, run.last), run.last)


def _from(run: Run, first: int) -> Run:
    return Run(run.topic, run.partition, first, run.last)


def _at(run: Run) -> TopicPartition:
    return TopicPartition(run.topic, run.partition)


def _by_partition(holes: Iterable[Run]) -> Mapping[TopicPartition, Sequence[Run]]:
    found: dict[TopicPartition, list[Run]] = defaultdict(list)
    for hole in union(holes):
        found[_at(hole)].append(hole)
    return found
