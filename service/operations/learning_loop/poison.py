"""Finds the record that kills the process: where the process died before, records are learned one by one."""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeAlias

from service.domain.stream.events import DecodedRecords, Records, Refusal, RefusalReason, SkippedOffsets, TopicPartition
from service.domain.stream.position import OffsetRange, Position
from service.operations.history.record_runs import ConsumedItem, record_count, record_offsets, record_payload
from service.ports.artifacts import CrashMarker

RecordPlace: TypeAlias = tuple[TopicPartition, int]
"""A partition and an offset."""

DEATHS_TO_CONFIRM = 3
"""Three, as two may be chance: few records are learned before a first commit, so unrelated kills can hit one twice."""
KILLED_PROCESS_DETAIL = f"the process died {DEATHS_TO_CONFIRM} times while learning it"
MAX_STARTS_WITHOUT_COMMIT = 3
SUSPECTED_OFFSETS = 2048
"""Offsets to suspect from the position on when starts failed without leaving a crash mark."""


class PoisonRecordDetector:
    """Suspects all records in which the process died, and confirms one after `DEATHS_TO_CONFIRM` deaths in it alone.

    A process that is killed for another reason dies in different records. `known_killers` are confirmed from the
    start. `unlearned` are records before the position that are not learned yet: they wait for a micro-batch to fill.
    """

    def __init__(
        self,
        crash_marker: CrashMarker,
        position: Position,
        *,
        starts_without_commit: int,
        known_killers: Collection[RecordPlace] = (),
        unlearned: Collection[RecordPlace] = (),
    ) -> None:
        self._crash_marker = crash_marker
        self._in_progress: OffsetRange | None = None
        deaths = crash_marker.suspects()
        self._deadly_runs = [run for run in deaths if _is_ahead(run, position) or _contains_any(run, unlearned)]
        self._suspects = list(self._deadly_runs)
        repeated = {run for run in self._suspects if deaths[run] >= DEATHS_TO_CONFIRM}
        self._confirmed = {run for run in repeated if run.last - run.first == 1}
        known_runs = [OffsetRange(at.topic, at.partition, offset, offset + 1) for at, offset in known_killers]
        self._suspects += known_runs
        self._confirmed.update(known_runs)
        self._has_marks = bool(deaths)
        if starts_without_commit > MAX_STARTS_WITHOUT_COMMIT:
            current_offsets = position.offsets.items()
            self._suspects += [
                OffsetRange(at.topic, at.partition, first, first + SUSPECTED_OFFSETS) for at, first in current_offsets
            ]

    def max_records(self, item: ConsumedItem, limit: int) -> int:
        """Return how many of the item's first records may be learned together: 1 in a suspect run, at most `limit`."""
        if not self._suspects or isinstance(item, SkippedOffsets):
            return limit
        offsets = record_offsets(item)
        spans = [run for run in self._suspects if (run.topic, run.partition) == item.at]
        if not spans or not offsets:
            return limit
        if any(run.first <= offsets[0] < run.last for run in spans):
            return 1
        nearest = min((run.first for run in spans if run.first > offsets[0]), default=offsets[-1] + 1)
        return max(min(limit, bisect_left(offsets, nearest)), 1)

    def is_confirmed(self, item: Records | DecodedRecords) -> bool:
        """Return whether the item is a single record that is confirmed to kill the process."""
        return bool(self._confirmed) and record_count(item) == 1 and _item_span(item) in self._confirmed

    def confirmed_among(self, records: Iterable[RecordPlace]) -> Sequence[RecordPlace]:
        """Return those of the records that are confirmed to kill the process."""
        return [(at, offset) for at, offset in records if _offset_span(at, [offset]) in self._confirmed]

    @property
    def active_tracker(self) -> "PoisonRecordDetector | None":
        """Return itself while anything is suspected, to be notified of each micro-batch; else None."""
        return self if self._suspects else None

    def mark(self, at: TopicPartition, offsets: Sequence[int]) -> None:
        """Mark these records as being learned now."""
        self._crash_marker.mark(_offset_span(at, offsets))

    def learned(self, at: TopicPartition, offsets: Sequence[int]) -> None:
        """Mark the whole run in progress together with these records, which are learned by now."""
        in_progress = self._in_progress or _offset_span(at, offsets)
        self.mark(at, [*offsets, in_progress.first, in_progress.last - 1])

    def died_within(self, at: TopicPartition, offsets: Sequence[int]) -> bool:
        """Return whether the process has died in a run that lies entirely within these records."""
        span = _offset_span(at, offsets)
        partition_runs = [run for run in self._deadly_runs if (run.topic, run.partition) == at]
        return any(span.first <= run.first and run.last <= span.last for run in partition_runs)

    def begin(self, item: Records | DecodedRecords) -> None:
        """Mark the item as being learned."""
        if record_count(item):
            self._in_progress = _item_span(item)
            self._crash_marker.mark(self._in_progress)

    def end(self) -> None:
        """Clear the mark: the item is learned."""
        self._in_progress = None
        self._crash_marker.unmark()

    def committed(self, position: Position, unlearned: Callable[[], Collection[RecordPlace]] = tuple) -> None:
        """Clear suspects before the durable position, except where they hold records that are `unlearned`."""
        if self._has_marks or self._suspects:
            places = unlearned()
            self._suspects = [run for run in self._suspects if _is_ahead(run, position) or _contains_any(run, places)]
        if self._has_marks and not self._suspects:
            self._crash_marker.clear()
            self._has_marks = False


def poison_refusal(item: Records | DecodedRecords) -> Refusal:
    """Return the refusal of this single record, which has killed the process."""
    offset = _item_span(item).first
    return Refusal(offset, RefusalReason.KILLED_PROCESS, KILLED_PROCESS_DETAIL, record_payload(item, offset))


def _item_span(item: Records | DecodedRecords) -> OffsetRange:
    """Return the offsets from the first record to the last."""
    if isinstance(item, Records):
        return OffsetRange(item.at.topic, item.at.partition, item.offsets[0], item.offsets[-1] + 1)
    ends = [(rows[0].offset, rows[-1].offset) for rows in (item.events, item.refusals, item.truths) if rows]
    return OffsetRange(
        item.at.topic, item.at.partition, min(first for first, _ in ends), max(last for _, last in ends) + 1
    )


def _offset_span(at: TopicPartition, offsets: Sequence[int]) -> OffsetRange:
    return OffsetRange(at.topic, at.partition, min(offsets), max(offsets) + 1)


def _contains_any(run: OffsetRange, places: Collection[RecordPlace]) -> bool:
    here = (run.topic, run.partition)
    return any(at == here and run.first <= offset < run.last for at, offset in places)


def _is_ahead(run: OffsetRange, position: Position) -> bool:
    return run.last > position.offsets.get(TopicPartition(run.topic, run.partition), 0)
