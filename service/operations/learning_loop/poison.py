"""Finding the record that kills the process: where it died before, records are taken one by one."""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeAlias

from service.domain.stream.events import Decoded, Reason, Records, Refusal, Skipped, TopicPartition
from service.domain.stream.position import Position, Run
from service.operations.history.record_runs import FeedItem, count_of, offsets_of, payload_of
from service.ports.artifacts import Footprint

Place: TypeAlias = tuple[TopicPartition, int]
"""A partition and an offset."""

DEATHS_THAT_CONVICT = 3
"""Two may be chance: few records are learned before a first commit, so that kills meet one of them again."""
DETAIL = f"the process died {DEATHS_THAT_CONVICT} times while learning it"
SUSPICIOUS_STARTS = 3
REACH = 2048
"""Offsets that are suspected where all that is known is the position at which starts failed."""


class Suspicion:
    """A death within many records makes all of them suspects; three within one record convict it.

    A process that is killed for reasons of its own dies in other records. `waiting` are records that
    lie behind the position and are not learned yet: they wait for a micro-batch to fill.
    """

    def __init__(
        self,
        footprint: Footprint,
        position: Position,
        *,
        starts: int,
        condemned: Collection[Place] = (),
        waiting: Collection[Place] = (),
    ) -> None:
        self._footprint = footprint
        self._begun: Run | None = None
        deaths = footprint.suspects()
        self._died = [run for run in deaths if _ahead(run, position) or _holds(run, waiting)]
        self._suspects = list(self._died)
        often = {run for run in self._suspects if deaths[run] >= DEATHS_THAT_CONVICT}
        self._convicted = {run for run in often if run.last - run.first == 1}
        known = [Run(at.topic, at.partition, offset, offset + 1) for at, offset in condemned]
        self._suspects += known
        self._convicted.update(known)
        self._noted = bool(deaths)
        if starts > SUSPICIOUS_STARTS:
            here = position.offsets.items()
            self._suspects += [Run(at.topic, at.partition, first, first + REACH) for at, first in here]

    def at_once(self, item: FeedItem, limit: int) -> int:
        """How many of these records may be learned together: one where the process has died."""
        if not self._suspects or isinstance(item, Skipped):
            return limit
        offsets = offsets_of(item)
        spans = [run for run in self._suspects if (run.topic, run.partition) == item.at]
        if not spans or not offsets:
            return limit
        if any(run.first <= offsets[0] < run.last for run in spans):
            return 1
        nearest = min((run.first for run in spans if run.first > offsets[0]), default=offsets[-1] + 1)
        return max(min(limit, bisect_left(offsets, nearest)), 1)

    def convicts(self, item: Records | Decoded) -> bool:
        """Whether this is one record, and it has killed the process."""
        return bool(self._convicted) and count_of(item) == 1 and _run(item) in self._convicted

    def convicted(self, places: Iterable[Place]) -> Sequence[Place]:
        """Those of these records that have killed the process."""
        return [(at, offset) for at, offset in places if _span(at, [offset]) in self._convicted]

    @property
    def watch(self) -> "Suspicion | None":
        """What is to be told of each micro-batch: itself, while anything is suspected."""
        return self if self._suspects else None

    def mark(self, at: TopicPartition, offsets: Sequence[int]) -> None:
        """These are being learned, of all that was begun."""
        self._footprint.mark(_span(at, offsets))

    def learned(self, at: TopicPartition, offsets: Sequence[int]) -> None:
        """They are scored, and the rest of what was begun is learned."""
        begun = self._begun or _span(at, offsets)
        self.mark(at, [*offsets, begun.first, begun.last - 1])

    def died_within(self, at: TopicPartition, offsets: Sequence[int]) -> bool:
        """Whether the process has died within some of these, and no others."""
        span = _span(at, offsets)
        here = [run for run in self._died if (run.topic, run.partition) == at]
        return any(span.first <= run.first and run.last <= span.last for run in here)

    def begin(self, item: Records | Decoded) -> None:
        """These are being learned."""
        if count_of(item):
            self._begun = _run(item)
            self._footprint.mark(self._begun)

    def end(self) -> None:
        """They are."""
        self._begun = None
        self._footprint.unmark()

    def committed(self, position: Position, waiting: Callable[[], Collection[Place]] = tuple) -> None:
        """What is behind a durable position, and does not wait, is suspected no longer."""
        if self._noted or self._suspects:
            places = waiting()
            self._suspects = [run for run in self._suspects if _ahead(run, position) or _holds(run, places)]
        if self._noted and not self._suspects:
            self._footprint.clear()
            self._noted = False


def refusal_of(item: Records | Decoded) -> Refusal:
    """Of the one record of this run, which has killed the process."""
    offset = _run(item).first
    return Refusal(offset, Reason.KILLED_PROCESS, DETAIL, payload_of(item, offset))


def _run(item: Records | Decoded) -> Run:
    """From the first record to the last."""
    if isinstance(item, Records):
        return Run(item.at.topic, item.at.partition, item.offsets[0], item.offsets[-1] + 1)
    ends = [(rows[0].offset, rows[-1].offset) for rows in (item.events, item.refusals, item.truths) if rows]
    return Run(item.at.topic, item.at.partition, min(first for first, _ in ends), max(last for _, last in ends) + 1)


def _span(at: TopicPartition, offsets: Sequence[int]) -> Run:
    return Run(at.topic, at.partition, min(offsets), max(offsets) + 1)


def _holds(run: Run, places: Collection[Place]) -> bool:
    here = (run.topic, run.partition)
    return any(at == here and run.first <= offset < run.last for at, offset in places)


def _ahead(run: Run, position: Position) -> bool:
    return run.last > position.offsets.get(TopicPartition(run.topic, run.partition), 0)
