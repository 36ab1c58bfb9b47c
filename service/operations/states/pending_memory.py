"""Keeps pending events in memory for a learner without a registry, and the order in which it learned."""

from collections.abc import Mapping, Sequence

from service.domain.stream.events import DecodedRecords, EventId
from service.domain.stream.pending import PendingRow
from service.domain.stream.position import OffsetRange
from service.learning.engine.work_items import (
    PendingItem,
    decode_event_id,
    decode_pending,
    encode_event_id,
    encode_pending,
)
from service.learning.learner.learner import Learner
from service.learning.learner.outcomes import LearningOutcome, UncommittedChanges

FIRST_SWEEP_ROWS = 10_000


class PendingMemory:
    """Replaces the registry's table `pending`: the learner's lookups read it, and its changes are written to it."""

    def __init__(self, rows: Sequence[PendingRow] = ()) -> None:
        self._rows = {decode_event_id(row.key): row for row in rows}
        self._sweep_rows = FIRST_SWEEP_ROWS
        self.learned_order: list[OffsetRange] = []

    @property
    def rows(self) -> list[PendingRow]:
        """Return the pending rows; expired rows may be among them, as they are removed only when the rows double."""
        return list(self._rows.values())

    def learn(self, learner: Learner, decoded: DecodedRecords) -> LearningOutcome:
        """Learn one run as if it were committed at once."""
        outcome = learner.learn(decoded, prefetched=self._find_pending(learner, decoded))
        self.absorb(learner)
        return outcome

    def absorb(self, learner: Learner) -> None:
        """Take over what the learner has learned, and its changes of pending events, since the last call."""
        pending = learner.take_uncommitted()
        self.learned_order += pending.order
        self._absorb_pending(learner, pending)

    def _find_pending(self, learner: Learner, decoded: DecodedRecords) -> Mapping[EventId, PendingItem]:
        if learner.label_join is None or not self._rows:
            return {}
        unknown_ids = learner.label_join.ids_to_look_up(decoded.events, decoded.truths)
        rows = [self._rows[key] for key in unknown_ids if key in self._rows]
        return {decode_event_id(row.key): decode_pending(row.key, row.kind, row.ts, row.payload) for row in rows}

    def _absorb_pending(self, learner: Learner, pending: UncommittedChanges) -> None:
        if learner.label_join is None or pending.pending is None:
            return
        for key in pending.pending.resolved:
            self._rows.pop(key, None)
        for key, pending_item in pending.pending.created.items():
            self._rows[key] = PendingRow(encode_event_id(key), *encode_pending(pending_item))
        learner.label_join.commit_landed()
        if len(self._rows) > self._sweep_rows:
            self._rows = {key: row for key, row in self._rows.items() if row.ts >= pending.pending.watermark_ms}
            self._sweep_rows = max(2 * len(self._rows), FIRST_SWEEP_ROWS)
